"""Reports: the results of one router on one benchmark, every number with its n and its interval."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np

from memory_routing.confusion import confusion
from memory_routing.decision import Decision
from memory_routing.example import Scenario
from memory_routing.files import write_whole
from memory_routing.frozen import plain, without_nan
from memory_routing.intervals import (
    Estimate,
    Floats,
    bootstrap,
    f1_of,
    mean,
    mean_of_known,
    precision_of,
    quantile,
    recall_of,
    share,
)
from memory_routing.labels import LabelSet
from memory_routing.leakage import Leakage
from memory_routing.reliability import Reliability, reliability
from memory_routing.reward import RewardFn, RoutingReward, set_f1
from memory_routing.taxonomy import NONE, Taxonomy

__all__ = ["CategoryScore", "Failure", "GroupScore", "Report", "ScenarioResult", "Timing"]

_WORDS: Final = (30, 100)
"""Where short conversations end and long ones begin."""
_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@attrs.frozen
class ScenarioResult:
    """One scenario with what the router said of it, scored against the accepted set it comes closest to.

    Malformed output earns nothing, also where `none` is right.
    """

    scenario: Scenario
    decision: Decision

    @property
    def accepted(self) -> tuple[tuple[str, ...], ...]:
        """Names of the label sets that are right, `none` written out."""
        return self.scenario.accepted_names

    @property
    def predicted(self) -> LabelSet:
        """The router's labels."""
        return self.decision.label_set

    @cached_property
    def gold(self) -> LabelSet:
        """The accepted label set closest to the prediction, the first among equals."""
        return max(self.scenario.accepted, key=lambda labels: set_f1(self.predicted, labels))

    @property
    def f1(self) -> float:
        """F1 of the predicted and the gold set; 1 where both are none."""
        return 0.0 if self.decision.malformed else set_f1(self.predicted, self.gold)

    @property
    def exact(self) -> bool:
        """Whether the sets are equal."""
        return not self.decision.malformed and self.predicted == self.gold

    @property
    def any_match(self) -> bool:
        """Whether the sets share a label, or both are none."""
        return self.f1 > 0

    @property
    def precision(self) -> float:
        """Share of the predicted labels that are right; for none, whether none is right."""
        return self._share(self.predicted)

    @property
    def recall(self) -> float:
        """Share of the right labels that are predicted; for none, whether none is predicted."""
        return self._share(self.gold)

    def _share(self, of: LabelSet) -> float:
        if self.decision.malformed:
            return 0.0
        return len(self.predicted & self.gold) / len(of) if len(of) else float(self.predicted == self.gold)

    @cached_property
    def evidence_counts(self) -> tuple[int, int, int]:
        """Turns named rightly, named wrongly, and missed, over all labels; zeros without gold evidence."""
        if self.scenario.evidence is None or self.gold != self.scenario.gold:
            return 0, 0, 0
        labels = () if self.decision.malformed else self.decision.labels
        named = {(label.category.name, turn) for label in labels for turn in label.evidence or ()}
        right = {(name, turn) for name, turns in self.scenario.evidence.items() for turn in turns}
        return len(named & right), len(named - right), len(right - named)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **_told(self.scenario),
            "evidence": None if self.scenario.evidence is None else plain(self.scenario.evidence),
            "gold": list(self.gold) or [NONE],
            "predicted": list(self.predicted) or [NONE],
            "f1": self.f1,
            "exact": self.exact,
            "any_match": self.any_match,
            "decision": {
                **self.decision.to_dict(),
                "raw": self.decision.raw,
                "usage": None if self.decision.usage is None else attrs.asdict(self.decision.usage),
            },
        }


@attrs.frozen
class Failure:
    """A scenario that the router gave no decision on, and why: an error apart from wrong answers."""

    scenario: Scenario
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**_told(self.scenario), "reason": self.reason}


def _told(scenario: Scenario) -> dict[str, Any]:
    return {
        "id": scenario.id,
        "conversation": scenario.conversation.to_dicts(),
        "accepted": plain(scenario.accepted_names),
        "difficulty": scenario.difficulty,
        "domain": scenario.domain,
    }


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


@attrs.frozen
class Timing:
    """How fast a router was: seconds of single decisions, and decisions in a second of the batch call."""

    seconds: tuple[float, ...] = attrs.field(converter=_floats, repr=False)
    per_second: float
    batch: int = 0
    """Conversations of the batch call that were decided."""

    @property
    def quantiles(self) -> dict[str, Estimate]:
        """Median, 95th and 99th percentile in seconds: `p50`, `p95` and `p99`."""
        return {name: quantile(self.seconds, q) for name, q in _QUANTILES.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        found = {name: estimate.to_dict() for name, estimate in self.quantiles.items()}
        return {**found, "per_second": self.per_second, "batch": self.batch}


@attrs.frozen
class CategoryScore:
    """How well one category, or `none`, is found.

    `support` is how often it is right; the n of the F1 counts the scenarios that are of it or were said to be.
    """

    support: int
    precision: Estimate
    recall: Estimate
    f1: Estimate


@attrs.frozen
class GroupScore:
    """Mean F1, exact match and any match of some scenarios."""

    f1: Estimate
    exact: Estimate
    any_match: Estimate


@attrs.frozen
class Report:
    """The results of one router on one benchmark, and what they amount to."""

    router: str
    taxonomy: Taxonomy = attrs.field(repr=False)
    results: tuple[ScenarioResult, ...] = attrs.field(repr=lambda results: str(len(results)))
    reward: RewardFn = attrs.field(factory=RoutingReward, repr=False, eq=False)
    failures: tuple[Failure, ...] = attrs.field(default=(), repr=lambda failures: str(len(failures)))
    timing: Timing | None = None
    leakage: Leakage | None = None
    """What the benchmark shares with the training data, where that was looked at."""
    model: str | None = None
    """SHA-256 of the model, of a router that has one."""

    @cached_property
    def summary(self) -> dict[str, Estimate]:
        """The headline numbers, by name.

        `f1`, `exact`, `any_match`, `precision` and `recall` are means over scenarios; `macro_f1` and `micro_f1` take
        `none` as one more category, macro over those that occur in the gold labels. `scope` and `horizon` are shares of
        scenarios with the right scope and the right commonest horizon. The three of the evidence have no value for a
        router that names no turns.
        """
        results = self.results
        size = len(self._classes)
        present = self._counts[:, :, [0, 2]].sum(axis=(0, 2)) > 0
        names_turns = any(label.evidence is not None for r in results for label in r.decision.labels)
        evidence = [r.evidence_counts for r in results if names_turns and r.scenario.evidence is not None]
        turns = np.array(evidence, dtype=float).reshape(-1, 3)
        valid = [r for r in results if not r.decision.malformed]
        return {
            "f1": mean([r.f1 for r in results], shares=True),
            "exact": share(sum(r.exact for r in results), len(results)),
            "any_match": share(sum(r.any_match for r in results), len(results)),
            "precision": mean([r.precision for r in results], shares=True),
            "recall": mean([r.recall for r in results], shares=True),
            "macro_f1": bootstrap(
                self._counts.reshape(len(results), 3 * size),
                lambda sums: mean_of_known(f1_of(sums.reshape(*sums.shape[:-1], size, 3))[..., present]),
                shares=True,
            ),
            "micro_f1": bootstrap(self._counts.sum(axis=1), f1_of, shares=True),
            "evidence_f1": bootstrap(turns, f1_of, shares=True),
            "evidence_precision": bootstrap(turns, precision_of, shares=True),
            "evidence_recall": bootstrap(turns, recall_of, shares=True),
            "scope": share(sum(r.predicted.scope == r.gold.scope for r in valid), len(results)),
            "horizon": share(sum(r.predicted.horizon_rank == r.gold.horizon_rank for r in valid), len(results)),
        }

    @cached_property
    def label_counts(self) -> dict[str, Estimate]:
        """Mean number of labels that were `predicted`, and of those that are `gold`."""
        return {
            "predicted": mean([len(r.predicted) for r in self.results]),
            "gold": mean([len(r.gold) for r in self.results]),
        }

    @cached_property
    def rewards(self) -> dict[str, Estimate]:
        """Mean `total` reward and its components; of malformed output, which has none, only the total counts."""
        found = [self.reward(r.decision.malformed or r.predicted, r.gold) for r in self.results]
        scored = [reward.components for reward in found if reward.penalty is None]
        parts = {
            name: mean([components[name] for components in scored], shares=True)
            for name in self.reward.weights
            if scored
        }
        return {"total": mean([reward.total for reward in found]), **parts}

    @cached_property
    def confusion(self) -> Mapping[str, Mapping[str, float]]:
        """Gold class to what was said instead; see `memory_routing.confusion`."""
        return confusion([(r.gold, r.predicted) for r in self.results if not r.decision.malformed], self._classes)

    @cached_property
    def reliability(self) -> dict[str, Reliability]:
        """How the scores compare with what was right; empty without scores.

        Over `all` categories, most of which are plainly absent, over those that were `said`, and of each category.
        """
        names = self.taxonomy.names
        scored = [r for r in self.results if set(names) <= set(r.decision.scores or ())]
        if not scored:
            return {}
        scores = np.array([[(r.decision.scores or {})[name] for name in names] for r in scored])
        right = np.array([[name in r.gold for name in names] for r in scored])
        said = np.array([[name in r.predicted for name in names] for r in scored])
        each = {name: reliability(scores[:, [i]], right[:, [i]]) for i, name in enumerate(names)}
        return {"all": reliability(scores, right), "said": reliability(scores, right, said), **each}

    @cached_property
    def categories(self) -> dict[str, CategoryScore]:
        """Precision, recall and F1 of every category and of `none`."""
        scores = {}
        for i, name in enumerate(self._classes):
            # A scenario that neither is nor was said to be of a category tells nothing of how well it is found.
            bearing = self._counts[self._counts[:, i].any(axis=1), i]
            hit, false, missed = (int(x) for x in bearing.sum(axis=0))
            scores[name] = CategoryScore(
                support=hit + missed,
                precision=share(hit, hit + false),
                recall=share(hit, hit + missed),
                f1=bootstrap(bearing, f1_of, shares=True),
            )
        return scores

    @cached_property
    def groups(self) -> dict[str, dict[str, GroupScore]]:
        """Scores by `difficulty`, `domain`, number of gold `labels`, `length` and each gold `category`."""
        return {
            "difficulty": self._by(lambda r: [r.scenario.difficulty]),
            "domain": self._by(lambda r: [r.scenario.domain]),
            "labels": self._by(lambda r: [str(len(r.gold))]),
            "length": self._by(lambda r: [_length(r.scenario)]),
            "category": self._by(lambda r: r.gold.names or [NONE]),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: all numbers and every result; `None` for what has no value."""
        found = {
            "router": self.router,
            "model": self.model,
            "taxonomy": {"name": self.taxonomy.name, "version": self.taxonomy.version, "hash": self.taxonomy.hash},
            "scenarios": len(self.results),
            "summary": {name: estimate.to_dict() for name, estimate in self.summary.items()},
            "categories": {name: attrs.asdict(score) for name, score in self.categories.items()},
            "groups": {
                kind: {name: attrs.asdict(score) for name, score in groups.items()}
                for kind, groups in self.groups.items()
            },
            "label_counts": {name: estimate.to_dict() for name, estimate in self.label_counts.items()},
            "rewards": {name: estimate.to_dict() for name, estimate in self.rewards.items()},
            "reliability": {name: found.to_dict() for name, found in self.reliability.items()},
            "confusion": self.confusion,
            "malformed": sum(r.decision.malformed is not None for r in self.results),
            "failures": [failure.to_dict() for failure in self.failures],
            "leakage": None if self.leakage is None else self.leakage.to_dict(),
            "timing": None if self.timing is None else self.timing.to_dict(),
            "results": [result.to_dict() for result in self.results],
        }
        return {key: without_nan(value) for key, value in found.items()}

    def write(self, path: str | Path) -> None:
        """Write the report as JSON, whole or not at all."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        write_whole(path, text.encode())

    @property
    def _classes(self) -> tuple[str, ...]:
        return (*self.taxonomy.names, NONE)

    @cached_property
    def _counts(self) -> Floats:
        """Hits, false alarms and misses of each class in each scenario, shape `(n, classes, 3)`."""
        counts = np.zeros((len(self.results), len(self._classes), 3))
        for row, result in zip(counts, self.results, strict=True):
            said = set() if result.decision.malformed else set(result.predicted.names or [NONE])
            right = set(result.gold.names or [NONE])
            for cell, name in zip(row, self._classes, strict=True):
                cell[:] = name in said and name in right, name in said - right, name in right - said
        return counts

    def _by(self, keys: Callable[[ScenarioResult], Iterable[str | None]]) -> dict[str, GroupScore]:
        groups: dict[str, list[ScenarioResult]] = defaultdict(list)
        for result in self.results:
            for name in keys(result):
                if name is not None:
                    groups[name].append(result)
        return {name: _group_score(groups[name]) for name in _in_order(groups)}


def _length(scenario: Scenario) -> str:
    words = sum(len(turn.text.split()) for turn in scenario.conversation.turns)
    short, long = _WORDS
    if words > long:
        return f"over {long} words"
    return f"up to {short if words <= short else long} words"


def _group_score(results: Sequence[ScenarioResult]) -> GroupScore:
    return GroupScore(
        f1=mean([r.f1 for r in results], shares=True),
        exact=share(sum(r.exact for r in results), len(results)),
        any_match=share(sum(r.any_match for r in results), len(results)),
    )


def _in_order(names: Iterable[str]) -> list[str]:
    ranks = {"easy": 0, "medium": 1, "hard": 2}
    return sorted(names, key=lambda name: (ranks.get(name, 3), name))
