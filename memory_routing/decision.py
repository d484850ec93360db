"""What a router answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from memory_routing.errors import TaxonomyError
from memory_routing.frozen import FrozenMapping
from memory_routing.labels import LabelSet, Malformed
from memory_routing.taxonomy import NONE, Category, Horizon, Taxonomy

__all__ = ["Decision", "ScoredLabel", "Usage"]


@attrs.frozen
class ScoredLabel:
    """A category that applies, with its probability and the 0-based turns that say so.

    `score` and `evidence` are `None` where the router gives none.
    """

    category: Category
    score: float | None = None
    evidence: tuple[int, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        lifetime = self.category.lifetime
        return {
            "category": self.category.name,
            "score": self.score,
            "evidence": None if self.evidence is None else list(self.evidence),
            "horizon": self.category.horizon.value,
            "lifetime_days": None if lifetime is None else lifetime.days,
        }


@attrs.frozen
class Usage:
    """What a decision consumed, in tokens."""

    input_tokens: int
    output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


def _frozen(scores: Mapping[str, float] | None) -> Mapping[str, float] | None:
    return None if scores is None else FrozenMapping(scores)


def _labels(labels: Iterable[ScoredLabel]) -> tuple[ScoredLabel, ...]:
    return tuple(labels)


@attrs.frozen
class Decision:
    """Which categories of a conversation to store, for whom and for how long.

    `none` is a decision without labels: test it with `store`, not by truth. `malformed` is set where a
    model's answer was no label set; the whole labels of an answer cut by length are kept.
    Raises `TaxonomyError` for labels of another taxonomy, out of its order or named twice.
    """

    taxonomy: Taxonomy = attrs.field(repr=False)
    labels: tuple[ScoredLabel, ...] = attrs.field(converter=_labels)
    scores: Mapping[str, float] | None = attrs.field(default=None, converter=_frozen, hash=False, repr=False)
    """Probability of every category, where the router has them."""
    router: str = ""
    malformed: Malformed | None = None
    raw: str | None = attrs.field(default=None, repr=False)
    usage: Usage | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        # A label set refuses unknown names, disorder and repeats.
        if LabelSet(self.taxonomy, self.categories).categories != tuple(label.category for label in self.labels):
            raise TaxonomyError(f"a label's category is not that of taxonomy {self.taxonomy.name}: take it from there")

    @property
    def categories(self) -> tuple[str, ...]:
        """Names in taxonomy order; `()` for none."""
        return tuple(label.category.name for label in self.labels)

    @property
    def label_set(self) -> LabelSet:
        """The labels as a set, for rewards and metrics."""
        return self.taxonomy.labels(*self.categories)

    @property
    def store(self) -> bool:
        """Whether anything is worth storing."""
        return len(self.labels) > 0

    @property
    def scope(self) -> str:
        """Whose memory it is: the scope all labels share (`company`, `user`), `mixed` or `none`."""
        return self.label_set.scope

    @property
    def horizon(self) -> Horizon | None:
        """Horizon of the label that lives longest, ties by taxonomy order; `None` for none."""
        if not self.labels:
            return None
        longest = max(self.labels, key=lambda label: label.category.lifetime or timedelta.max)
        return longest.category.horizon

    def expires_at(self, now: datetime) -> dict[str, datetime | None]:
        """When each label's memory should be forgotten; `None` where it has no end."""
        return {
            label.category.name: None if label.category.lifetime is None else now + label.category.lifetime
            for label in self.labels
        }

    def to_dict(self) -> dict[str, Any]:
        """The wire form: plain data, with `["none"]` for a decision without labels."""
        return {
            "categories": list(self.categories) or [NONE],
            "store": self.store,
            "scope": self.scope,
            "horizon": None if self.horizon is None else self.horizon.value,
            "labels": [label.to_dict() for label in self.labels],
            "scores": None if self.scores is None else dict(self.scores),
            "router": self.router,
            "malformed": None if self.malformed is None else self.malformed.reason,
        }

    def __str__(self) -> str:
        return ", ".join(self.categories) or NONE
