"""Comparing two routers on the same scenarios: what the difference is, and whether it can be told from chance."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs
import numpy as np

from memory_routing.frozen import plain, without_nan
from memory_routing.intervals import Estimate, mean, share
from memory_routing.report import Report
from memory_routing.stored import NAMES, StoredReport

__all__ = ["Comparison", "Difference", "Scored", "compare", "compare_scored", "compare_stored"]

_DETECTABLE: Final = 1.959963984540054 + 0.8416212335729143
"""Normal quantiles for a two-sided test at 5 % that finds a true difference in 80 % of the cases."""
_SIGNIFICANT: Final = 0.05
_FEWEST: Final = 10
"""Scenarios that a spread can be estimated from."""
_ENUMERATED: Final = 20
"""Gaps whose signs are all tried; of more, so many draws are:"""
_DRAWS: Final = 100_000
METRICS: Final[Mapping[str, str]] = {name: NAMES[name] for name in ("f1", "exact", "any_match")}


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

    @property
    def accepted(self) -> Collection[Collection[str]]:
        """The label sets that are right; empty where that is not known."""


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
    test: str
    """What p is of: `McNemar`, or `permutation` for a mean."""
    p: float
    """Two-sided probability of so large a difference between two that are equal."""
    detectable: float | None
    """The true difference that as many scenarios would show in four cases of five, estimated from the spread seen.

    `None` where that says nothing: without spread, of fewer than ten scenarios, or above 1.
    """

    @property
    def proven(self) -> bool:
        """Whether interval and test both leave no room for no difference."""
        return self.p < _SIGNIFICANT and (self.difference.low > 0 or self.difference.high < 0)


@attrs.frozen
class Comparison:
    """Two routers on the same scenarios."""

    first: str
    second: str
    scenarios: int
    differences: Mapping[str, Difference]
    """By metric: `f1`, `exact` and `any_match`."""
    left_out: Mapping[str, int] = attrs.field(factory=dict)
    """Scenarios that are not compared because the `first` or the `second` has no decision on them."""

    @property
    def counted(self) -> str:
        """On how many scenarios this rests, in words."""
        left = [
            f"{count} without a decision by {name} left out"
            for key, name in (("first", self.first), ("second", self.second))
            if (count := self.left_out.get(key, 0))
        ]
        return ", ".join([f"n = {self.scenarios}", *left])

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
            f"{found.test} p = {found.p:.2g}, {self.counted}"
        )
        if found.proven:
            return f"{name}: {pair[0][0]} beats {pair[1][0]} ({numbers})"
        told = f"{name}: no difference between {self.first} and {self.second} is shown ({numbers})"
        if found.detectable is None:
            return told
        return f"{told}; judging by the spread seen, one of {found.detectable:.3f} or more would probably have been"


def compare(first: Report, second: Report) -> Comparison:
    """Compare two reports on the same scenarios, pair by pair; those that one of them has no decision on are left out.

    Raises `ValueError` where the scenarios, what is accepted of them or the taxonomies differ, or a scenario occurs
    twice.
    """
    reports = (first, second)
    a, b = ([(result.scenario.conversation.hash, result) for result in report.results] for report in reports)
    failed = [{failure.scenario.conversation.hash for failure in report.failures} for report in reports]
    return compare_scored(
        (first.router, second.router),
        *(a, b),
        failed=(failed[0], failed[1]),
        taxonomies=(first.taxonomy.hash, second.taxonomy.hash),
    )


def compare_stored(first: StoredReport, second: StoredReport) -> Comparison:
    """`compare` for reports that were read back, by the scores that stand in them.

    Raises `ValueError` also where a file has no results of single scenarios.
    """
    reports = (first, second)
    if not first.results or not second.results:
        raise ValueError("a file has no results of single scenarios")
    a, b = ([(result.hash, result) for result in report.results or ()] for report in reports)
    taxonomies = ["" if report.taxonomy is None else report.taxonomy.hash for report in reports]
    return compare_scored(
        (first.name or first.router, second.name or second.router),
        *(a, b),
        failed=(first.failed, second.failed),
        taxonomies=(taxonomies[0], taxonomies[1]),
    )


def compare_scored(
    names: tuple[str, str],
    first: Sequence[tuple[str, Scored]],
    second: Sequence[tuple[str, Scored]],
    *,
    failed: tuple[Collection[str], Collection[str]] = ((), ()),
    taxonomies: tuple[str, str] = ("", ""),
) -> Comparison:
    """`compare` for scores from anywhere, each with the identity of its scenario.

    `failed` are identities of scenarios without a decision, `taxonomies` the hashes of the two where they are known.
    """
    if all(taxonomies) and len(set(taxonomies)) > 1:
        raise ValueError("the reports are of different taxonomies: their labels do not mean the same")
    a, b = dict(first), dict(second)
    for scored, found in ((first, a), (second, b)):
        if len(found) != len(scored):
            raise ValueError(
                f"{len(scored) - len(found)} scenarios occur twice; a comparison needs each once: leave the copies out"
            )
    all_a, all_b = set(a).union(failed[0]), set(b).union(failed[1])
    if all_a != all_b:
        raise ValueError(
            f"the reports are on different scenarios: {len(all_a - all_b)} of {len(all_a)} are in the first alone, "
            f"{len(all_b - all_a)} of {len(all_b)} in the second alone"
        )
    keys = [key for key in a if key in b]
    if not keys:
        raise ValueError("there is no scenario that both have decided")
    other = sum(_sets(a[key]) != _sets(b[key]) for key in keys if a[key].accepted and b[key].accepted)
    if other:
        raise ValueError(f"the reports accept different labels in {other} of {len(keys)} scenarios: score both on one")
    differences = {
        metric: _difference(
            metric,
            [float(getattr(a[key], metric)) for key in keys],
            [float(getattr(b[key], metric)) for key in keys],
        )
        for metric in METRICS
    }
    return Comparison(*names, len(keys), differences, {"first": len(failed[0]), "second": len(failed[1])})


def _sets(scored: Scored) -> set[frozenset[str]]:
    return {frozenset(labels) for labels in scored.accepted}


def _difference(metric: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    gaps = [x - y for x, y in zip(first, second, strict=True)]
    n = len(gaps)
    wins, losses = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
    centre = math.fsum(gaps) / n
    spread = math.sqrt(math.fsum((gap - centre) ** 2 for gap in gaps) / max(n - 1, 1))
    detectable = _DETECTABLE * spread / math.sqrt(n)
    return Difference(
        metric=metric,
        first=math.fsum(first) / n,
        second=math.fsum(second) / n,
        difference=_mean_gap(gaps),
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        test="permutation" if metric == "f1" else "McNemar",
        p=permutation_test(gaps) if metric == "f1" else mcnemar_test(wins, losses),
        detectable=detectable if n >= _FEWEST and 0 < detectable <= 1 else None,
    )


def _mean_gap(gaps: Sequence[float]) -> Estimate:
    """Mean of gaps in [-1, 1] with its bootstrap interval.

    Where all gaps are the same every draw is, and would leave no doubt. There the interval allows for the share of
    scenarios with another gap that so many can have missed (Wilson), as far off as a gap can be.
    """
    found, (least, most) = mean(gaps), (min(gaps), max(gaps))
    if least < most:
        return found
    missed = 1 - share(len(gaps), len(gaps)).low
    return attrs.evolve(found, low=least - missed * (least + 1), high=least + missed * (1 - least))


def mcnemar_test(wins: int, losses: int) -> float:
    """Two-sided exact p of McNemar's test (1947): of so uneven a split by a fair coin; 1 without wins and losses."""
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def permutation_test(gaps: Sequence[float]) -> float:
    """Two-sided p of the mean of paired differences under flips of their signs (Fisher 1935, Pitman 1937).

    Exact for few that are not 0, else (hits + 1) / (draws + 1) of draws that are the same in every run.
    """
    sizes, counts = np.unique(np.round([abs(gap) for gap in gaps if gap], 9), return_counts=True)
    if counts.sum() <= _ENUMERATED:
        sums = np.zeros(1)
        for size in np.repeat(sizes, counts):
            sums = np.concatenate([sums + size, sums - size])
        missing = 0
    else:
        # Of equal sizes only the number of those that keep their sign matters.
        kept = np.random.default_rng(0).binomial(counts, 0.5, size=(_DRAWS, len(counts)))
        sums, missing = (2 * kept - counts) @ sizes, 1
    # Rounding must not part sums that are equal.
    hits = int((np.abs(sums) >= abs(math.fsum(gaps)) - 1e-6).sum())
    return (hits + missing) / (len(sums) + missing)
