"""`memory-routing train`: train a router."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memory_routing import marketing
from memory_routing.cli.console import TaxonomyOption, emit, fail, say, show_table, taxonomy_from, to_terminal
from memory_routing.dataset import Dataset

__all__ = ["app"]

app = typer.Typer(help="Train a router.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """Train a router."""


@app.command()
def local(
    out: Annotated[Path, typer.Option(help="Run folder; a run that was killed goes on there.")],
    train: Annotated[Path | None, typer.Option(help="Training data; the packaged data if left out.")] = None,
    validation: Annotated[Path | None, typer.Option(help="Validation data, as --train.")] = None,
    taxonomy: TaxonomyOption = None,
    encoder: Annotated[Path | None, typer.Option(help="Folder with the base model.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes of each member over the training data.", min=1)] = None,
    members: Annotated[int | None, typer.Option(help="Runs whose weights are averaged.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another model.")] = 0,
) -> None:
    """Train the embedded router on this machine; the model folder is OUT/model. Needs the extra `train`.

    Example: memory-routing train local --out runs/marketing
    """
    if (train is None) != (validation is None):
        fail("--train and --validation go together: memory-routing dataset split makes them from one file")
    if train is None and taxonomy is not None:
        fail("--taxonomy needs --train and --validation: the packaged data are for the marketing taxonomy")
    from memory_routing.local import LocalConfig, LocalTrainer

    used = taxonomy_from(taxonomy)
    data = Dataset.read(train, used) if train is not None else marketing.dataset("train")
    held = Dataset.read(validation, used) if validation is not None else marketing.dataset("validation")
    told = {"epochs": epochs, "members": members, "seed": seed}
    config = LocalConfig(**{name: value for name, value in told.items() if value is not None})
    checkpoint = LocalTrainer(config, encoder=encoder).fit(data, held, out)
    if to_terminal():
        show_table("on the validation data", ("", "value"), [(k, f"{v:.3f}") for k, v in checkpoint.metrics.items()])
        say(f"model folder: {checkpoint.weights}")
    else:
        emit({"model": checkpoint.weights, "step": checkpoint.step, "metrics": dict(checkpoint.metrics)})
