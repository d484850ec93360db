"""A run under way: what both phases share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol, get_args

import attrs

from memory_routing.errors import TrainingError
from memory_routing.files import write_whole
from memory_routing.frozen import plain
from memory_routing.reward import RewardFn
from memory_routing.runs import CHECKPOINTS, RunFolder
from memory_routing.tinker.config import TinkerConfig
from memory_routing.tinker.cost import Prices, Tokens
from memory_routing.tinker.preparation import Item
from memory_routing.tinker.renderer import CookbookRenderer
from memory_routing.tinker.service import Learner, Service
from memory_routing.trainer import Checkpoint

__all__ = ["Job", "Phase", "Sink"]

_SPENT: Final = "spent.json"

Phase = Literal["sft", "rl"]


class Sink(Protocol):
    """What takes metrics besides the run folder, such as a logger of the cookbook's `ml_log`."""

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Take the metrics of a step."""


@attrs.define
class Job:
    """The parts of a run, its history, and what it has cost."""

    config: TinkerConfig
    learning_rate: float
    folder: RunFolder
    service: Service
    renderer: CookbookRenderer
    reward: RewardFn
    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    dataset_hash: str
    longest: int | None
    prices: Prices | None
    budget: float | None
    sinks: tuple[Sink, ...] = ()
    metrics: list[dict[str, Any]] = attrs.field(factory=list)
    checkpoints: list[Checkpoint] = attrs.field(factory=list)

    def go_on(self) -> None:
        """Take up what the run folder holds, up to its last checkpoint; what came after will be done again."""
        # What a killed run did after its checkpoint was paid for all the same.
        self.service.spent += self._spent_before()
        write_whole(self.folder.path / _SPENT, json.dumps(plain(self.service.spent)).encode())
        self.checkpoints = [Checkpoint(**row) for row in self.folder.rows(CHECKPOINTS)]
        last = _place(plain(self.checkpoints[-1])) if self.checkpoints else (-1, 0)
        self.folder.keep(lambda row: _place(row) <= last)
        self.metrics = self.folder.rows()

    def _spent_before(self) -> Tokens:
        """What the run has used before: by its last row, or by what was known when rows were last dropped."""
        known = [Tokens(**row["tokens"]) for row in self.folder.rows()[-1:]]
        carried = self.folder.path / _SPENT
        if carried.exists():
            known.append(Tokens(**json.loads(carried.read_bytes())))
        return max(known, key=lambda tokens: tokens.train + tokens.prefill, default=Tokens())

    def of(self, phase: Phase) -> list[Checkpoint]:
        """The checkpoints of one phase, in order."""
        return [checkpoint for checkpoint in self.checkpoints if checkpoint.phase == phase]

    def column(self, phase: Phase, name: str) -> list[float]:
        """What a phase measured under one name, oldest first."""
        return [row[name] for row in self.metrics if row["phase"] == phase and name in row]

    def log(self, phase: Phase, step: int, measured: Mapping[str, Any]) -> None:
        """Write a row of metrics, with what the run has cost so far."""
        row = {"phase": phase, "step": step, **measured, "tokens": plain(self.service.spent)}
        if self.prices is not None:
            row["usd"] = self.service.spent.usd(self.prices)
        self.folder.log(**row)
        self.metrics.append(row)
        for sink in self.sinks:
            # Steps start again with each phase and each resumption, and some sinks drop what goes back.
            named = {f"{phase}/{name}": value for name, value in {"step": step, **measured}.items()}
            sink.log_metrics(named, None)

    def save(
        self, learner: Learner, phase: Phase, step: int, measured: Mapping[str, float], parent: str | None
    ) -> None:
        """Save a checkpoint, state and weights, and enter it in the registry."""
        state, weights = learner.save(f"{phase}-{step:06d}")
        checkpoint = Checkpoint(
            state=state,
            weights=weights,
            step=step,
            base_model=self.config.base_model,
            renderer=self.renderer.name,
            taxonomy_hash=self.renderer.taxonomy.hash,
            dataset_hash=self.dataset_hash,
            config=plain(self.config),
            metrics=measured,
            parent=parent,
            phase=phase,
            rank=self.config.rank,
        )
        self.folder.record_checkpoint(**plain(checkpoint))
        self.checkpoints.append(checkpoint)

    def afford(self, tokens: Tokens, learner: Learner, phase: Phase, step: int, parent: str | None) -> None:
        """Make sure that the next step stays within the budget; else save a checkpoint and raise `TrainingError`."""
        if self.budget is None or self.prices is None:
            return
        spent, ahead = self.service.spent.usd(self.prices), tokens.usd(self.prices)
        if spent + ahead <= self.budget:
            return
        saved = self.of(phase)
        if step and (not saved or saved[-1].step < step):
            self.save(learner, phase, step, {}, parent)
        raise TrainingError(
            f"the budget of {self.budget:g} USD ends before step {step + 1} of {phase}: {spent:.4f} USD are spent, the "
            f"step would cost up to {ahead:.4f}; raise the budget to go on"
        )


def _place(row: Mapping[str, Any]) -> tuple[int, int]:
    return get_args(Phase).index(row["phase"]), row["step"]
