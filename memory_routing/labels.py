"""Label sets: what a router decides, a teacher writes and a reward compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from memory_routing.errors import TaxonomyError

if TYPE_CHECKING:
    from memory_routing.taxonomy import Category, Taxonomy

__all__ = ["LabelSet", "Malformed"]


@attrs.frozen
class LabelSet:
    """A set of categories of one taxonomy, always in taxonomy order. Empty means `none`.

    Made by `Taxonomy.labels` and `Taxonomy.read`. Test for none with `is_none`, not by truth.
    """

    taxonomy: Taxonomy = attrs.field(repr=lambda taxonomy: f"{taxonomy.name} {taxonomy.version}")
    names: tuple[str, ...]

    def __attrs_post_init__(self) -> None:
        places = [self.taxonomy.index(name) for name in self.names]
        if places != sorted(set(places)):
            raise TaxonomyError("labels out of order or named twice: build label sets with Taxonomy.labels")

    @property
    def is_none(self) -> bool:
        """Whether nothing is worth storing."""
        return not self.names

    @property
    def categories(self) -> tuple[Category, ...]:
        """The categories in taxonomy order."""
        return tuple(self.taxonomy[name] for name in self.names)

    @property
    def scope(self) -> str:
        """The scope that all labels share, `mixed`, or `none`."""
        scopes = {category.scope for category in self.categories}
        return "mixed" if len(scopes) > 1 else next(iter(scopes), "none")

    @property
    def horizon_rank(self) -> int | None:
        """The commonest horizon rank among the labels, ties to the longer; `None` without labels."""
        counts = Counter(category.horizon.rank for category in self.categories)
        return max(counts, key=lambda rank: (counts[rank], rank), default=None)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __and__(self, other: LabelSet) -> LabelSet:
        return self.taxonomy.labels(*(name for name in self._same(other).names if name in self))

    def __or__(self, other: LabelSet) -> LabelSet:
        return self.taxonomy.labels(*self.names, *self._same(other).names)

    def __sub__(self, other: LabelSet) -> LabelSet:
        return self.taxonomy.labels(*(name for name in self.names if name not in self._same(other)))

    def __le__(self, other: LabelSet) -> bool:
        return all(name in self._same(other) for name in self.names)

    def __str__(self) -> str:
        return self.taxonomy.write(self)

    def _same(self, other: LabelSet) -> LabelSet:
        if other.taxonomy != self.taxonomy:
            raise TaxonomyError(
                f"labels of {self.taxonomy.name} {self.taxonomy.version} and of {other.taxonomy.name} "
                f"{other.taxonomy.version} cannot be combined"
            )
        return other


@attrs.frozen
class Malformed:
    """Model output that is no label set: the text, and why. Data, not an exception."""

    text: str
    reason: str
