"""Leakage: whether a benchmark shares text or contrast groups with the data that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from memory_routing.dataset import Dataset
from memory_routing.duplicates import DEFAULT_SIMILARITY, Pair, find_leaks
from memory_routing.example import Scenario

__all__ = ["Leakage", "check_leakage"]


@attrs.frozen
class Leakage:
    """What a training set and a benchmark have in common.

    A scenario is in at most one pair, with the training example that gives it away most, which stands first.
    """

    train: int
    scenarios: int
    exact: tuple[Pair, ...]
    near: tuple[Pair, ...]
    groups: tuple[str, ...]
    """Contrast groups that have members on both sides."""
    data: str = ""
    """SHA-256 of the training data."""

    @property
    def clean(self) -> bool:
        """Whether they have nothing in common."""
        return not (self.exact or self.near or self.groups)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return attrs.asdict(self) | {"clean": self.clean}

    def __str__(self) -> str:
        against = f"{self.scenarios} scenarios against {self.train:,} training examples"
        if self.clean:
            return f"no leakage: {against} share no text and no contrast group"
        return (
            f"LEAKAGE: of {against}, {len(self.exact)} are the same text, {len(self.near)} nearly the same, "
            f"{len(self.groups)} contrast groups are on both sides"
        )


def check_leakage(train: Dataset, scenarios: Sequence[Scenario], similarity: float = DEFAULT_SIMILARITY) -> Leakage:
    """Look for scenarios that the training data give away.

    `similarity` is the Jaccard similarity of three-word shingles from which text counts as nearly the same; a scenario
    that is nearly whole in a longer training conversation counts too.
    """
    found = find_leaks(train, scenarios, similarity)
    exact = _worst(found.exact)
    near = {place: pair for place, pair in _worst(found.near).items() if place not in exact}
    named = {str(example.metadata["group"]) for example in train if example.metadata.get("group")}
    groups = sorted({scenario.group for scenario in scenarios if scenario.group in named if scenario.group})
    return Leakage(len(train), len(scenarios), tuple(exact.values()), tuple(near.values()), tuple(groups), train.hash)


def _worst(pairs: Sequence[Pair]) -> dict[int, Pair]:
    """The most similar pair of each scenario, by its place."""
    ordered = sorted(pairs, key=lambda pair: (pair.second, pair.similarity, -pair.first))
    return {pair.second: pair for pair in ordered}
