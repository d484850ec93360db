"""What the policy says when it says the likeliest, and what that is worth."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from memory_routing.datums import AlignedDatum, align
from memory_routing.labels import LabelSet, Malformed
from memory_routing.reward import RewardFn, set_f1
from memory_routing.tinker.cost import Tokens
from memory_routing.tinker.job import Job
from memory_routing.tinker.preparation import Item
from memory_routing.tinker.service import Floats, Learner, Sampler, to_datum

__all__ = ["evaluate", "evaluation_tokens", "greedy_scores", "mean_loss", "on_validation", "score", "validation_loss"]


def score(predicted: Sequence[LabelSet | Malformed], gold: Sequence[LabelSet], reward: RewardFn) -> dict[str, float]:
    """Means over all answers; malformed ones earn the penalty, and nothing else."""
    columns: dict[str, list[float]] = defaultdict(list)
    for said, right in zip(predicted, gold, strict=True):
        earned = reward(said, right)
        columns["reward"].append(earned.total)
        for name in reward.weights:
            columns[f"reward/{name}"].append(earned.components.get(name, 0.0))
        f1, labels = (set_f1(said, right), len(said)) if isinstance(said, LabelSet) else (0.0, 0)
        columns["f1"].append(f1)
        columns["exact"].append(said == right)
        columns["malformed"].append(isinstance(said, Malformed))
        columns["labels"].append(labels)
    return {name: math.fsum(values) / len(values) for name, values in columns.items()}


def greedy_scores(job: Job, sampler: Sampler) -> dict[str, float]:
    """Scores of the likeliest answers on the validation data."""
    groups = sampler.sample(
        [item.prompt for item in job.validation],
        stop=job.renderer.stop,
        max_tokens=job.config.max_tokens,
        temperature=0.0,
    )
    said = [job.renderer.parse(rollout.tokens, complete=rollout.complete) for (rollout,) in groups]
    return score(said, [item.labels for item in job.validation], job.reward)


def validation_loss(job: Job, learner: Learner) -> float:
    """Mean negative logprob in nats over the answers' tokens; by forward passes, which change nothing."""
    aligned = [align(item.datum) for item in job.validation]
    return mean_loss(aligned, learner.forward([to_datum(item) for item in aligned]))


def mean_loss(aligned: Sequence[AlignedDatum], found: Sequence[Floats]) -> float:
    """Mean negative logprob in nats over own tokens, from logprobs `(T,)` of each datum."""
    own = np.concatenate([logprobs[item.mask > 0] for item, logprobs in zip(aligned, found, strict=True)])
    return -float(own.astype(np.float64).mean())


def evaluate(job: Job, learner: Learner) -> dict[str, float]:
    """Validation loss, and the scores of the likeliest answers."""
    return {"loss": validation_loss(job, learner), **greedy_scores(job, learner.snapshot())}


def evaluation_tokens(items: Sequence[Item], answer: int) -> Tokens:
    """What an evaluation costs, with answers of so many tokens."""
    return Tokens(sum(len(item.prompt) for item in items), answer * len(items), sum(map(len, items)))


def on_validation(measured: Mapping[str, float]) -> dict[str, float]:
    """The names under which an evaluation stands among a step's metrics."""
    return {f"validation/{name}": value for name, value in measured.items()}
