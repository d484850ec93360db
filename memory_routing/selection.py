"""Which of a run's checkpoints is the one to go on with, and the one to route with."""

from __future__ import annotations

from collections.abc import Sequence

from memory_routing.errors import TrainingError
from memory_routing.trainer import Checkpoint

__all__ = ["best_supervised", "released"]


def best_supervised(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The supervised checkpoint with the lowest validation loss, the earlier among equals.

    Raises `TrainingError` where none was evaluated.
    """
    evaluated = [checkpoint for checkpoint in checkpoints if checkpoint.phase == "sft" and "loss" in checkpoint.metrics]
    if not evaluated:
        raise TrainingError("no supervised checkpoint was evaluated yet: let the run go on")
    return min(evaluated, key=lambda checkpoint: checkpoint.metrics["loss"])


def released(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The best supervised checkpoint or one of reinforcement learning, whichever earns most by greedy answers.

    All are measured on the same validation data; the earlier among equals. Raises `TrainingError` as
    `best_supervised` does.
    """
    learned = [checkpoint for checkpoint in checkpoints if checkpoint.phase == "rl" and "reward" in checkpoint.metrics]
    return max([best_supervised(checkpoints), *learned], key=lambda checkpoint: checkpoint.metrics["reward"])
