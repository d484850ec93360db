"""Model folders: what is in one, and the refusal of one that is damaged or foreign."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from attrs.validators import ge, le

from memory_routing.embedded.rule import Calibration, DecisionRule
from memory_routing.errors import ModelError, TaxonomyError
from memory_routing.exported import MANIFEST as LANGUAGE_MODEL
from memory_routing.files import parse_json, write_whole
from memory_routing.frozen import value_hash
from memory_routing.taxonomy import Taxonomy
from memory_routing.wire import strict_converter, structure

__all__ = ["GRAPH", "MANIFEST", "TAXONOMY", "TOKENIZER", "Manifest", "ModelFolder"]

FORMAT: Final = 1
MANIFEST: Final = "router.json"
GRAPH: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"
TAXONOMY: Final = "taxonomy.toml"
_FILES: Final = frozenset({GRAPH, TOKENIZER, TAXONOMY})
_REMEDY: Final = "fetch the model again, or train it again"


@attrs.frozen
class Manifest:
    """What a model is, how its outputs become decisions, where it comes from, and its files' hashes."""

    format: int
    name: str
    window: int = attrs.field(validator=[ge(8), le(512)])
    """Tokens that the encoder reads at once."""
    calibration: Calibration
    rule: DecisionRule
    taxonomy_hash: str
    dataset_hash: str
    base_model: str
    config: dict[str, Any]
    metrics: dict[str, float]
    """Measured on the validation data that calibration and rule were fitted on."""
    files: dict[str, str]
    """File name to SHA-256."""

    @property
    def hash(self) -> str:
        """SHA-256 of the model: of its manifest, which has the hashes of all other files."""
        return value_hash(self)


@attrs.frozen
class ModelFolder:
    """The checked content of a model folder. Nothing in it is executed."""

    manifest: Manifest
    taxonomy: Taxonomy
    graph: bytes = attrs.field(repr=False)
    tokenizer: bytes = attrs.field(repr=False)

    @classmethod
    def read(cls, folder: Path) -> ModelFolder:
        """Read and check a folder.

        Raises `ModelError` that names the file, and the hash found and expected, where one is damaged.
        """
        manifest = _manifest(folder)
        if set(manifest.files) != _FILES:
            listed, needed = ", ".join(sorted(manifest.files)), ", ".join(sorted(_FILES))
            raise ModelError(f"{folder / MANIFEST}: it lists {listed} and should list {needed}; {_REMEDY}")
        content = {name: _checked(folder / name, digest) for name, digest in sorted(manifest.files.items())}
        try:
            taxonomy = Taxonomy.from_toml(content[TAXONOMY].decode())
        except (TaxonomyError, UnicodeDecodeError) as error:
            raise ModelError(f"{folder / TAXONOMY}: {error}; {_REMEDY}") from None
        if taxonomy.hash != manifest.taxonomy_hash:
            raise ModelError(
                f"{folder}: trained for the taxonomy with hash {manifest.taxonomy_hash}, "
                f"but {TAXONOMY} has {taxonomy.hash}; {_REMEDY}"
            )
        if not len(manifest.calibration.scale) == len(manifest.calibration.offset) == len(taxonomy):
            raise ModelError(f"{folder / MANIFEST}: calibration is not for {len(taxonomy)} categories; {_REMEDY}")
        return cls(manifest, taxonomy, content[GRAPH], content[TOKENIZER])

    @staticmethod
    def write(folder: Path, manifest: Manifest, content: Mapping[str, bytes]) -> None:
        """Write a folder, the manifest last: without it the folder is no model."""
        for name, data in content.items():
            write_whole(folder / name, data)
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(content.items())}
        plain = attrs.asdict(attrs.evolve(manifest, files=hashes))
        write_whole(folder / MANIFEST, (json.dumps(plain, indent=1) + "\n").encode())


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        plain = parse_json(path.read_bytes())
    except OSError:
        hint = "" if folder.exists() else "; a model of a hub is named hub:organisation/name"
        if (folder / LANGUAGE_MODEL).exists():
            hint = "; it is an exported language model, which memory_routing.transformers.TransformersRouter loads"
        raise ModelError(f"{folder}: no model folder, there is no {MANIFEST} to read{hint}") from None
    except ValueError as error:
        raise ModelError(f"{path}: damaged, {error}; {_REMEDY}") from None
    found = plain.get("format") if isinstance(plain, dict) else None
    if found != FORMAT:
        raise ModelError(f"{path}: format {found!r}, this version reads format {FORMAT}; install a version that fits")
    try:
        return structure(_CONVERTER, plain, Manifest)
    except ValueError as error:
        raise ModelError(f"{path}: {error}; {_REMEDY}") from None


def _checked(path: Path, expected: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError:
        raise ModelError(f"{path}: missing, its SHA-256 should be {expected}; {_REMEDY}") from None
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ModelError(f"{path}: damaged, SHA-256 is {found} and should be {expected}; {_REMEDY}")
    return data


_CONVERTER: Final = strict_converter()
