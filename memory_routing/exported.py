"""Folders with an exported language model: what a router must know besides the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from memory_routing.errors import ModelError, TaxonomyError
from memory_routing.files import file_hash, parse_json, write_whole
from memory_routing.frozen import plain, value_hash
from memory_routing.taxonomy import Taxonomy
from memory_routing.trainer import Checkpoint
from memory_routing.wire import strict_converter, structure

__all__ = ["FILES", "MANIFEST", "Manifest", "check_files", "read_folder", "write_folder"]

FORMAT: Final = 1
MANIFEST: Final = "memory_routing.json"
TAXONOMY: Final = "taxonomy.toml"
FILES: Final = (
    *("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "adapter_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", TAXONOMY),
)
"""Patterns of what an exported model needs beside its manifest. None of it is executed."""


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
    files: dict[str, str] = attrs.field(factory=dict)
    """File name to SHA-256, of all that the model needs; empty in exports of earlier versions."""

    @property
    def hash(self) -> str:
        """SHA-256 of the model: of its manifest, which has the hashes of its files."""
        return value_hash(self)

    @classmethod
    def of(cls, checkpoint: Checkpoint, files: Mapping[str, str]) -> Manifest:
        """What an export of a checkpoint says."""
        told = plain(checkpoint) | {"format": FORMAT, "files": dict(files)}
        return cls(**{field.name: told[field.name] for field in attrs.fields(cls)})


_CONVERTER = strict_converter()


def write_folder(folder: Path, checkpoint: Checkpoint, taxonomy: Taxonomy) -> None:
    """Write manifest and taxonomy beside the weights, the manifest last."""
    write_whole(folder / TAXONOMY, taxonomy.to_toml().encode())
    found = sorted({path.name for pattern in FILES for path in folder.glob(pattern)})
    told = Manifest.of(checkpoint, {name: file_hash(folder / name) for name in found})
    write_whole(folder / MANIFEST, (json.dumps(plain(told), indent=1) + "\n").encode())


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise `ModelError` that names the first file that is missing or damaged."""
    for name, expected in manifest.files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ModelError(f"{path}: missing; export the model again")
        found = file_hash(path)
        if found != expected:
            raise ModelError(f"{path}: damaged, SHA-256 is {found} and should be {expected}; export it again")


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
