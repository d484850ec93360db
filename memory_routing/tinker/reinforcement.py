"""The second phase: answers are sampled, rewarded, and learned from by importance sampling."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from memory_routing.datums import AlignedDatum, PolicyDatum, align, align_all
from memory_routing.divergence import Divergence, divergence
from memory_routing.errors import TrainingError
from memory_routing.progress import track
from memory_routing.selection import best_supervised
from memory_routing.tinker.config import ReinforcementConfig
from memory_routing.tinker.cost import Tokens
from memory_routing.tinker.greedy import evaluation_tokens, greedy_scores, on_validation
from memory_routing.tinker.job import Job
from memory_routing.tinker.preparation import Item, Order, spaced
from memory_routing.tinker.rollouts import Group, group_datums, rollout_metrics, scored
from memory_routing.tinker.service import Floats, Learner, Rollout, Sampler, Step, to_datum
from memory_routing.trainer import Checkpoint
from memory_routing.watch import Level

__all__ = ["HANDOVER", "reinforce"]

HANDOVER: Final = 16
"""Conversations on which the loaded state is compared with the supervised sampler."""
_REMEDIES: Final = {
    "sampler": "the sampler is not the policy that is trained: sample at temperature 1, with the learner's tokenizer",
    "step": "the steps are too large: lower rl.learning_rate",
    "sft": "the policy has left the supervised one: lower rl.learning_rate or the iterations",
}


def reinforce(job: Job, config: ReinforcementConfig) -> None:
    """Train, or go on, from the best supervised checkpoint.

    Raises `TrainingError` where the watch halts the run, or where the loaded state is not the supervised policy.
    """
    phase = _Reinforcement(job, config, best_supervised(job.checkpoints))
    if phase.iteration < config.iterations:
        phase.run()


class _Reinforcement:
    def __init__(self, job: Job, config: ReinforcementConfig, supervised: Checkpoint) -> None:
        self.job, self.config, self.supervised = job, config, supervised
        self.order = Order(len(job.train), config.groups, f"{job.config.seed}/rl")
        done = job.of("rl")
        self.iteration = done[-1].step if done else 0

    def run(self) -> None:
        job, config = self.job, self.config
        start = job.of("rl")[-1] if self.iteration else self.supervised
        learner = job.service.resume(start.state)
        reference = job.service.sampler(weights=self.supervised.weights)
        if not self.iteration:
            compared = evaluation_tokens(spaced(job.validation, HANDOVER), job.config.max_tokens)
            job.afford(compared, learner, "rl", 0, self.supervised.state)
            self._hand_over(learner, reference)
        for _ in track(range(self.iteration, config.iterations), self._describe, config.iterations - self.iteration):
            items = [job.train[i] for i in self.order(self.iteration)]
            due = (self.iteration + 1) % config.every == 0 or self.iteration + 1 == config.iterations
            job.afford(self._tokens(items, due), learner, "rl", self.iteration, self.supervised.state)
            self._train(learner, reference, items)
            if due:
                measured = greedy_scores(job, learner.snapshot())
                job.log("rl", self.iteration, on_validation(measured))
                job.save(learner, "rl", self.iteration, measured, self.supervised.state)

    def _hand_over(self, learner: Learner, reference: Sampler) -> None:
        """Prove that the loaded state is the supervised policy: its logprobs are those of that policy's sampler."""
        items = spaced(self.job.validation, HANDOVER)
        groups = self._sample(reference, items, 1, 1.0)
        aligned = [
            align(PolicyDatum(item.prompt, rollout.tokens, rollout.logprobs, 0.0))
            for item, (rollout,) in zip(items, groups, strict=True)
        ]
        sampled = _sampled(aligned)
        found = learner.forward([to_datum(item.supervised) for item in aligned])
        apart = divergence(sampled, found, [item.mask for item in aligned])
        largest = max(
            float(np.abs(ours - theirs)[item.mask > 0].max())
            for ours, theirs, item in zip(sampled, found, aligned, strict=True)
        )
        self.job.log("rl", 0, {**_named("handover", apart), "kl/handover/largest": largest})
        if self.config.watch.level(apart.k3) is Level.CRITICAL:
            raise TrainingError(
                f"the state {self.supervised.state} is not the policy of {self.supervised.weights}: k3 {apart.k3:.4f}"
            )

    def _train(self, learner: Learner, reference: Sampler, items: Sequence[Item]) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        job, config = self.job, self.config
        rollouts = self._sample(learner.snapshot(), items, config.group_size, config.temperature)
        groups = [scored(item, group, job.renderer, job.reward) for item, group in zip(items, rollouts, strict=True)]
        datums = self._datums(groups)
        # The service samples from the model's vocabulary, which may be larger than the tokenizer's.
        aligned = align_all(datums, longest=job.longest) if datums else []
        pending = self._submit(learner, aligned) if datums else None
        measured: dict[str, Any] = {"learning_rate": config.learning_rate, "datums": len(datums)}
        measured |= rollout_metrics(groups, job.reward)
        if pending is None:
            measured["skipped"] = "every group has constant reward"
        else:
            measured |= self._divergences(learner, reference, datums, aligned, pending.wait())
        self.iteration += 1
        measured |= {"seconds": time.perf_counter() - wall, "cpu_seconds": time.thread_time() - cpu}
        job.log("rl", self.iteration, measured)
        for group in groups[: config.samples]:
            row = group.to_dict(lambda tokens: job.renderer.tokenizer.decode(list(tokens)))
            job.folder.record_samples(phase="rl", step=self.iteration, **row)
        self._halt_where_critical()

    def _datums(self, groups: Sequence[Group]) -> list[PolicyDatum]:
        try:
            return [datum for group in groups for datum in group_datums(group, scale=self.config.scale)]
        except ValueError as error:
            raise self._broken(error) from None

    def _broken(self, error: ValueError) -> TrainingError:
        return TrainingError(f"iteration {self.iteration + 1}: {error}; lower rl.learning_rate")

    def _submit(self, learner: Learner, aligned: Sequence[AlignedDatum]) -> Step:
        config = self.config
        datums = [to_datum(item) for item in aligned]
        return learner.submit(datums, config.loss, config.learning_rate, self.job.config.adam, config.loss_config)

    def _divergences(
        self,
        learner: Learner,
        reference: Sampler,
        datums: Sequence[PolicyDatum],
        aligned: Sequence[AlignedDatum],
        before: Sequence[Floats],
    ) -> dict[str, float]:
        """The three pairs: sampler and learner, before and after the step, learner and supervised policy."""
        sampled = _sampled(aligned)
        stride = -(-len(datums) // self.config.watched)
        masks = [item.mask for item in aligned[::stride]]
        after = learner.forward([to_datum(item.supervised) for item in aligned[::stride]])
        anchor = reference.logprobs([(*datum.prompt, *datum.completion) for datum in datums[::stride]])
        try:
            return {
                **_named("sampler", divergence(sampled, before, [item.mask for item in aligned])),
                **_named("step", divergence(before[::stride], after, masks)),
                **_named("sft", divergence(before[::stride], anchor, masks)),
            }
        except ValueError as error:
            raise self._broken(error) from None

    def _halt_where_critical(self) -> None:
        for pair, remedy in _REMEDIES.items():
            history = self.job.column("rl", f"kl/{pair}/k3")
            if self.config.watch.halts(pair, history):
                raise TrainingError(
                    f"iteration {self.iteration}: k3 of the pair {pair!r} is {history[-1]:.4f}, above "
                    f"{self.config.watch.critical:g}; {remedy}"
                )

    def _sample(self, sampler: Sampler, items: Sequence[Item], samples: int, temperature: float) -> list[list[Rollout]]:
        # Each conversation's chance is its own, so that a resumed run draws what an uninterrupted one drew.
        draw = random.Random(f"{self.job.config.seed}/rl/{self.iteration}")
        groups = sampler.sample(
            [item.prompt for item in items],
            stop=self.job.renderer.stop,
            max_tokens=self.job.config.max_tokens,
            temperature=temperature,
            samples=samples,
            seeds=[draw.getrandbits(31) for _ in items],
        )
        return list(groups)

    def _tokens(self, items: Sequence[Item], due: bool) -> Tokens:
        answer, size = self.job.config.max_tokens, self.config.group_size
        prompts = sum(len(item.prompt) for item in items)
        whole = (prompts + answer * len(items)) * size
        count = min(self.config.watched, len(items) * size)
        watched = count * (max(len(item.prompt) for item in items) + answer)
        # Asking for logprobs samples a token as well.
        tokens = Tokens(prompts * size + watched, answer * size * len(items) + count, whole + watched)
        return tokens + evaluation_tokens(self.job.validation, answer) if due else tokens

    def _describe(self) -> str:
        earned, held = self.job.column("rl", "reward"), self.job.column("rl", "validation/reward")
        said = f"reinforcement, reward {earned[-1]:.3f}" if earned else "reinforcement"
        return f"{said}, validation {held[-1]:.3f}" if held else said


def _sampled(aligned: Sequence[AlignedDatum]) -> list[Floats]:
    """The sampler's logprobs `(T,)` of each policy datum."""
    return [item.logprobs for item in aligned if item.logprobs is not None]


def _named(pair: str, found: Divergence) -> dict[str, float]:
    return {f"kl/{pair}/{name}": getattr(found, name) for name in ("k1", "k2", "k3")}
