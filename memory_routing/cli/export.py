"""`memory-routing export`: a checkpoint of a run as an adapter and a merged model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memory_routing.cli.console import emit, fail, say, to_terminal
from memory_routing.runs import TAXONOMY
from memory_routing.taxonomy import Taxonomy
from memory_routing.trainer import Checkpoint

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of `memory-routing train tinker`.")],
    out: Annotated[Path, typer.Option(help="Folder for the adapter and the merged model.")],
    at: Annotated[str | None, typer.Option(help="A checkpoint, as sft:100; the released one if left out.")] = None,
    base: Annotated[str | None, typer.Option(help="Folder or name on the hub of the base model.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, or bfloat16 at half the size.")] = "float32",
    base_url: Annotated[str | None, typer.Option(help="Address of the service; Tinker's if left out.")] = None,
) -> None:
    """Fetch a checkpoint and write OUT/adapter and OUT/merged. Needs the extra `transformers`.

    Example: memory-routing export runs/llama --out models/llama
    """
    if dtype not in ("float32", "bfloat16"):
        fail(f"--dtype is float32 or bfloat16, not {dtype}")
    checkpoints = Checkpoint.read_all(run)
    from memory_routing.selection import released
    from memory_routing.transformers import export as write

    checkpoint = released(checkpoints) if at is None else _at(checkpoints, at)
    exported = write(checkpoint, Taxonomy.load(run / TAXONOMY), out, base=base, dtype=dtype, base_url=base_url)
    if to_terminal():
        say(f"{checkpoint.phase} step {checkpoint.step}: {exported.adapter} and, whole, {exported.merged}")
    else:
        emit({"adapter": str(exported.adapter), "merged": str(exported.merged)})


def _at(checkpoints: list[Checkpoint], name: str) -> Checkpoint:
    known = {f"{checkpoint.phase}:{checkpoint.step}": checkpoint for checkpoint in checkpoints}
    if name not in known:
        fail(f"the run has no checkpoint {name}; it has {', '.join(known)}")
    return known[name]
