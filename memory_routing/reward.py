"""Rewards: how good a predicted label set is, in named parts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final

import attrs

from memory_routing.errors import RewardError
from memory_routing.frozen import FrozenMapping
from memory_routing.labels import LabelSet, Malformed

__all__ = ["Reward", "RewardFn", "RoutingReward", "set_f1"]


def _frozen(value: Mapping[str, float]) -> Mapping[str, float]:
    return FrozenMapping(value)


@attrs.frozen
class Reward:
    """Scores and weights kept apart, so that no part is lost in the sum.

    `penalty` is set for malformed output and is then the total.
    """

    components: Mapping[str, float] = attrs.field(converter=_frozen, hash=False)
    weights: Mapping[str, float] = attrs.field(converter=_frozen, hash=False)
    penalty: float | None = None

    @property
    def total(self) -> float:
        """The penalty if set, else the weighted sum."""
        if self.penalty is not None:
            return self.penalty
        return math.fsum(self.weights[name] * score for name, score in self.components.items())


class RewardFn(ABC):
    """Scores a prediction against the gold labels. Subclass it and override `components`.

    `weights` names the components and sums to 1. `malformed` is the total for output that is no label
    set. `lint_reward` tells before training what a reward function really pays for.
    """

    weights: Mapping[str, float]
    malformed: float = -1.0

    @abstractmethod
    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        """Score of each component named in `weights`, each in [0, 1]."""

    @final
    def __call__(self, predicted: LabelSet | Malformed, gold: LabelSet) -> Reward:
        """The reward of a prediction.

        Raises `ValueError` (`RewardError`) where weights are negative or do not sum to 1, or where the
        components are not those that have weights.
        """
        weights = self._checked_weights()
        if isinstance(predicted, Malformed):
            return Reward({}, weights, self.malformed)
        components = self.components(predicted, gold)
        if set(components) != set(weights):
            raise RewardError(
                f"{type(self).__name__}.components gave {sorted(components)}, but weights has {sorted(weights)}"
            )
        return Reward(components, weights)

    def _checked_weights(self) -> Mapping[str, float]:
        weights: Mapping[str, float] | None = getattr(self, "weights", None)
        name = type(self).__name__
        if not weights:
            raise RewardError(f"{name}.weights is missing: name each component and its weight")
        if not all(weight >= 0 for weight in weights.values()):
            raise RewardError(f"{name}.weights has a weight that is negative or no number: {dict(weights)}")
        if not math.isclose(math.fsum(weights.values()), 1.0, abs_tol=1e-9):
            raise RewardError(f"{name}.weights sum to {math.fsum(weights.values()):g}, not to 1")
        return weights


def set_f1(predicted: LabelSet, gold: LabelSet) -> float:
    """F1 of two sets, 2|A∩B| / (|A|+|B|); 1 where both are empty."""
    if predicted.is_none and gold.is_none:
        return 1.0
    return 2 * len(predicted & gold) / (len(predicted) + len(gold))


class RoutingReward(RewardFn):
    """The routing reward, for any taxonomy: 0.6 F1 + 0.2 horizon + 0.1 scope + 0.1 efficiency.

    - `f1`: F1 of the two label sets.
    - `horizon`: the commonest horizon rank of each side, ties to the longer: 1 if equal, 0.5 if adjacent,
      else 0. With none on one side only 0, on both 1.
    - `scope`: 1 if both are `company`, `user`, `mixed` or `none` alike, else 0.
    - `efficiency`: 1 for up to max(3, |gold|) labels, then 0.7, 0.4 and 0 for one, two and more above it.
    """

    weights: Mapping[str, float] = FrozenMapping({"f1": 0.6, "horizon": 0.2, "scope": 0.1, "efficiency": 0.1})

    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        """F1, horizon, scope and efficiency, each in [0, 1]."""
        surplus = len(predicted) - max(3, len(gold))
        return {
            "f1": set_f1(predicted, gold),
            "horizon": _horizon(predicted.horizon_rank, gold.horizon_rank),
            "scope": float(predicted.scope == gold.scope),
            "efficiency": {1: 0.7, 2: 0.4}.get(surplus, 1.0 if surplus <= 0 else 0.0),
        }


def _horizon(predicted: int | None, gold: int | None) -> float:
    if predicted is None or gold is None:
        return float(predicted is gold)
    return {0: 1.0, 1: 0.5}.get(abs(predicted - gold), 0.0)
