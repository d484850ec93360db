"""Find out what a reward function pays for, before paying for training.

Errors are breaches of the contract of `RewardFn`. Findings are facts worth knowing: they are no failures.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import attrs

from memory_routing.intervals import Estimate, mean
from memory_routing.labels import LabelSet
from memory_routing.reward import RewardFn
from memory_routing.taxonomy import Taxonomy

__all__ = ["Finding", "RewardLint", "lint_reward"]

_MAX_PAIRS: Final = 5_000
_HASH_SEEDS: Final = (1, 2, 3)
_HASH_PAIRS: Final = 500
_LARGER_SETS: Final = 8

LabelPair = tuple[LabelSet, LabelSet]


@attrs.frozen
class Finding:
    """A kind of step that lowers the reward though it brings the prediction closer to gold."""

    what: str
    count: int
    tried: int
    worst: str | None = None
    """The example that loses most."""

    def __str__(self) -> str:
        worst = f"; worst: {self.worst}" if self.worst else ""
        return f"{self.what}: {self.count} of {self.tried}{worst}"


@attrs.frozen
class RewardLint:
    """What `lint_reward` found."""

    errors: tuple[str, ...]
    findings: tuple[Finding, ...]
    policies: dict[str, Estimate]
    """What policies that learned nothing earn on average, and gold itself beside them."""
    skipped: tuple[str, ...] = ()
    """Checks that could not be made, and why."""

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    def __str__(self) -> str:
        lines = [f"error: {error}" for error in self.errors] or ["no errors"]
        lines += [f"finding: {finding}" for finding in self.findings]
        lines += [f"policy {name}: {estimate}" for name, estimate in self.policies.items()]
        return "\n".join(lines + [f"skipped: {reason}" for reason in self.skipped])


def lint_reward(
    reward: RewardFn, taxonomy: Taxonomy, gold: Iterable[LabelSet] | None = None, *, seed: int = 0
) -> RewardLint:
    """Check a reward function and show what it pays for.

    `gold` is what it will be used on (the labels of a dataset), for the policies; without it, every label
    set of up to three labels counts once. Pairs of label sets are tried up to a limit, drawn by `seed`: of up to
    three labels, of those in `gold`, and of some larger ones.
    """
    small = _label_sets(taxonomy, 3)
    golds = list(gold) if gold is not None else small
    draw = random.Random(seed)
    sets = list(dict.fromkeys([*small, *golds, *_larger(taxonomy, draw)]))
    pairs = _pairs(sets, draw)
    errors = _contract_errors(reward, sets, pairs)
    if errors:
        return RewardLint(tuple(errors), (), {})
    skipped: list[str] = []
    try:
        errors += _hash_seed_errors(reward, pairs[:_HASH_PAIRS])
    except _CannotCheckError as reason:
        skipped.append(f"dependence on the hash seed: {reason}")
    findings = (
        _losses("a right label added lowers the reward", reward, pairs, _additions),
        _losses("a wrong label dropped lowers the reward", reward, pairs, _removals),
    )
    return RewardLint(tuple(errors), findings, _policies(reward, taxonomy, golds), tuple(skipped))


def _label_sets(taxonomy: Taxonomy, largest: int) -> list[LabelSet]:
    return [taxonomy.labels(*names) for size in range(largest + 1) for names in combinations(taxonomy.names, size)]


def _larger(taxonomy: Taxonomy, draw: random.Random) -> list[LabelSet]:
    """A few sets of every size above three, all labels among them: over-prediction is the classic mistake."""
    sizes = range(4, len(taxonomy) + 1)
    return [taxonomy.labels(*draw.sample(taxonomy.names, size)) for size in sizes for _ in range(_LARGER_SETS)]


def _pairs(sets: Sequence[LabelSet], draw: random.Random) -> list[LabelPair]:
    if len(sets) ** 2 <= _MAX_PAIRS:
        return [(a, b) for a in sets for b in sets]
    return [(draw.choice(sets), draw.choice(sets)) for _ in range(_MAX_PAIRS)]


def _contract_errors(reward: RewardFn, sets: Sequence[LabelSet], pairs: Sequence[LabelPair]) -> list[str]:
    """The first breach of each clause, in words."""
    errors: dict[str, str] = {}
    for labels in sets:
        total = reward(labels, labels).total
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            errors.setdefault("gold", f"reward(gold, gold) is {total:g}, not 1, for gold = {labels}")
    totals = []
    for predicted, gold in pairs:
        result = reward(predicted, gold)
        totals.append(result.total)
        for name, score in result.components.items():
            if not 0 <= score <= 1:
                errors.setdefault(name, f"component {name} is {score:g}, outside [0, 1], for {_shown(predicted, gold)}")
    for (predicted, gold), before in reversed(list(zip(pairs, totals, strict=True))):
        after = reward(predicted, gold).total
        if after != before:
            errors.setdefault(
                "order",
                f"depends on the order of calls: {before:g}, then {after:g} for {_shown(predicted, gold)}",
            )
    return list(errors.values())


def _shown(predicted: LabelSet, gold: LabelSet) -> str:
    return f"predicted = {predicted} and gold = {gold}"


def _additions(predicted: LabelSet, gold: LabelSet) -> Iterable[tuple[str, LabelSet]]:
    for name in gold - predicted:
        yield f"adding {name}", predicted | gold.taxonomy.labels(name)


def _removals(predicted: LabelSet, gold: LabelSet) -> Iterable[tuple[str, LabelSet]]:
    for name in predicted - gold:
        yield f"dropping {name}", predicted - gold.taxonomy.labels(name)


def _losses(
    what: str,
    reward: RewardFn,
    pairs: Sequence[LabelPair],
    steps: Callable[[LabelSet, LabelSet], Iterable[tuple[str, LabelSet]]],
) -> Finding:
    tried = count = 0
    worst: tuple[float, str | None] = (0.0, None)
    for predicted, gold in pairs:
        before = reward(predicted, gold).total
        for step, better in steps(predicted, gold):
            tried += 1
            after = reward(better, gold).total
            if after < before - 1e-12:
                count += 1
                example = f"{step} to {_shown(predicted, gold)} changes {before:.3f} to {after:.3f}"
                worst = max(worst, (before - after, example), key=lambda loss: loss[0])
    return Finding(what, count, tried, worst[1])


def _policies(reward: RewardFn, taxonomy: Taxonomy, golds: Sequence[LabelSet]) -> dict[str, Estimate]:
    counts = Counter(name for labels in golds for name in labels)
    common = sorted(taxonomy.names, key=lambda name: -counts[name])
    everything = taxonomy.labels(*taxonomy.names)

    def plus_one(gold: LabelSet) -> LabelSet:
        extra = next((name for name in common if name not in gold), None)
        return gold if extra is None else gold | taxonomy.labels(extra)

    policies: dict[str, Callable[[LabelSet], LabelSet]] = {
        "always none": lambda gold: taxonomy.none,
        f"always {common[0]}": lambda gold: taxonomy.labels(common[0]),
        "all labels": lambda gold: everything,
        "gold plus one": plus_one,
        "gold": lambda gold: gold,
    }
    return {name: mean([reward(say(gold), gold).total for gold in golds]) for name, say in policies.items()}


class _CannotCheckError(Exception):
    """Why the hash seed cannot be varied for this reward function."""


def _hash_seed_errors(reward: RewardFn, pairs: Sequence[LabelPair]) -> list[str]:
    """Whether fresh interpreters under different hash seeds agree, as a set's order would make them not."""
    totals = [_totals_under(seed, reward, pairs) for seed in _HASH_SEEDS]
    for (predicted, gold), values in zip(pairs, zip(*totals, strict=True), strict=True):
        if len(set(values)) > 1:
            low, high = min(values), max(values)
            return [f"depends on the hash seed: between {low:g} and {high:g} for {_shown(predicted, gold)}"]
    return []


def _has_guard(script: str) -> bool:
    return re.search(rb"^if\s+__name__\s*==", Path(script).read_bytes(), re.MULTILINE) is not None


def _totals_under(hash_seed: int, reward: RewardFn, pairs: Sequence[LabelPair]) -> list[float]:
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None) if type(reward).__module__ == "__main__" else None
    if type(reward).__module__ == "__main__" and (script is None or not Path(script).exists()):
        raise _CannotCheckError("the reward function is defined interactively; move it to a module")
    if script is not None and not _has_guard(script):
        raise _CannotCheckError(
            f"{script} would run as a whole again; move the reward function to a module, "
            "or what the script does under `if __name__ == '__main__':`"
        )
    try:
        payload = pickle.dumps((reward, [(p.names, g.names) for p, g in pairs], pairs[0][0].taxonomy))
    except Exception as error:
        raise _CannotCheckError(f"the reward function cannot be pickled ({error})") from None
    request: dict[str, Any] = {"path": sys.path, "script": script, "payload": payload.hex()}
    done = subprocess.run(
        [sys.executable, "-m", "memory_routing.reward_probe"],
        input=json.dumps(request),
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines() or ["no message"]
        raise _CannotCheckError(f"a fresh interpreter could not run it ({reason[-1]})")
    totals: list[float] = json.loads(done.stdout.splitlines()[-1])
    return totals
