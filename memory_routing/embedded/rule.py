"""From logits to a decision: calibration and the decision rule, both fitted on validation data."""

from __future__ import annotations

import math

import attrs
import numpy as np

from memory_routing.embedded.scoring import Floats, sigmoid
from memory_routing.errors import ModelError

__all__ = ["Calibration", "DecisionRule"]


def _floats(values: tuple[float, ...] | list[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@attrs.frozen
class Calibration:
    """Probability = sigmoid(scale · logit + offset), category by category (Platt 1999).

    Raises `ModelError` for a scale that is not positive or a number that is not finite.
    """

    scale: tuple[float, ...] = attrs.field(converter=_floats)
    offset: tuple[float, ...] = attrs.field(converter=_floats)

    def __attrs_post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.scale, *self.offset))) or not all(scale > 0 for scale in self.scale):
            raise ModelError("calibration: scales are positive numbers, offsets are numbers")

    def __call__(self, logits: Floats) -> Floats:
        """Probabilities of logits of shape `(..., C)`."""
        return sigmoid(np.asarray(self.scale) * logits + np.asarray(self.offset))


@attrs.frozen
class DecisionRule:
    """Which categories apply, and which turns say so.

    A category applies from probability `threshold`. Its evidence is every turn from `evidence_threshold`,
    or else the likeliest turn, the first among equals. Raises `ModelError` for a threshold outside (0, 1).
    """

    threshold: float
    evidence_threshold: float

    def __attrs_post_init__(self) -> None:
        if not (0 < self.threshold < 1 and 0 < self.evidence_threshold < 1):
            raise ModelError("rule: thresholds lie between 0 and 1")

    def categories(self, probabilities: Floats) -> list[int]:
        """Indices of the categories that apply, ascending, for probabilities `(C,)`."""
        return [int(i) for i in np.flatnonzero(probabilities >= self.threshold)]

    def evidence(self, probabilities: Floats) -> tuple[int, ...]:
        """Indices of the turns that are evidence, for one category's probabilities `(turns,)`."""
        turns = np.flatnonzero(probabilities >= self.evidence_threshold)
        return tuple(int(i) for i in turns) or (int(np.argmax(probabilities)),)
