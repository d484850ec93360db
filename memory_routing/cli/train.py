"""`memory-routing train`: train a router."""

from __future__ import annotations

import atexit
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
import typer

from memory_routing import marketing
from memory_routing.cli.console import (
    TaxonomyOption,
    emit,
    fail,
    prices_from,
    say,
    show_table,
    taxonomy_from,
    to_terminal,
)
from memory_routing.dataset import Dataset
from memory_routing.frozen import plain
from memory_routing.trainer import Checkpoint

if TYPE_CHECKING:
    from memory_routing.tinker.forecast import Forecast
    from memory_routing.tinker.job import Sink

__all__ = ["app"]

app = typer.Typer(help="Train a router.", no_args_is_help=True, rich_markup_mode=None)

HELD_BACK: Final = 0.15
"""Share of the training data that serves as validation data where no other is named."""
ValidationOption = Annotated[
    Path | None, typer.Option(help=f"Validation data; left out, {HELD_BACK:.0%} of --train is held back for it.")
]


@app.callback()
def group() -> None:
    """Train a router."""


@app.command()
def local(
    out: Annotated[Path, typer.Option(help="Run folder; a run that was killed goes on there.")],
    train: Annotated[Path | None, typer.Option(help="Training data; the packaged data if left out.")] = None,
    validation: ValidationOption = None,
    taxonomy: TaxonomyOption = None,
    encoder: Annotated[Path | None, typer.Option(help="Folder with the base model.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes of each member over the training data.", min=1)] = None,
    members: Annotated[int | None, typer.Option(help="Runs whose weights are averaged.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another model.")] = 0,
) -> None:
    """Train the embedded router on this machine; the model folder is OUT/model. Needs the extra `train`.

    Example: memory-routing train local --out runs/marketing
    """
    data, held = _data(train, validation, taxonomy)
    from memory_routing.local import LocalConfig, LocalTrainer

    told = {"epochs": epochs, "members": members, "seed": seed}
    config = LocalConfig(**{name: value for name, value in told.items() if value is not None})
    _show(LocalTrainer(config, encoder=encoder).fit(data, held, out), "model folder")


@app.command()
def tinker(
    out: Annotated[Path, typer.Option(help="Run folder; a run that was killed goes on there.")],
    train: Annotated[Path | None, typer.Option(help="Training data; the packaged data if left out.")] = None,
    validation: ValidationOption = None,
    taxonomy: TaxonomyOption = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings of TinkerConfig.")] = None,
    base_model: Annotated[str | None, typer.Option(help="Any model that the service serves.")] = None,
    renderer: Annotated[str | None, typer.Option(help="Name of a cookbook renderer.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the supervised phase.")] = None,
    sft_only: Annotated[bool, typer.Option("--sft-only", help="Leave reinforcement learning out.")] = False,
    seed: Annotated[int | None, typer.Option(help="Another seed gives another run.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Folder or name on the hub of the tokenizer.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of the service; Tinker's if left out.")] = None,
    prices: Annotated[str | None, typer.Option(help="USD for a million tokens: PREFILL,SAMPLE,TRAIN.")] = None,
    budget: Annotated[float | None, typer.Option(help="USD; the run stops at a checkpoint before it.", min=0)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that one call may take.", min=1)] = 900.0,
    wandb_project: Annotated[str | None, typer.Option(help="Log to this project of Weights & Biases too.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would use and cost; send nothing.")] = False,
) -> None:
    """Train a language model on Tinker or a service that speaks its protocol. Needs the extra `tinker`.

    Example: memory-routing train tinker --out runs/llama --dry-run
    """
    data, held = _data(train, validation, taxonomy)
    from memory_routing.tinker import Prices, TinkerConfig, TinkerTrainer, read_config

    settings = TinkerConfig() if config is None else read_config(config)
    told: dict[str, Any] = {"base_model": base_model, "renderer": renderer, "seed": seed}
    try:
        settings = attrs.evolve(settings, **{name: value for name, value in told.items() if value is not None})
        if learning_rate is not None:
            settings = attrs.evolve(settings, sft=attrs.evolve(settings.sft, learning_rate=learning_rate))
        kinds = ("prompts", "samples", "training")
        named = None if prices is None else Prices(*prices_from(prices, kinds, "0.13,0.40,0.40"))
    except ValueError as error:
        fail(str(error))
    if sft_only:
        settings = attrs.evolve(settings, rl=None)
    trainer = TinkerTrainer(
        settings,
        base_url=base_url,
        tokenizer=tokenizer,
        timeout=timeout,
        prices=named,
        budget=budget,
        sinks=[] if wandb_project is None or dry_run else [_wandb(wandb_project, out / "sinks")],
    )
    if dry_run:
        _show_forecast(trainer.forecast(data, held))
        return
    try:
        checkpoint = trainer.fit(data, held, out)
    except KeyboardInterrupt:
        fail(f"stopped; the same command goes on after the last checkpoint in {out}", 130)
    _show(checkpoint, f"{checkpoint.phase} step {checkpoint.step}")


def _data(train: Path | None, validation: Path | None, taxonomy: Path | None) -> tuple[Dataset, Dataset]:
    if train is None:
        if validation is not None:
            fail("--validation needs --train")
        if taxonomy is not None:
            fail("--taxonomy needs --train: the packaged data are for the marketing taxonomy")
        return marketing.dataset("train"), marketing.dataset("validation")
    used = taxonomy_from(taxonomy)
    data = Dataset.read(train, used)
    if validation is not None:
        return data, Dataset.read(validation, used)
    held = data.split(HELD_BACK, stratum=lambda example: str(example.labels))
    if not all(map(len, held)):
        fail(f"{train}: {len(data)} examples are too few to hold some back; name --validation")
    return held


def _wandb(project: str, folder: Path) -> Sink:
    if importlib.util.find_spec("wandb") is None:
        fail("--wandb-project needs wandb, which is not installed: pip install wandb")
    from tinker_cookbook.exceptions import TinkerCookbookError
    from tinker_cookbook.utils.ml_log import setup_logging

    try:
        logger = setup_logging(str(folder), wandb_project=project, do_configure_logging_module=False)
    except TinkerCookbookError as error:
        fail(f"--wandb-project: {error}")
    # However the command ends, what was logged is sent.
    atexit.register(logger.close)
    return logger


def _show(checkpoint: Checkpoint, name: str) -> None:
    if to_terminal():
        show_table("on the validation data", ("", "value"), [(k, f"{v:.3f}") for k, v in checkpoint.metrics.items()])
        say(f"{name}: {checkpoint.weights}")
    else:
        emit({"model": checkpoint.weights, "step": checkpoint.step, "metrics": dict(checkpoint.metrics)})


def _show_forecast(found: Forecast) -> None:
    if not to_terminal():
        emit({**plain(found), "usd": found.usd})
        return
    rows = [(phase, getattr(found, phase)) for phase in ("sft", "rl", "total")]
    prices = found.prices
    cells = [
        (
            phase,
            *(f"{count:,}" for count in plain(tokens).values()),
            "–" if prices is None else f"{tokens.usd(prices):.2f}",
        )
        for phase, tokens in rows
    ]
    show_table("at most", ("phase", "prefill", "sampled", "trained", "USD"), cells)
    data = found.data
    say(f"{data['conversations']:,} conversations of {data['mean']:.0f} tokens on average, {data['longest']:,} at most")
