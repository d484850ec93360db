"""Confusion between categories where several labels may apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from memory_routing.labels import LabelSet
from memory_routing.taxonomy import NONE

__all__ = ["confusion"]


def confusion(pairs: Iterable[tuple[LabelSet, LabelSet]], classes: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Gold class to what was said instead, from pairs of gold and predicted labels; `none` is a class.

    What is in both counts for itself. Each missed label is shared out evenly among the labels that were said wrongly,
    or counts as `none` where none was; a label said wrongly where nothing was missed stands in the row of `none`. A
    row sums to how often its class was right, but for that of `none`.
    """
    table = {name: dict.fromkeys(classes, 0.0) for name in classes}
    for gold, predicted in pairs:
        right, said = set(gold.names or (NONE,)), set(predicted.names or (NONE,))
        for name in right & said:
            table[name][name] += 1
        missed, wrong = right - said, said - right
        for name in missed:
            for other in wrong or {NONE}:
                table[name][other] += 1 / max(len(wrong), 1)
        if not missed:
            for other in wrong:
                table[NONE][other] += 1
    return table
