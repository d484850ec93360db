"""Calibration and decision rule, fitted on validation logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from memory_routing.embedded.rule import Calibration, DecisionRule
from memory_routing.embedded.scoring import ConversationLogits, Floats, sigmoid
from memory_routing.example import Example

__all__ = ["Fit", "calibrate", "fit"]

_THRESHOLDS: Final = tuple(round(0.3 + 0.05 * i, 2) for i in range(9))
_FOLDS: Final = 3
_NEWTON_STEPS: Final = 50

Bools = NDArray[np.bool_]


@attrs.frozen
class Fit:
    """Calibration and rule, and what the way of fitting them reaches on examples that it has not seen."""

    calibration: Calibration
    rule: DecisionRule
    metrics: dict[str, float]
    """`f1`, `exact`, `none_precision`, `none_recall`, `evidence_f1`: each fold scored by a fit of the others."""


@attrs.frozen(eq=False)
class _Gold:
    """Validation logits with their targets, conversation by conversation."""

    logits: tuple[ConversationLogits, ...]
    labels: Bools
    evidence: tuple[Bools, ...]

    def __getitem__(self, places: NDArray[np.intp]) -> _Gold:
        return _Gold(
            tuple(self.logits[i] for i in places), self.labels[places], tuple(self.evidence[i] for i in places)
        )

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def conversations(self) -> Floats:
        return np.array([item.conversation for item in self.logits], dtype=np.float64)


def fit(logits: Sequence[ConversationLogits], examples: Sequence[Example]) -> Fit:
    """Fit the calibration by likelihood, then the thresholds by F1."""
    gold = _gold(logits, examples)
    calibration, rule = _fit(gold)
    places = np.arange(len(gold))
    scores: dict[str, list[Floats]] = {}
    for fold in range(_FOLDS):
        inside = places % _FOLDS == fold
        for name, counts in _counts(gold[places[inside]], *_fit(gold[places[~inside]])).items():
            scores.setdefault(name, []).append(counts)
    totals = {name: np.sum(counts, axis=0) for name, counts in scores.items()}
    return Fit(calibration, rule, {name: float(hit / max(of, 1)) for name, (hit, of) in totals.items()})


def calibrate(logits: Floats, labels: Bools) -> Calibration:
    """One scale for all categories and an offset for each, by penalised likelihood (Platt 1999).

    `logits` and `labels` are `(n, C)`; conversations that are context only have no finite logits and do not
    count. A standard normal prior holds the offset of a rare category back. Newton's method, its steps halved
    until the loss falls: the problem is convex in 1 + C numbers.
    """
    seen = np.isfinite(logits).all(axis=1)
    logits, labels = logits[seen], labels[seen]
    found = np.concatenate([[1.0], np.zeros(logits.shape[1])])
    loss = _calibration_loss(found, logits, labels)
    for _ in range(_NEWTON_STEPS):
        step = np.linalg.solve(*_newton_system(found, logits, labels))
        while (lower := _calibration_loss(found - step, logits, labels)) > loss and np.abs(step).max() > 1e-9:
            step = step / 2
        if np.abs(step).max() <= 1e-9:
            break
        found, loss = found - step, lower
    return Calibration([found[0]] * logits.shape[1], list(found[1:]))


def _calibration_loss(found: Floats, logits: Floats, labels: Bools) -> float:
    margin = np.where(labels, 1, -1) * (found[0] * logits + found[1:])
    return float(np.logaddexp(0, -margin).sum() + (found[1:] ** 2).sum() / 2)


def _newton_system(found: Floats, logits: Floats, labels: Bools) -> tuple[Floats, Floats]:
    """Hessian and gradient of the calibration's loss."""
    p = sigmoid(found[0] * logits + found[1:])
    error, weight = p - labels, p * (1 - p)
    gradient = np.concatenate([[(error * logits).sum()], error.sum(axis=0) + found[1:]])
    hessian = np.diag(np.concatenate([[(weight * logits**2).sum() + 1e-9], weight.sum(axis=0) + 1]))
    hessian[0, 1:] = hessian[1:, 0] = (weight * logits).sum(axis=0)
    return hessian, gradient


def _gold(logits: Sequence[ConversationLogits], examples: Sequence[Example]) -> _Gold:
    names = examples[0].labels.taxonomy.names
    labels = np.array([[name in example.labels for name in names] for example in examples])
    evidence = []
    for example in examples:
        turns = np.zeros((len(example.conversation), len(names)), dtype=bool)
        for name, said in (example.annotation.evidence or {}).items():
            turns[list(said), names.index(name)] = True
        evidence.append(turns)
    return _Gold(tuple(logits), labels, tuple(evidence))


def _fit(gold: _Gold) -> tuple[Calibration, DecisionRule]:
    calibration = calibrate(gold.conversations, gold.labels)

    def f1(rule: DecisionRule) -> float:
        hit, of = _counts(gold, calibration, rule)["f1"]
        return float(hit / of)

    def evidence_f1(rule: DecisionRule) -> float:
        hit, of = _counts(gold, calibration, rule)["evidence_f1"]
        return float(hit / max(of, 1))

    # Among equals the one nearest to a half.
    candidates = sorted(_THRESHOLDS, key=lambda threshold: abs(threshold - 0.5))
    threshold = max(candidates, key=lambda t: f1(DecisionRule(t, 0.5)))
    evidence = max(candidates, key=lambda t: evidence_f1(DecisionRule(threshold, t)))
    return calibration, DecisionRule(threshold, evidence)


def _counts(gold: _Gold, calibration: Calibration, rule: DecisionRule) -> dict[str, Floats]:
    """Numerator and denominator of each metric, so that folds can be added up."""
    said = calibration(gold.conversations) >= rule.threshold
    hits, sizes = (said & gold.labels).sum(axis=1), said.sum(axis=1) + gold.labels.sum(axis=1)
    f1 = np.where(sizes == 0, 1.0, 2 * hits / np.maximum(sizes, 1))
    none_said, none_right = ~said.any(axis=1), ~gold.labels.any(axis=1)
    named = right = both = 0
    for logits, labels, evidence in zip(gold.logits, said, gold.evidence, strict=True):
        turns = np.zeros_like(evidence)
        probabilities = calibration(logits.turns)
        for i in np.flatnonzero(labels):
            turns[list(rule.evidence(probabilities[:, i])), i] = True
        named, right, both = named + turns.sum(), right + evidence.sum(), both + (turns & evidence).sum()
    return {
        "f1": np.array([f1.sum(), len(f1)]),
        "exact": np.array([(said == gold.labels).all(axis=1).sum(), len(f1)]),
        "none_precision": np.array([(none_said & none_right).sum(), none_said.sum()]),
        "none_recall": np.array([(none_said & none_right).sum(), none_right.sum()]),
        "evidence_f1": np.array([2 * both, named + right]),
    }
