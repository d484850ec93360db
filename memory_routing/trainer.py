"""The trainer seam: dataset in, checkpoint out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NewType

import attrs

from memory_routing.dataset import Dataset
from memory_routing.errors import TrainingError
from memory_routing.frozen import FrozenMapping
from memory_routing.runs import CHECKPOINTS, read_rows

__all__ = ["Checkpoint", "SamplerWeights", "Trainer", "TrainingState"]

TrainingState = NewType("TrainingState", str)
"""Where weights, optimiser state and step are kept: what training goes on from."""
SamplerWeights = NewType("SamplerWeights", str)
"""Where weights for inference are kept: what a router loads."""


def _config(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return FrozenMapping(value)


@attrs.frozen
class Checkpoint:
    """A point in a training run: always the resumable state and the weights to route with.

    The two paths have types of their own, so that a type checker refuses one for the other.
    """

    state: TrainingState
    weights: SamplerWeights
    step: int
    """Optimiser steps of its phase before it."""
    base_model: str
    renderer: str
    """Name of the renderer, or of what takes its place in an encoder."""
    taxonomy_hash: str
    dataset_hash: str
    config: Mapping[str, Any] = attrs.field(converter=_config, hash=False)
    metrics: Mapping[str, float] = attrs.field(factory=dict, converter=_config, hash=False)
    parent: str | None = None
    """State that this phase started from, where it did not start from the base model."""
    phase: Literal["sft", "rl"] = "sft"
    """Supervised fine-tuning or reinforcement learning."""
    rank: int | None = None
    """Of the LoRA adapter, where there is one."""

    @classmethod
    def read_all(cls, run_dir: Path) -> list[Checkpoint]:
        """The checkpoints that a run folder's registry lists, in order.

        Raises `TrainingError` for a folder without any, and for a line that is none.
        """
        rows = read_rows(run_dir, CHECKPOINTS)
        if not rows:
            raise TrainingError(f"{run_dir} has no checkpoint: is it a run folder?")
        try:
            return [cls(**row) for row in rows]
        except (TypeError, ValueError, AttributeError) as error:
            raise TrainingError(f"{run_dir / CHECKPOINTS}: a line is no checkpoint ({error})") from None


class Trainer(ABC):
    """Learns a router from labelled conversations."""

    @abstractmethod
    def fit(self, train: Dataset, validation: Dataset, run_dir: Path) -> Checkpoint:
        """Train, and return the checkpoint to route with.

        Everything is written to `run_dir` as it happens; a run that was killed goes on where it was.
        Raises `TrainingError` where `run_dir` holds a run of another configuration or dataset.
        """
