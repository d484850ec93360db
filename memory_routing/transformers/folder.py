"""Folders with an exported language model: what a router must know besides the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import attrs

from memory_routing.errors import ModelError, TaxonomyError
from memory_routing.files import parse_json, write_whole
from memory_routing.frozen import plain
from memory_routing.taxonomy import Taxonomy
from memory_routing.trainer import Checkpoint
from memory_routing.wire import strict_converter, structure

__all__ = ["Manifest", "read_folder", "write_folder"]

FORMAT: Final = 1
MANIFEST: Final = "memory_routing.json"
TAXONOMY: Final = "taxonomy.toml"


@attrs.frozen
class Manifest:
    """Where an exported model comes from, and how it is spoken to."""

    format: int
    base_model: str
    renderer: str
    taxonomy_hash: str
    dataset_hash: str
    phase: str
    step: int
    config: dict[str, Any]
    metrics: dict[str, float]

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Manifest:
        """What an export of a checkpoint says."""
        told = plain(checkpoint)
        return cls(FORMAT, **{field.name: told[field.name] for field in attrs.fields(cls) if field.name != "format"})


_CONVERTER = strict_converter()


def write_folder(folder: Path, checkpoint: Checkpoint, taxonomy: Taxonomy) -> None:
    """Write manifest and taxonomy beside the weights."""
    write_whole(folder / TAXONOMY, taxonomy.to_toml().encode())
    write_whole(folder / MANIFEST, (json.dumps(plain(Manifest.of(checkpoint)), indent=1) + "\n").encode())


def read_folder(folder: Path) -> tuple[Manifest, Taxonomy]:
    """Manifest and taxonomy. Raises `ModelError` for a folder that is no export, damaged, or too new."""
    try:
        found = parse_json((folder / MANIFEST).read_bytes())
        if isinstance(found, dict) and found.get("format") != FORMAT:
            raise ModelError(
                f"{folder} has format {found.get('format')}; this version reads {FORMAT}: update one of them"
            )
        manifest = structure(_CONVERTER, found, Manifest)
        taxonomy = Taxonomy.load(folder / TAXONOMY)
    except FileNotFoundError as error:
        raise ModelError(f"{error.filename} is missing: memory-routing export makes such folders") from None
    except (ValueError, TaxonomyError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{folder}: {error}") from None
    if taxonomy.hash != manifest.taxonomy_hash:
        raise ModelError(f"{folder / TAXONOMY} is not the taxonomy that the model was trained for")
    return manifest, taxonomy
