"""Trainers: an adapter with the gradients and the optimiser that belong to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor, optim

from memory_routing.server.base import Base
from memory_routing.server.datums import TrainingDatum
from memory_routing.server.lora import LoraShape
from memory_routing.server.losses import Loss
from memory_routing.server.passes import Pass, run_pass
from memory_routing.server.refusal import Refused

__all__ = ["AdamSettings", "ModelTrainer"]


@attrs.frozen
class AdamSettings:
    """The settings of one optimiser step. Raises `Refused` for what AdamW cannot use."""

    learning_rate: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    grad_clip_norm: float
    """Largest norm of the gradient; 0 for no limit."""

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if not math.isfinite(value) or value < 0 or (name.startswith("beta") and value >= 1):
                raise Refused(f"the optimiser's {name} is {value}, which AdamW cannot use")


class ModelTrainer:
    """One model in training: gradients add up over passes until a step uses them."""

    def __init__(self, base: Base, shape: LoraShape, seed: int) -> None:
        self.base, self.shape = base, shape
        self.adapter = base.adapters.add(shape, seed)
        self._parameters = base.adapters.parameters(self.adapter)
        self._start_optimizer()

    def _start_optimizer(self) -> None:
        self._optimizer = optim.AdamW(self._parameters.values(), lr=0.0)

    def forward(
        self, datums: Sequence[TrainingDatum], loss: Loss, config: Mapping[str, float], batch_tokens: int
    ) -> Pass:
        """A pass that changes nothing."""
        self.base.adapters.use(self.adapter)
        return run_pass(self.base, datums, loss, config, (), batch_tokens)

    def forward_backward(
        self, datums: Sequence[TrainingDatum], loss: Loss, config: Mapping[str, float], batch_tokens: int
    ) -> Pass:
        """A pass whose gradients are added to those at hand, once they all are known."""
        self.base.adapters.use(self.adapter, training=True)
        parameters = list(self._parameters.values())
        done = run_pass(self.base, datums, loss, config, parameters, batch_tokens)
        for parameter, gradient in zip(parameters, done.gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return done

    def step(self, settings: AdamSettings) -> dict[str, float]:
        """Use the gradients up. Returns the metrics of the step: the gradient's norm before it was clipped."""
        limit = settings.grad_clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), limit)
        for group in self._optimizer.param_groups:
            group |= {
                "lr": settings.learning_rate,
                "betas": (settings.beta1, settings.beta2),
                "eps": settings.eps,
                "weight_decay": settings.weight_decay,
            }
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return {"grad_norm:mean": float(norm)}

    def weights(self) -> dict[str, Tensor]:
        """A copy of the adapter's weights."""
        return self.base.adapters.read(self.adapter)

    def moments(self) -> dict[str, Tensor]:
        """A copy of what the optimiser remembers, as `exp_avg/<weight>`, `exp_avg_sq/<weight>`, `step/<weight>`."""
        state = self._optimizer.state
        return {
            f"{moment}/{name}": value.detach().cpu().clone()
            for name, parameter in self._parameters.items()
            for moment, value in state.get(parameter, {}).items()
        }

    def load(self, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None) -> None:
        """Go on from a checkpoint, with a new optimiser where its moments are not given. Gradients are dropped."""
        self.base.adapters.write(self.adapter, weights)
        self._start_optimizer()
        self._optimizer.zero_grad(set_to_none=True)
        for key, value in (moments or {}).items():
            moment, _, name = key.partition("/")
            parameter = self._parameters[name]
            # As torch keeps them: moments beside the weight, the count of steps on the CPU.
            place = value if moment == "step" else value.to(parameter.device)
            self._optimizer.state[parameter][moment] = place.clone()

    def close(self) -> None:
        """Give the adapter up."""
        self.base.adapters.drop(self.adapter)
