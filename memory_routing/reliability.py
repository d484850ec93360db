"""Reliability: whether a probability of 0.8 is right in eight cases of ten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import numpy as np
from numpy.typing import NDArray

from memory_routing.intervals import Estimate, Floats, bootstrap, share

__all__ = ["Bin", "Reliability", "reliability"]

_BINS: Final = 10


@attrs.frozen
class Bin:
    """Scores between two bounds: their mean, and the share that was right."""

    low: float
    high: float
    score: float
    right: Estimate


@attrs.frozen
class Reliability:
    """How scores compare with what was right."""

    ece: Estimate
    """Expected calibration error (Naeini et al. 2015): mean distance of score and share over ten equal bins.

    Its n are conversations; no value without scores."""
    bins: tuple[Bin, ...]
    """Those with any scores."""

    @property
    def scores(self) -> int:
        """How many scores there are, of all conversations together."""
        return sum(found.right.n for found in self.bins)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return attrs.asdict(self) | {"scores": self.scores}


def reliability(scores: Floats, right: NDArray[np.bool_], counted: NDArray[np.bool_] | None = None) -> Reliability:
    """Reliability of scores in [0, 1] against what was right, both of shape `(n, C)`; draws are over the n rows.

    Where `counted` is given, of the same shape, the other scores are left out, and rows without any.
    """
    counted = np.ones(scores.shape, dtype=bool) if counted is None else counted
    rows = counted.any(axis=1)
    scores, right, counted = scores[rows], right[rows], counted[rows]
    place = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    counts = np.zeros((len(scores), _BINS, 3))
    for i in range(_BINS):
        inside = counted & (place == i)
        counts[:, i] = np.stack(
            [inside.sum(axis=1), (scores * inside).sum(axis=1), (right & inside).sum(axis=1)], axis=1
        )
    totals: Sequence[Sequence[float]] = counts.sum(axis=0).tolist()
    bins = tuple(
        Bin(i / _BINS, (i + 1) / _BINS, score / n, share(round(hits), round(n)))
        for i, (n, score, hits) in enumerate(totals)
        if n
    )
    return Reliability(bootstrap(counts.reshape(len(scores), 3 * _BINS), _ece), bins)


def _ece(sums: Floats) -> Floats:
    n, score, hits = np.moveaxis(sums.reshape(*sums.shape[:-1], _BINS, 3), -1, 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(score - hits).sum(axis=-1) / n.sum(axis=-1))
