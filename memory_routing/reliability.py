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
    """Expected calibration error (Naeini et al. 2015): mean distance of score and share over ten equal bins."""
    bins: tuple[Bin, ...]
    """Those with any scores."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return attrs.asdict(self)


def reliability(scores: Floats, right: NDArray[np.bool_]) -> Reliability:
    """Reliability of scores in [0, 1] against what was right, both of shape `(n, C)`; draws are over the n rows."""
    place = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    counts = np.zeros((len(scores), _BINS, 3))
    for i in range(_BINS):
        inside = place == i
        counts[:, i] = np.stack(
            [inside.sum(axis=1), (scores * inside).sum(axis=1), (right & inside).sum(axis=1)], axis=1
        )
    totals: Sequence[Sequence[float]] = counts.sum(axis=0).tolist()
    bins = tuple(
        Bin(i / _BINS, (i + 1) / _BINS, score / n, share(round(hits), round(n)))
        for i, (n, score, hits) in enumerate(totals)
        if n
    )
    return Reliability(bootstrap(counts.reshape(len(scores), -1), _ece), bins)


def _ece(sums: Floats) -> Floats:
    n, score, hits = np.moveaxis(sums.reshape(*sums.shape[:-1], _BINS, 3), -1, 0)
    return np.asarray(np.abs(score - hits).sum(axis=-1) / n.sum(axis=-1))
