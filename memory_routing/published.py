"""Models that can be published, of either kind: what a card says of one, and what of its folder is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from memory_routing import exported
from memory_routing.embedded import folder as embedded
from memory_routing.errors import ModelError
from memory_routing.router import Router
from memory_routing.taxonomy import Taxonomy

__all__ = ["PublishedModel", "load_router", "loaded_by"]


@attrs.frozen
class PublishedModel:
    """A model in a folder whose files are all there and undamaged."""

    folder: Path
    name: str
    taxonomy: Taxonomy
    base_model: str
    dataset_hash: str
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    """On validation data, as its checkpoint has them."""
    hash: str
    files: tuple[str, ...]
    """All that is sent, the manifest last."""
    window: int | None
    """Tokens that an encoder reads at once; `None` of a language model."""

    @classmethod
    def read(cls, folder: str | Path) -> PublishedModel:
        """Read and check a model folder or an export. Raises `ModelError` for a damaged or foreign one."""
        folder = Path(folder)
        if _is_export(folder):
            return _language(folder)
        model = embedded.ModelFolder.read(folder)
        manifest = model.manifest
        return cls(
            folder,
            manifest.name,
            model.taxonomy,
            manifest.base_model,
            manifest.dataset_hash,
            manifest.config,
            manifest.metrics,
            manifest.hash,
            (embedded.GRAPH, embedded.TOKENIZER, embedded.TAXONOMY, embedded.MANIFEST),
            manifest.window,
        )


def load_router(folder: str | Path, base: str | Path | None = None) -> Router:
    """The router of a model folder or of an export; `base` is the base model of an adapter that is elsewhere."""
    folder = Path(folder)
    if not _is_export(folder):
        return Router.load(folder)
    from memory_routing.transformers import TransformersRouter

    return TransformersRouter(folder, base=base)


def loaded_by(folder: str | Path, repository: str) -> str:
    """What loads the model of a folder once it is published."""
    return (
        f'TransformersRouter(fetch("{repository}"))' if _is_export(Path(folder)) else f'Router.load("hub:{repository}")'
    )


def _is_export(folder: Path) -> bool:
    return (folder / exported.MANIFEST).exists()


def _language(folder: Path) -> PublishedModel:
    manifest, taxonomy = exported.read_folder(folder)
    if not any(name.endswith(".safetensors") for name in manifest.files):
        raise ModelError(f"{folder}: its manifest names no weights; export the model again")
    exported.check_files(folder, manifest)
    return PublishedModel(
        folder,
        "language model",
        taxonomy,
        manifest.base_model,
        manifest.dataset_hash,
        manifest.config,
        manifest.metrics,
        manifest.hash,
        (*sorted(manifest.files), exported.MANIFEST),
        None,
    )
