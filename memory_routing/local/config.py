"""What the local trainer is told."""

from __future__ import annotations

import attrs
from attrs.validators import ge, gt, in_, lt

__all__ = ["LocalConfig"]


@attrs.frozen
class LocalConfig:
    """Settings of a local training run. The defaults made the shipped model.

    They were chosen on validation data; `docs/explanation/embedded-model.md` has the comparison.
    """

    epochs: int = attrs.field(default=5, validator=ge(1))
    """Passes of each member over the training data."""
    members: int = attrs.field(default=3, validator=ge(1))
    """Runs from the same start in different order; the mean of their weights is exported (Wortsman et al. 2022)."""
    batch: int = attrs.field(default=16, validator=ge(1))
    """Conversations in an optimiser step."""
    learning_rate: float = attrs.field(default=2e-4, validator=gt(0.0))
    """Peak rate of the topmost encoder layer; warmed up over the first tenth of the steps, then linear to 0."""
    head_learning_rate: float = attrs.field(default=1e-3, validator=gt(0.0))
    layer_decay: float = attrs.field(default=0.85, validator=gt(0.0))
    """Factor on the rate for each layer further down."""
    weight_decay: float = attrs.field(default=0.01, validator=ge(0.0))
    dropout: float = attrs.field(default=0.1, validator=[ge(0.0), lt(1.0)])
    masking: float = attrs.field(default=0.1, validator=[ge(0.0), lt(1.0)])
    """Share of the tokens that are hidden in training, other ones each time, so that no label hangs on one word."""
    evidence_weight: float = attrs.field(default=0.5, validator=ge(0.0))
    """Weight of the loss of the turns against the evidence, beside the conversation's."""
    positive_weight: float = attrs.field(default=2.0, validator=gt(0.0))
    """Weight of a label that applies against one that does not."""
    smoothing: float = attrs.field(default=0.02, validator=[ge(0.0), lt(0.5)])
    """Label smoothing: targets are this far from 0 and 1."""
    average: float = attrs.field(default=0.998, validator=[ge(0.0), lt(1.0)])
    """Decay of the moving average of a member's weights, which is what counts of it."""
    window: int = attrs.field(default=256, validator=[ge(8), in_(range(8, 513))])
    """Tokens that the encoder reads at once."""
    seed: int = 0
