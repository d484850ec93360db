"""The best that a policy earns which ignores the conversation: what a collapsed one is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from memory_routing.labels import LabelSet
from memory_routing.reward import RewardFn

__all__ = ["best_constant"]


def best_constant(reward: RewardFn, answers: Sequence[LabelSet], gold: Sequence[LabelSet]) -> dict[str, Any]:
    """The one answer, of these, that earns most on average when it is always given, and what it earns."""
    earned = {answer.names: math.fsum(reward(answer, right).total for right in gold) / len(gold) for answer in answers}
    best = max(earned, key=lambda names: earned[names])
    return {"constant/answer": list(best), "constant/reward": earned[best]}
