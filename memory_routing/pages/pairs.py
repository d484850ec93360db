"""Reports against each other, pair by pair, as a page lists them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import attrs

from memory_routing.comparison import METRICS, Comparison, compare_stored
from memory_routing.stored import StoredReport

__all__ = ["Pair", "chance", "pairs"]


@attrs.frozen
class Pair:
    """Two reports with what can be said of them."""

    first: str
    second: str
    comparison: Comparison | None = None
    reason: str = ""
    """Why they are not compared."""

    @property
    def outcome(self) -> str:
        """In a few words, in what one beats the other."""
        if self.comparison is None:
            return "not compared"
        ahead: dict[str, list[str]] = {}
        for found in self.comparison.differences.values():
            if found.proven:
                ahead.setdefault(self.first if found.difference.low > 0 else self.second, []).append(
                    METRICS[found.metric]
                )
        said = [f"{name} ahead in {', '.join(metrics)}" for name, metrics in ahead.items()]
        return "; ".join(said) or "no difference is shown"


def pairs(reports: Sequence[StoredReport]) -> list[Pair]:
    """Every two of the reports."""
    return [_pair(first, second) for first, second in combinations(reports, 2)]


def chance(found: Sequence[Pair]) -> str:
    """How much of what is proven would be so by chance; nothing to say of one pair."""
    count = sum(len(pair.comparison.differences) for pair in found if pair.comparison is not None)
    if len(found) < 2 or not count:
        return ""
    return (
        f"There are {count} comparisons here. Between routers that are equally good about 1 in 20 looks proven by "
        f"chance: of {count} about {max(1, round(count / 20))}."
    )


def _pair(first: StoredReport, second: StoredReport) -> Pair:
    try:
        # The scores of the files, not computed again.
        return Pair(first.name, second.name, compare_stored(first, second))
    except ValueError as error:
        return Pair(first.name, second.name, reason=str(error))
