"""The leakage check of `benchmark` and `ready`: against which training data, and a word where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from memory_routing import marketing
from memory_routing.cli.console import warn
from memory_routing.dataset import Dataset
from memory_routing.errors import DatasetError
from memory_routing.example import Scenario
from memory_routing.leakage import Leakage, check_leakage
from memory_routing.router import Router
from memory_routing.taxonomy import Taxonomy

__all__ = ["NOT_CHECKED", "TrainOption", "leakage"]

NOT_CHECKED: Final = "leakage was not checked: name the training data with --train"
TrainOption = Annotated[
    Path | None,
    typer.Option(
        "--train", help="Training data to look for leaks in; the packaged data for a model trained on them if left out."
    ),
]


def leakage(train: Path | None, router: Router | None, scenarios: Sequence[Scenario]) -> Leakage | None:
    """What the scenarios share with these training data, or with the packaged ones if the router learned from them.

    `None`, said on standard error, where nobody knows what it learned from. Raises `DatasetError` for a bad file.
    """
    if train is not None:
        return check_leakage(_read(train, scenarios[0].gold.taxonomy), scenarios)
    packaged = marketing.dataset("train")
    if getattr(getattr(router, "manifest", None), "dataset_hash", None) == packaged.hash:
        return check_leakage(packaged, scenarios)
    warn(NOT_CHECKED)
    return None


def _read(train: Path, taxonomy: Taxonomy) -> Dataset:
    found = Dataset.scan(train, taxonomy)
    if found.bad_lines:
        raise DatasetError(
            f"{train}: {len(found.bad_lines)} lines cannot be read, the first is {found.bad_lines[0]}; "
            "--train takes JSON lines, one example a line; `memory-routing dataset check` lists what is wrong",
            found.bad_lines,
        )
    return found.dataset
