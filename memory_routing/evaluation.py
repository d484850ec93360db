"""What a router is worth on a benchmark: every number with its n and its interval."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from memory_routing.decision import Decision
from memory_routing.errors import TaxonomyError
from memory_routing.example import Scenario
from memory_routing.files import write_whole
from memory_routing.frozen import without_nan
from memory_routing.intervals import Estimate, Floats, bootstrap, mean, share
from memory_routing.labels import LabelSet
from memory_routing.reward import set_f1
from memory_routing.router import Router
from memory_routing.taxonomy import NONE, Taxonomy

__all__ = ["CategoryScore", "GroupScore", "Report", "ScenarioResult", "evaluate"]


@attrs.frozen
class ScenarioResult:
    """One scenario with what the router said of it, scored against the accepted set it comes closest to.

    Malformed output earns nothing, also where `none` is right.
    """

    scenario: Scenario
    decision: Decision

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
            "id": self.scenario.id,
            "gold": list(self.gold) or [NONE],
            "predicted": list(self.predicted) or [NONE],
            "f1": self.f1,
            "exact": self.exact,
            "any_match": self.any_match,
            "difficulty": self.scenario.difficulty,
            "domain": self.scenario.domain,
            "decision": self.decision.to_dict(),
        }


@attrs.frozen
class CategoryScore:
    """How well one category, or `none`, is found. `support` is how often it is right."""

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

    @cached_property
    def summary(self) -> dict[str, Estimate]:
        """`f1`, `exact`, `any_match`, `precision`, `recall`, `macro_f1`, `micro_f1`, `evidence_f1`.

        The first five are means over scenarios; macro and micro F1 take `none` as one more category, macro
        over those that occur in the gold labels. `evidence_f1` has no value for a router that names no turns.
        """
        results = self.results
        size = len(self._classes)
        present = self._counts[:, :, [0, 2]].sum(axis=(0, 2)) > 0
        names_turns = any(label.evidence is not None for r in results for label in r.decision.labels)
        evidence = [r.evidence_counts for r in results if names_turns and r.scenario.evidence is not None]
        return {
            "f1": mean([r.f1 for r in results]),
            "exact": share(sum(r.exact for r in results), len(results)),
            "any_match": share(sum(r.any_match for r in results), len(results)),
            "precision": mean([r.precision for r in results]),
            "recall": mean([r.recall for r in results]),
            "macro_f1": bootstrap(
                self._counts.reshape(len(results), -1),
                lambda sums: _nanmean(_f1(sums.reshape(*sums.shape[:-1], size, 3))[..., present]),
            ),
            "micro_f1": bootstrap(self._counts.sum(axis=1), _f1),
            "evidence_f1": bootstrap(np.array(evidence, dtype=float).reshape(-1, 3), _f1),
        }

    @cached_property
    def categories(self) -> dict[str, CategoryScore]:
        """Precision, recall and F1 of every category and of `none`."""
        scores = {}
        for i, name in enumerate(self._classes):
            hit, false, missed = (int(x) for x in self._counts[:, i].sum(axis=0))
            scores[name] = CategoryScore(
                support=hit + missed,
                precision=share(hit, hit + false),
                recall=share(hit, hit + missed),
                f1=bootstrap(self._counts[:, i], _f1),
            )
        return scores

    @cached_property
    def groups(self) -> dict[str, dict[str, GroupScore]]:
        """Scores by `difficulty`, `domain`, number of gold `labels`, and by each gold `category`."""
        return {
            "difficulty": self._by(lambda r: [r.scenario.difficulty]),
            "domain": self._by(lambda r: [r.scenario.domain]),
            "labels": self._by(lambda r: [str(len(r.gold))]),
            "category": self._by(lambda r: r.gold.names or [NONE]),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: summary, categories, groups and every result; `None` for what has no value."""
        plain = {
            "router": self.router,
            "taxonomy": {"name": self.taxonomy.name, "version": self.taxonomy.version, "hash": self.taxonomy.hash},
            "scenarios": len(self.results),
            "summary": {name: estimate.to_dict() for name, estimate in self.summary.items()},
            "categories": {name: attrs.asdict(score) for name, score in self.categories.items()},
            "groups": {
                kind: {name: attrs.asdict(score) for name, score in groups.items()}
                for kind, groups in self.groups.items()
            },
            "results": [result.to_dict() for result in self.results],
        }
        return {key: without_nan(value) for key, value in plain.items()}

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


def evaluate(router: Router, scenarios: Sequence[Scenario]) -> Report:
    """Route every scenario and score the decisions.

    Raises `ValueError` without scenarios, `TaxonomyError` before anything is routed for scenarios of another
    taxonomy than the router's, and what the router raises.
    """
    if not scenarios:
        raise ValueError("evaluate needs at least one scenario")
    for i, scenario in enumerate(scenarios):
        if any(labels.taxonomy != router.taxonomy for labels in scenario.accepted):
            raise TaxonomyError(
                f"scenario {i} ({scenario.id}): its labels are of another taxonomy than the router's, "
                f"{router.taxonomy.name} {router.taxonomy.version}"
            )
    decisions = router.classify_batch([scenario.conversation for scenario in scenarios])
    results = tuple(ScenarioResult(s, d) for s, d in zip(scenarios, decisions, strict=True))
    return Report(decisions[0].router or type(router).__name__, router.taxonomy, results)


def _group_score(results: Sequence[ScenarioResult]) -> GroupScore:
    return GroupScore(
        f1=mean([r.f1 for r in results]),
        exact=share(sum(r.exact for r in results), len(results)),
        any_match=share(sum(r.any_match for r in results), len(results)),
    )


def _f1(counts: Floats) -> Floats:
    """F1 from hits, false alarms and misses in the last axis; `nan` where there is none of them."""
    hits, false, missed = counts[..., 0], counts[..., 1], counts[..., 2]
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * hits / (2 * hits + false + missed))


def _nanmean(values: Floats) -> Floats:
    """Mean over the last axis of what has a value."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1))


def _in_order(names: Iterable[str]) -> list[str]:
    ranks = {"easy": 0, "medium": 1, "hard": 2}
    return sorted(names, key=lambda name: (ranks.get(name, 3), name))
