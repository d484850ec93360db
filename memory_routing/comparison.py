"""Comparing two routers on the same scenarios: what the difference is, and whether it can be told from chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from memory_routing.frozen import plain, without_nan
from memory_routing.intervals import Estimate, mean
from memory_routing.report import Report

__all__ = ["Comparison", "Difference", "Scored", "compare", "compare_scored"]

_DETECTABLE: Final = 1.959963984540054 + 0.8416212335729143
"""Normal quantiles for a two-sided test at 5 % that finds a true difference in 80 % of the cases."""
METRICS: Final[Mapping[str, str]] = {"f1": "mean F1", "exact": "exact match", "any_match": "any match"}


class Scored(Protocol):
    """What is compared of a scenario's result."""

    @property
    def f1(self) -> float:
        """F1 of the label sets."""

    @property
    def exact(self) -> bool:
        """Whether they are equal."""

    @property
    def any_match(self) -> bool:
        """Whether they share a label, or both are none."""


@attrs.frozen
class Difference:
    """How much the first router is ahead of the second in one metric, over the same scenarios."""

    metric: str
    first: float
    second: float
    difference: Estimate
    """Mean of the paired differences, with its 95 % bootstrap interval."""
    wins: int
    """Scenarios on which the first is ahead."""
    ties: int
    losses: int
    p: float
    """Of an exact two-sided sign test on wins and losses; for exact match this is McNemar's test (1947)."""
    detectable: float
    """The true difference that as many scenarios as these would show in four cases of five."""

    @property
    def proven(self) -> bool:
        """Whether the interval leaves no room for no difference."""
        return self.difference.low > 0 or self.difference.high < 0


@attrs.frozen
class Comparison:
    """Two routers on the same scenarios."""

    first: str
    second: str
    scenarios: int
    differences: Mapping[str, Difference]
    """By metric: `f1`, `exact` and `any_match`."""

    def sentences(self) -> list[str]:
        """What the numbers allow to be said, one sentence for each metric."""
        return [self._sentence(found) for found in self.differences.values()]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found: dict[str, Any] = without_nan(plain(self))
        return found | {"sentences": self.sentences()}

    def __str__(self) -> str:
        return "\n".join(self.sentences())

    def _sentence(self, found: Difference) -> str:
        gap, name = found.difference, METRICS[found.metric]
        pair = [(self.first, found.first), (self.second, found.second)]
        value, low, high = gap.value, gap.low, gap.high
        if high < 0:
            # The one that is ahead comes first.
            pair, (value, low, high) = pair[::-1], (-value, -high, -low)
        numbers = (
            f"{pair[0][1]:.3f} against {pair[1][1]:.3f}, difference {value:+.3f} [{low:+.3f}, {high:+.3f}], "
            f"p = {found.p:.2g}, n = {self.scenarios}"
        )
        if found.proven:
            return f"{name}: {pair[0][0]} beats {pair[1][0]} ({numbers})"
        return (
            f"{name}: no difference between {self.first} and {self.second} is shown ({numbers}); "
            f"one of {found.detectable:.3f} or more would probably have been"
        )


def compare(first: Report, second: Report) -> Comparison:
    """Compare two reports on the same scenarios, pair by pair.

    Raises `ValueError` where the scenarios differ or have ids that do not tell them apart.
    """
    scored = ([(result.scenario.conversation.hash, result) for result in report.results] for report in (first, second))
    return compare_scored((first.router, second.router), *scored)


def compare_scored(
    names: tuple[str, str], first: Sequence[tuple[str, Scored]], second: Sequence[tuple[str, Scored]]
) -> Comparison:
    """`compare` for scores from anywhere, each with the identity of its scenario."""
    a, b = dict(first), dict(second)
    if len(a) != len(first) or len(b) != len(second):
        raise ValueError("scenarios occur twice: a comparison needs each once")
    if set(a) != set(b):
        raise ValueError(
            f"the reports are on different scenarios: {len(set(a) - set(b))} of {len(a)} are in the first alone, "
            f"{len(set(b) - set(a))} of {len(b)} in the second alone"
        )
    keys = list(a)
    differences = {
        metric: _difference(
            metric,
            [float(getattr(a[key], metric)) for key in keys],
            [float(getattr(b[key], metric)) for key in keys],
        )
        for metric in METRICS
    }
    return Comparison(*names, len(keys), differences)


def _difference(metric: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    gaps = [x - y for x, y in zip(first, second, strict=True)]
    n = len(gaps)
    wins, losses = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
    centre = math.fsum(gaps) / n
    spread = math.sqrt(math.fsum((gap - centre) ** 2 for gap in gaps) / max(n - 1, 1))
    return Difference(
        metric=metric,
        first=math.fsum(first) / n,
        second=math.fsum(second) / n,
        difference=mean(gaps),
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        p=sign_test(wins, losses),
        detectable=_DETECTABLE * spread / math.sqrt(n),
    )


def sign_test(wins: int, losses: int) -> float:
    """Two-sided probability of so uneven a split of `wins + losses` by a fair coin; 1 without any."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return float(min(1.0, 2 * tail / 2**n))
