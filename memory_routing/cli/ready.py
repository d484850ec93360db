"""`memory-routing ready`: whether a router may be deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
import typer

from memory_routing.cli.console import emit, say, show_table, to_terminal
from memory_routing.cli.leaks import NOT_CHECKED, TrainOption, leakage
from memory_routing.cli.models import ModelOption, load_model
from memory_routing.evaluation import evaluate
from memory_routing.intervals import Estimate
from memory_routing.readiness import Readiness, Thresholds, Verdict, read_thresholds, readiness
from memory_routing.scenarios import read_scenarios

__all__ = ["ready"]


def ready(
    scenarios: Annotated[Path, typer.Argument(help="JSON or JSON lines, the published format too.")],
    model: ModelOption = None,
    thresholds: Annotated[
        Path | None,
        typer.Option(help="TOML with the tables ready and conditional, each with any_match and f1, and with certain."),
    ] = None,
    train: TrainOption = None,
) -> None:
    """Judge a router on scenarios: READY, CONDITIONAL or NOT READY, and how sure that is.

    The lower ends of the 95 % intervals have to reach a bar, on scenarios that the training data do not give away;
    with certain = false in the thresholds the values alone decide. Exit 0 if it is ready, 1 if not, 2 if nothing could
    be judged.

    Example: memory-routing ready scenarios.json --thresholds thresholds.toml
    """
    bars = Thresholds() if thresholds is None else read_thresholds(thresholds)
    router = load_model(model)
    chosen = read_scenarios(scenarios, router.taxonomy)
    leaks = leakage(train, router, chosen)
    found = readiness(attrs.evolve(evaluate(router, chosen), leakage=leaks), bars)
    if to_terminal():
        _show(found)
    else:
        emit(found.to_dict())
    raise typer.Exit(0 if found.verdict is Verdict.READY else 1)


def _show(found: Readiness) -> None:
    bars = found.thresholds
    show_table(
        f"{found.router} on {found.any_match.n} scenarios",
        ("", "value", "95 % interval", "ready from", "conditional from"),
        [
            ("any match", *_cells(found.any_match), f"{bars.ready.any_match:.2f}", f"{bars.conditional.any_match:.2f}"),
            ("mean F1", *_cells(found.f1), f"{bars.ready.f1:.2f}", f"{bars.conditional.f1:.2f}"),
        ],
    )
    if found.undecided:
        say(f"{found.undecided} scenarios without a decision count as missed")
    say(NOT_CHECKED if found.leakage is None else str(found.leakage))
    say(f"{found.verdict.value}; {found.certainty}")


def _cells(estimate: Estimate) -> tuple[str, str]:
    return f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"
