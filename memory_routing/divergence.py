"""How far two policies are apart, estimated on sampled tokens."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["Divergence", "divergence"]

Floats = NDArray[np.floating]


@attrs.frozen
class Divergence:
    """Estimates of KL(sampler | learner) in nats, each a mean over `tokens` own tokens (Schulman 2020)."""

    k1: float
    """mean(d): unbiased, may be negative."""
    k2: float
    """mean(d²) / 2: biased, never negative."""
    k3: float
    """mean(e^-d - 1 + d): unbiased and never negative. It is the one that is watched."""
    tokens: int


def divergence(sampling: Sequence[Floats], training: Sequence[Floats], masks: Sequence[Floats]) -> Divergence:
    """Estimate from the logprobs of the same tokens under both policies, d = sampling - training.

    Each sequence has one array `(T,)` for each datum, and only tokens with mask above 0 count, all with the
    same weight, whichever datum they are in. `ValueError` that names the datum where lengths differ or a logprob
    is not finite, and where no token counts.
    """
    if not len(sampling) == len(training) == len(masks):
        raise ValueError(f"{len(sampling)} sampled, {len(training)} trained datums and {len(masks)} masks")
    parts = []
    for index, (ours, theirs, mask) in enumerate(zip(sampling, training, masks, strict=True)):
        if not len(ours) == len(theirs) == len(mask):
            raise ValueError(f"datum {index}: {len(ours)} and {len(theirs)} logprobs under a mask of {len(mask)}")
        own = np.asarray(mask) > 0
        parts.append(np.asarray(ours, dtype=np.float64)[own] - np.asarray(theirs, dtype=np.float64)[own])
        if not np.isfinite(parts[-1]).all():
            raise ValueError(f"datum {index}: a logprob is not finite")
    d = np.concatenate(parts) if parts else np.array([])
    if not len(d):
        raise ValueError("no token counts")
    # Where d is rounding alone, expm1 is exact and the sum still may fall a little below its bound.
    k3 = np.maximum(np.expm1(-d) + d, 0)
    return Divergence(float(d.mean()), float((d**2).mean() / 2), float(k3.mean()), len(d))
