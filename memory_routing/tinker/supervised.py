"""The first phase: cross-entropy on labelled conversations."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import tinker

from memory_routing.datums import AlignedDatum, align_all
from memory_routing.errors import TrainingError
from memory_routing.progress import track
from memory_routing.tinker.cost import Tokens
from memory_routing.tinker.greedy import evaluate, evaluation_tokens, mean_loss, on_validation
from memory_routing.tinker.job import Job
from memory_routing.tinker.preparation import Order
from memory_routing.tinker.service import Learner, to_datum

__all__ = ["fine_tune"]


def fine_tune(job: Job) -> None:
    """Train, or go on, until the steps are done or validation loss stops falling."""
    phase = _Supervised(job)
    if not phase.ended:
        phase.run()


class _Supervised:
    def __init__(self, job: Job) -> None:
        self.job, self.config = job, job.config.sft
        self.order = Order(len(job.train), self.config.batch, f"{job.config.seed}/sft")
        done = job.of("sft")
        self.step = done[-1].step if done else 0

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        losses = self.job.column("sft", "validation/loss")
        since = len(losses) - 1 - losses.index(min(losses)) if losses else 0
        return self.step >= self.config.steps or since >= self.config.patience

    def run(self) -> None:
        job = self.job
        if self.step:
            learner = job.service.resume(job.of("sft")[-1].state)
        else:
            learner = job.service.new(job.config.base_model, job.config.rank, job.config.seed)
            job.afford(evaluation_tokens(job.validation, job.config.max_tokens), learner, "sft", 0, None)
            job.log("sft", 0, on_validation(evaluate(job, learner)))
        batch = self._batch()
        for _ in track(range(self.step, self.config.steps), self._describe, self.config.steps - self.step):
            due = self._due(self.step + 1)
            job.afford(self._tokens(batch[0], due), learner, "sft", self.step, None)
            batch = self._train(learner, batch)
            if due:
                measured = evaluate(job, learner)
                job.log("sft", self.step, on_validation(measured))
                job.save(learner, "sft", self.step, measured, None)
            if self.ended:
                break

    def _train(
        self, learner: Learner, batch: tuple[Sequence[AlignedDatum], Sequence[tinker.Datum]]
    ) -> tuple[Sequence[AlignedDatum], Sequence[tinker.Datum]]:
        """One step; the next batch is made while the service works."""
        wall, cpu = time.perf_counter(), time.thread_time()
        aligned, datums = batch
        pending = learner.submit(datums, "cross_entropy", self.job.learning_rate, self.job.config.adam)
        self.step += 1
        ahead = self._batch()
        loss = mean_loss(aligned, pending.wait())
        if not math.isfinite(loss):
            raise TrainingError(f"step {self.step}: the loss is {loss}; lower the learning rate")
        seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.thread_time() - cpu}
        self.job.log("sft", self.step, {"loss": loss, "learning_rate": self.job.learning_rate, **seconds})
        return ahead

    def _batch(self) -> tuple[Sequence[AlignedDatum], Sequence[tinker.Datum]]:
        items = [self.job.train[i] for i in self.order(self.step)]
        aligned = align_all(
            [item.datum for item in items], vocabulary=self.job.renderer.vocabulary, longest=self.job.longest
        )
        return aligned, [to_datum(item) for item in aligned]

    def _due(self, step: int) -> bool:
        return step % self.config.every == 0 or step == self.config.steps

    def _tokens(self, aligned: Sequence[AlignedDatum], due: bool) -> Tokens:
        tokens = Tokens(train=sum(map(len, aligned)))
        return tokens + evaluation_tokens(self.job.validation, self.job.config.max_tokens) if due else tokens

    def _describe(self) -> str:
        losses, held = self.job.column("sft", "loss"), self.job.column("sft", "validation/loss")
        return f"supervised, loss {losses[-1]:.3f}, validation {held[-1]:.3f}" if losses and held else "supervised"
