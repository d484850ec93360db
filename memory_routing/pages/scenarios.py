"""The scenarios of a report as a page lists them: what went wrong, and which turns say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs

from memory_routing.stored import Failed, Result, StoredReport
from memory_routing.taxonomy import NONE

__all__ = ["WENT_WRONG", "Entry", "LabelLine", "TurnLine", "entries", "went_wrong"]

WENT_WRONG: Final[Mapping[str, str]] = {
    "wrong": "wrong",
    "missed": "missed labels",
    "extra": "extra labels",
    "stored": "stored though none",
    "unstored": "none though to be stored",
    "malformed": "malformed answer",
    "evidence": "wrong evidence",
    "failed": "no decision",
}
"""What can go wrong, by the name that the filter has for it."""
_NEXT: Final = 3
"""Scores that are shown of categories that are neither right nor said, the highest first."""


@attrs.frozen
class LabelLine:
    """A category that was right, was said, or both; or one of those that came next."""

    category: str
    said: str
    """`right`, `missed`, `extra` or `not said`."""
    score: float | None


@attrs.frozen
class TurnLine:
    """A turn, with the categories that it is evidence for: by the gold labels alone, by both, by the router alone."""

    number: int
    role: str
    text: str
    gold: tuple[str, ...]
    both: tuple[str, ...]
    predicted: tuple[str, ...]


@attrs.frozen
class Entry:
    """One scenario of one report."""

    report: int
    """Place of its report."""
    id: str
    problems: tuple[str, ...]
    gold: tuple[str, ...]
    predicted: tuple[str, ...]
    other: tuple[tuple[str, ...], ...]
    """Label sets that were accepted too."""
    facts: tuple[str, ...]
    """Difficulty and domain, where known."""
    f1: float | None
    exact: bool
    any_match: bool
    labels: tuple[LabelLine, ...]
    turns: tuple[TurnLine, ...]
    reason: str | None
    """Why there is no decision, or none that can be read."""
    raw: str | None


def went_wrong(result: Result) -> tuple[str, ...]:
    """The names of what went wrong with a decision.

    A malformed answer has no labels that could be missed or too many. Evidence is wrong where a label is right and
    its turns are not; what of a wrong label is not asked.
    """
    if result.decision.malformed is not None:
        return ("wrong", "malformed")
    gold, said = set(result.gold), set(result.predicted)
    checks = {
        "wrong": not result.exact,
        "missed": bool(gold - said - {NONE}),
        "extra": bool(said - gold - {NONE}),
        "stored": gold == {NONE} and said != {NONE},
        "unstored": said == {NONE} and gold != {NONE},
        "evidence": any(found != right for found, right in _compared(result)),
    }
    return tuple(name for name, holds in checks.items() if holds)


def entries(report: StoredReport, place: int) -> Iterator[Entry]:
    """Every scenario of a report; those without a decision come last."""
    for result in report.results or ():
        yield _entry(result, place)
    for failed in report.failures:
        yield _failed(failed, place)


def _compared(result: Result) -> list[tuple[set[int], set[int]]]:
    """Turns that were named and turns that are right, of each right label that has both."""
    return [
        (set(label.evidence), set((result.evidence or {})[label.category]))
        for label in result.decision.labels
        if label.evidence is not None and label.category in result.gold and label.category in (result.evidence or {})
    ]


def _entry(result: Result, place: int) -> Entry:
    names = [name for name in dict.fromkeys((*result.gold, *result.predicted)) if name != NONE]
    named = {label.category: label.score for label in result.decision.labels}
    scores = result.decision.scores or {}
    said_of = {(True, True): "right", (True, False): "missed", (False, True): "extra"}
    lines = [
        LabelLine(name, said_of[name in result.gold, name in result.predicted], scores.get(name, named.get(name)))
        for name in names
    ]
    others = sorted((name for name in scores if name not in names), key=lambda name: -scores[name])
    lines += [LabelLine(name, "not said", scores[name]) for name in others[:_NEXT]]
    return Entry(
        report=place,
        id=result.id,
        problems=went_wrong(result),
        gold=result.gold,
        predicted=result.predicted,
        other=tuple(labels for labels in result.accepted if set(labels) != set(result.gold)),
        facts=tuple(fact for fact in (result.difficulty, result.domain) if fact),
        f1=result.f1,
        exact=result.exact,
        any_match=result.any_match,
        labels=tuple(lines),
        turns=_turns(result),
        reason=result.decision.malformed,
        raw=result.decision.raw,
    )


def _turns(result: Result) -> tuple[TurnLine, ...]:
    gold = _by_turn(result.evidence or {})
    predicted = _by_turn({label.category: label.evidence or () for label in result.decision.labels})
    lines = []
    for number, turn in enumerate(result.conversation):
        right, said = gold.get(number, []), predicted.get(number, [])
        parts = (
            [name for name in right if name not in said],
            [name for name in right if name in said],
            [name for name in said if name not in right],
        )
        lines.append(TurnLine(number, turn.role, turn.content, *map(tuple, parts)))
    return tuple(lines)


def _by_turn(evidence: Mapping[str, Sequence[int]]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, turns in evidence.items():
        for turn in turns:
            found.setdefault(turn, []).append(name)
    return found


def _failed(failed: Failed, place: int) -> Entry:
    return Entry(
        report=place,
        id=failed.id,
        problems=("failed",),
        gold=next(iter(failed.accepted), ()),
        predicted=(),
        other=failed.accepted[1:],
        facts=tuple(fact for fact in (failed.difficulty, failed.domain) if fact),
        f1=None,
        exact=False,
        any_match=False,
        labels=(),
        turns=tuple(TurnLine(i, turn.role, turn.content, (), (), ()) for i, turn in enumerate(failed.conversation)),
        reason=failed.reason,
        raw=None,
    )
