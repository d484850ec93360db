"""Numbers with their n and their interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "bootstrap", "f1_of", "mean", "mean_of_known", "precision_of", "quantile", "recall_of", "share"]

Floats = NDArray[np.float64]

RESAMPLES: Final = 2000
_Z: Final = 1.959963984540054
"""97.5 % quantile of the normal distribution, for intervals of 95 %."""


@attrs.frozen
class Estimate:
    """A value, how many items it rests on, and its 95 % interval. `value` is `nan` where n is 0."""

    value: float
    n: int
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with `None` for what is not a number."""
        return {key: None if math.isnan(value) else value for key, value in attrs.asdict(self).items()}

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"– (n={self.n})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n})"


def share(hits: int, n: int) -> Estimate:
    """A proportion with its Wilson score interval (Wilson 1927)."""
    if n == 0:
        return Estimate(math.nan, 0, math.nan, math.nan)
    p = hits / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    # At 0 and 1 the bounds are 0 and 1 exactly; rounding would miss them by an ulp.
    return Estimate(p, n, 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)


def mean(values: Sequence[float], *, shares: bool = False) -> Estimate:
    """A mean with its percentile bootstrap interval (Efron 1979), the same in every run. `shares` as in `bootstrap`."""
    counts = np.asarray(values, dtype=np.float64)[:, None]
    return bootstrap(counts, lambda sums: sums[..., 0] / len(values), shares=shares)


def bootstrap(counts: Floats, statistic: Callable[[Floats], Floats], *, shares: bool = False) -> Estimate:
    """A statistic of summed counts with its percentile bootstrap interval over the items.

    `counts` has shape `(n, k)`, one row an item. `statistic` maps sums of shape `(..., k)` to `(...)`, with
    `nan` where it has no value: a draw without one does not count, and n is 0 where the items have none.
    With `shares` the value lies in [0, 1]. Where the items are all right, or all wrong, every draw is, and would leave
    no doubt: there the interval is that of a proportion.
    """
    n = len(counts)
    value = float(statistic(counts.sum(axis=0))) if n else math.nan
    if math.isnan(value):
        return Estimate(math.nan, 0, math.nan, math.nan)
    samples = statistic(_draws(n) @ counts)
    low, high = (float(bound) for bound in np.nanquantile(samples, [0.025, 0.975]))
    if shares and low == high == value and value in (0.0, 1.0):
        return share(round(value * n), n)
    return Estimate(value, n, low, high)


@lru_cache(maxsize=2)
def _draws(n: int) -> Floats:
    """How often each of n items is in each draw, shape `(RESAMPLES, n)`: the same for every statistic of a report."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)


def quantile(values: Sequence[float], q: float) -> Estimate:
    """A quantile with its percentile bootstrap interval, the same in every run."""
    if not len(values):
        return Estimate(math.nan, 0, math.nan, math.nan)
    found = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(0).choice(found, (RESAMPLES, len(found)))
    low, high = np.quantile(np.quantile(draws, q, axis=1), [0.025, 0.975])
    return Estimate(float(np.quantile(found, q)), len(found), float(low), float(high))


def precision_of(counts: Floats) -> Floats:
    """Hits among hits and false alarms; `nan` where there is none of them."""
    with np.errstate(invalid="ignore"):
        return np.asarray(counts[..., 0] / (counts[..., 0] + counts[..., 1]))


def recall_of(counts: Floats) -> Floats:
    """Hits among hits and misses; `nan` where there is none of them."""
    return precision_of(counts[..., [0, 2]])


def f1_of(counts: Floats) -> Floats:
    """F1 from hits, false alarms and misses in the last axis; `nan` where there is none of them."""
    hits, false, missed = counts[..., 0], counts[..., 1], counts[..., 2]
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * hits / (2 * hits + false + missed))


def mean_of_known(values: Floats) -> Floats:
    """Mean over the last axis of what has a value."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1))
