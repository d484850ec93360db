"""The taxonomy that ships, its dataset, its benchmark and its model."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, Literal

from memory_routing.dataset import Dataset
from memory_routing.example import Scenario
from memory_routing.scenarios import read_scenarios
from memory_routing.taxonomy import Taxonomy

__all__ = ["GUIDE", "MARKETING", "MODEL_FOLDER", "POOLS", "benchmark", "dataset"]

_FOLDER: Final = Path(__file__).parent
MODEL_FOLDER: Final = _FOLDER / "model"
"""The shipped embedded model."""
GUIDE: Final = _FOLDER / "guide.md"
"""How conversations are labelled, for a language model that does it."""
POOLS: Final = _FOLDER / "pools.toml"
"""Industries, roles, situations and category pairs that marketing conversations are planned from."""

MARKETING: Final = Taxonomy.load(_FOLDER / "taxonomy.toml")
"""Twelve categories of what a marketing assistant should remember, six of the company, six of the user."""


@cache
def dataset(part: Literal["train", "validation"]) -> Dataset:
    """One side of the packaged dataset: synthetic conversations, written and labelled by a language model."""
    return Dataset.read(_FOLDER / f"{part}.jsonl.gz", MARKETING)


@cache
def benchmark() -> tuple[Scenario, ...]:
    """The 200 scenarios of the packaged benchmark. Never train on them and tune nothing to them."""
    return read_scenarios(_FOLDER / "benchmark.jsonl.gz", MARKETING)
