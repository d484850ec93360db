"""What the Tinker trainer is told."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import attrs
from attrs.validators import ge, gt, in_, lt, optional

from memory_routing.errors import TrainingError
from memory_routing.frozen import FrozenMapping
from memory_routing.watch import Watch
from memory_routing.wire import strict_converter, structure

__all__ = ["Adam", "ReinforcementConfig", "SupervisedConfig", "TinkerConfig", "read_config"]


def _frozen(value: Mapping[str, float]) -> Mapping[str, float]:
    return FrozenMapping(value)


@attrs.frozen
class Adam:
    """The optimiser's settings beside the learning rate."""

    beta1: float = attrs.field(default=0.9, validator=[ge(0.0), lt(1.0)])
    beta2: float = attrs.field(default=0.95, validator=[ge(0.0), lt(1.0)])
    eps: float = attrs.field(default=1e-8, validator=gt(0.0))
    grad_clip_norm: float = attrs.field(default=0.0, validator=ge(0.0))
    """Largest norm of the gradient; 0 for no limit."""


@attrs.frozen
class SupervisedConfig:
    """The first phase: cross-entropy on the teacher's answers."""

    steps: int = attrs.field(default=100, validator=ge(1))
    batch: int = attrs.field(default=128, validator=ge(1))
    """Conversations in an optimiser step."""
    learning_rate: float | None = attrs.field(default=None, validator=optional(gt(0.0)))
    """Left out, what the cookbook's `get_lr` says for the base model."""
    every: int = attrs.field(default=10, validator=ge(1))
    """Steps between evaluations; a checkpoint is saved at each."""
    patience: int = attrs.field(default=5, validator=ge(1))
    """Evaluations without a lower validation loss after which the phase ends."""


@attrs.frozen
class ReinforcementConfig:
    """The second phase: sampled answers, rewarded."""

    iterations: int = attrs.field(default=30, validator=ge(1))
    groups: int = attrs.field(default=64, validator=ge(1))
    """Conversations in an iteration."""
    group_size: int = attrs.field(default=32, validator=ge(2))
    """Rollouts of each conversation."""
    learning_rate: float = attrs.field(default=2e-5, validator=gt(0.0))
    temperature: float = attrs.field(default=1.0, validator=gt(0.0))
    """Anything but 1 samples from another policy than the one that is trained, and the watch says so."""
    loss: str = attrs.field(default="importance_sampling", validator=in_(["importance_sampling", "ppo", "cispo"]))
    loss_config: Mapping[str, float] = attrs.field(factory=dict, converter=_frozen)
    """Clipping bounds of `ppo` and `cispo`, as the service names them."""
    scale: bool = False
    """Divide advantages by their group's standard deviation."""
    every: int = attrs.field(default=5, validator=ge(1))
    """Iterations between evaluations; a checkpoint is saved at each."""
    watch: Watch = attrs.field(factory=Watch)
    watched: int = attrs.field(default=256, validator=ge(1))
    """Rollouts on which the policy is compared after the step, and with the supervised one; the first pair has all."""
    samples: int = attrs.field(default=2, validator=ge(0))
    """Groups of each iteration that are kept in `samples.jsonl`."""


@attrs.frozen
class TinkerConfig:
    """Settings of a run on Tinker or a service that speaks its protocol. Any model that it serves is one string.

    Defaults are those of the original system, except where it erred; the how-to lists where.
    """

    base_model: str = "meta-llama/Llama-3.1-8B"
    rank: int = attrs.field(default=32, validator=ge(1))
    """Of the LoRA adapter."""
    renderer: str | None = None
    """Name of a cookbook renderer; left out, the one recommended for the base model."""
    adam: Adam = attrs.field(factory=Adam)
    sft: SupervisedConfig = attrs.field(factory=SupervisedConfig)
    rl: ReinforcementConfig | None = attrs.field(factory=ReinforcementConfig)
    """`None` for the supervised phase alone."""
    max_tokens: int = attrs.field(default=100, validator=ge(1))
    """Of a sampled answer."""
    validation: int = attrs.field(default=200, validator=ge(1))
    """Conversations of the validation data that evaluations use, evenly spaced."""
    seed: int = 0


def read_config(path: Path) -> TinkerConfig:
    """Settings from a TOML file; what it leaves out has its default. Raises `TrainingError` that names the mistakes."""
    try:
        return structure(strict_converter(), tomllib.loads(path.read_text(encoding="utf-8-sig")), TinkerConfig)
    except ValueError as error:
        raise TrainingError(f"{path}: {error}") from None
