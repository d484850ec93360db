"""The losses of the training pass, each a sum over positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs
from torch import Tensor

__all__ = ["LOSSES", "Loss", "cispo", "cross_entropy", "importance_sampling", "ppo"]


def cross_entropy(logprobs: Tensor, weights: Tensor) -> Tensor:
    """Weighted negative log-likelihood of vectors `(n,)`, or of soft targets `(n, K)`."""
    return -(logprobs * weights).sum()


def importance_sampling(logprobs: Tensor, sampled: Tensor, advantages: Tensor) -> Tensor:
    """Policy gradient, corrected by the ratio of the learner to the sampler, which drew at `sampled` logprobs."""
    return -((logprobs - sampled).exp() * advantages).sum()


def ppo(logprobs: Tensor, sampled: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """The lower of plain and clipped objective (Schulman et al. 2017); `low` and `high` bound the ratio itself."""
    ratio = (logprobs - sampled).exp()
    return -(ratio * advantages).minimum(ratio.clamp(low, high) * advantages).sum()


def cispo(logprobs: Tensor, sampled: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """Log-likelihood weighted by a clipped ratio without gradient (MiniMax 2025): no position loses its gradient."""
    ratio = (logprobs - sampled).exp().clamp(low, high).detach()
    return -(ratio * logprobs * advantages).sum()


@attrs.frozen
class Loss:
    """How a loss is called: the columns that a datum gives it, and the bounds that a request may change.

    Positions where the column `coefficient` is 0 add nothing to the loss, so that nobody needs their gradient.
    """

    function: Callable[..., Tensor]
    columns: tuple[str, ...]
    coefficient: str
    optional: Mapping[str, float] = attrs.field(factory=dict)
    """Columns that may be left out, with what they then hold."""
    bounds: Mapping[str, float] = attrs.field(factory=dict)

    def __call__(self, logprobs: Tensor, columns: Mapping[str, Tensor], config: Mapping[str, float]) -> Tensor:
        """The loss of some positions, a scalar."""
        bounds = (config.get(name, default) for name, default in self.bounds.items())
        return self.function(logprobs, *(columns[name] for name in self.columns), *bounds)


_POLICY: Final = ("logprobs", "advantages")


def _bounds(low: float, high: float) -> Mapping[str, float]:
    return {"clip_low_threshold": low, "clip_high_threshold": high}


LOSSES: Final[Mapping[str, Loss]] = {
    "cross_entropy": Loss(cross_entropy, ("weights",), "weights", optional={"weights": 1.0}),
    "importance_sampling": Loss(importance_sampling, _POLICY, "advantages"),
    "ppo": Loss(ppo, _POLICY, "advantages", bounds=_bounds(0.8, 1.2)),
    "cispo": Loss(cispo, _POLICY, "advantages", bounds=_bounds(0.0, 4.0)),
}
"""The losses by the names of the protocol."""
