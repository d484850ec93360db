"""What a dataset is made of: balance, lengths, label pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import quantiles
from typing import Any

import attrs

from memory_routing.dataset import Dataset
from memory_routing.taxonomy import NONE

__all__ = ["DatasetStats", "Spread", "dataset_stats"]


@attrs.frozen
class Spread:
    """Smallest, 5 %, median, 95 % and largest of a count."""

    min: float
    p5: float
    median: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[int]) -> Spread:
        """The spread of some values; all zero without values."""
        if not values:
            return cls(0, 0, 0, 0, 0)
        cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else [values[0]] * 19
        return cls(min(values), cuts[0], cuts[9], cuts[18], max(values))


@attrs.frozen
class DatasetStats:
    """Balance, lengths and label pairs of a dataset."""

    examples: int
    categories: Mapping[str, int]
    """Examples with each category, and with `none`."""
    label_counts: Mapping[int, int]
    """How many examples have 0, 1, 2… labels."""
    scopes: Mapping[str, int]
    pairs: Mapping[tuple[str, str], int]
    """Examples that have both categories, the commonest first."""
    turns: Spread
    words: Spread
    groups: int
    """Contrast groups of more than one example."""
    with_evidence: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = attrs.asdict(self)
        return plain | {"pairs": [{"pair": list(pair), "examples": n} for pair, n in self.pairs.items()]}


def dataset_stats(dataset: Dataset) -> DatasetStats:
    """Count what a dataset is made of."""
    sets = [example.labels for example in dataset]
    counts = Counter(name for labels in sets for name in labels)
    groups = Counter(example.group for example in dataset)
    return DatasetStats(
        examples=len(dataset),
        categories={name: counts[name] for name in dataset.taxonomy.names}
        | {NONE: sum(labels.is_none for labels in sets)},
        label_counts=dict(sorted(Counter(map(len, sets)).items())),
        scopes=dict(Counter(labels.scope for labels in sets).most_common()),
        pairs=dict(Counter(pair for labels in sets for pair in combinations(labels, 2)).most_common()),
        turns=Spread.of([len(example.conversation) for example in dataset]),
        words=Spread.of([sum(len(turn.text.split()) for turn in e.conversation.turns) for e in dataset]),
        groups=sum(n > 1 for n in groups.values()),
        with_evidence=sum(e.annotation.evidence is not None for e in dataset),
    )
