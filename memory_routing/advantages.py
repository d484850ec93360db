"""From the rewards of a group of rollouts to advantages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["centred_advantages", "is_constant"]

Floats = NDArray[np.float64]


def centred_advantages(rewards: Sequence[float], *, scale: bool = False) -> Floats:
    """Reward minus the group's mean: `(G,)` from `(G,)`, G at least 2.

    With `scale` also divided by the standard deviation (Shao et al. 2024, GRPO), except in a group of constant
    reward, whose advantages are 0. `ValueError` for fewer than two rollouts or a reward that is not finite.
    """
    values = _group(rewards)
    if is_constant(rewards):
        return np.zeros_like(values)
    centred = values - values.mean()
    return np.asarray(centred / values.std()) if scale else np.asarray(centred)


def is_constant(rewards: Sequence[float]) -> bool:
    """Whether all rollouts of a group earned the same, so that it carries no gradient and can be dropped."""
    values = _group(rewards)
    return bool((values == values[0]).all())


def _group(rewards: Sequence[float]) -> Floats:
    values = np.asarray(rewards, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"a group needs at least two rollouts, not {values.size}")
    if not np.isfinite(values).all():
        raise ValueError(f"reward {int(np.argmin(np.isfinite(values)))} of the group is not finite")
    return values
