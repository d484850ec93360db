"""From a checkpoint on the service to an adapter and a merged model on disk."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import attrs
from tinker_cookbook.exceptions import TinkerCookbookError
from tinker_cookbook.weights import build_hf_model, build_lora_adapter

from memory_routing.errors import TrainingError
from memory_routing.exported import write_folder
from memory_routing.files import write_whole
from memory_routing.taxonomy import Taxonomy
from memory_routing.tinker.renderer import load_tokenizer
from memory_routing.tinker.service import Service, ServiceError
from memory_routing.trainer import Checkpoint

__all__ = ["Exported", "export"]


@attrs.frozen
class Exported:
    """Where an export lies."""

    adapter: Path
    """A PEFT adapter."""
    merged: Path
    """A model that needs no base model beside it."""


def export(
    checkpoint: Checkpoint,
    taxonomy: Taxonomy,
    out: Path,
    *,
    base: str | Path | None = None,
    dtype: str = "float32",
    base_url: str | None = None,
    api_key: str | None = None,
    timeout: float = 3600.0,
) -> Exported:
    """Fetch a checkpoint's adapter and write `OUT/adapter` and `OUT/merged`, whole or not at all.

    `base` is the base model's folder or name on the hub, where it is not the checkpoint's. In float32 the model gives
    the logprobs that it was trained with; bfloat16 halves its size. Raises `TrainingError` where `out` has
    something in it, the taxonomy is another one, or the service fails.
    """
    if checkpoint.taxonomy_hash != taxonomy.hash:
        raise TrainingError(f"the checkpoint was trained for another taxonomy than {taxonomy.name} {taxonomy.version}")
    if out.exists() and any(out.iterdir()):
        raise TrainingError(f"{out} is not empty: name another folder, or delete this one")
    source = str(base or checkpoint.base_model)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        room = Path(temporary) / "export"
        try:
            tokenizer = load_tokenizer(source)
        except TrainingError as error:
            raise TrainingError(f"{error} (base)") from None
        try:
            service = Service(base_url, api_key, timeout)
            try:
                service.download(checkpoint.state, Path(temporary) / "fetched")
            finally:
                # Else its session would go on for as long as the process.
                service.close(finished=True)
            fetched = str(Path(temporary) / "fetched")
            build_lora_adapter(base_model=source, adapter_path=fetched, output_path=str(room / "adapter"))
            build_hf_model(
                base_model=source,
                adapter_path=fetched,
                output_path=str(room / "merged"),
                dtype=dtype,
                merge_strategy="full",
            )
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"{source} cannot be loaded: {reason}; name the base model's folder (base)") from None
        except (ServiceError, TinkerCookbookError, ValueError) as error:
            raise TrainingError(f"exporting {checkpoint.state}: {error}") from None
        tokenizer.save_pretrained(room / "adapter")
        _name_base(room / "adapter" / "adapter_config.json", checkpoint.base_model)
        for part in ("adapter", "merged"):
            write_folder(room / part, checkpoint, taxonomy)
        if out.exists():
            out.rmdir()
        shutil.move(room, out)
    return Exported(out / "adapter", out / "merged")


def _name_base(path: Path, base: str) -> None:
    """In place of the folder that the base model was read from, which says nothing elsewhere."""
    told = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
    write_whole(path, (json.dumps(told, indent=2) + "\n").encode())
