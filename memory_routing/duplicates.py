"""Duplicates within a dataset and leaks between two: exact by content hash, near by MinHash.

Near means a high Jaccard similarity of the sets of three-word shingles. MinHash (Broder 1997; the
datasketch library, extra `data`) proposes pairs, the exact similarity decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from memory_routing.conversation import Conversation
from memory_routing.dataset import Dataset
from memory_routing.errors import MissingExtraError
from memory_routing.example import Example, Scenario

if TYPE_CHECKING:
    from datasketch import MinHash

__all__ = ["Duplicates", "Pair", "find_duplicates", "find_leaks", "without_duplicates"]

_SHINGLE: Final = 3
_PERMUTATIONS: Final = 128
DEFAULT_SIMILARITY: Final = 0.5

Item = Example | Scenario


@attrs.frozen
class Pair:
    """Two items that share text: their places, their ids and how similar they are (1: the same)."""

    first: int
    second: int
    ids: tuple[str, str]
    similarity: float
    same_labels: bool


@attrs.frozen
class Duplicates:
    """Pairs that share text.

    `exact` are the same conversation; where their labels differ, one of them is wrong. `near` with the same
    labels add little; `near` with other labels are contrast pairs, which teach most and are kept.
    """

    exact: tuple[Pair, ...]
    near: tuple[Pair, ...]

    @property
    def conflicts(self) -> tuple[Pair, ...]:
        """The same conversation with different labels."""
        return tuple(pair for pair in self.exact if not pair.same_labels)

    @property
    def contrasts(self) -> tuple[Pair, ...]:
        """Nearly the same conversation with different labels."""
        return tuple(pair for pair in self.near if not pair.same_labels)

    @property
    def redundant(self) -> tuple[Pair, ...]:
        """The same or nearly the same conversation with the same labels."""
        return tuple(pair for pair in (*self.exact, *self.near) if pair.same_labels)


def find_duplicates(dataset: Dataset, similarity: float = DEFAULT_SIMILARITY) -> Duplicates:
    """Pairs within a dataset whose shingles have at least this Jaccard similarity.

    Raises `MissingExtraError` without the extra `data`.
    """
    items = dataset.examples
    pairs = [(i, j) for i, j in _candidates(items, similarity) if i < j]
    return _measured(items, items, pairs, similarity)


def find_leaks(train: Dataset, test: Sequence[Item], similarity: float = DEFAULT_SIMILARITY) -> Duplicates:
    """Pairs of a training example (`first`) and a test item (`second`) that share text.

    Raises `MissingExtraError` without the extra `data`.
    """
    offset = len(train)
    pairs = [(i, j - offset) for i, j in _candidates((*train.examples, *test), similarity) if i < offset <= j]
    return _measured(train.examples, test, pairs, similarity)


def without_duplicates(dataset: Dataset, similarity: float = DEFAULT_SIMILARITY) -> Dataset:
    """The dataset without later copies and near-copies that have the same labels. Contrasts stay."""
    gone: set[int] = set()
    for pair in sorted(find_duplicates(dataset, similarity).redundant, key=lambda p: (p.first, p.second)):
        if pair.first not in gone:
            gone.add(pair.second)
    return Dataset(dataset.taxonomy, tuple(e for i, e in enumerate(dataset) if i not in gone))


def _shingles(conversation: Conversation) -> frozenset[str]:
    words = re.findall(r"\w+", " ".join(turn.text for turn in conversation.turns).casefold())
    if len(words) < _SHINGLE:
        return frozenset([" ".join(words)])
    return frozenset(" ".join(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1))


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)


def _candidates(items: Sequence[Item], similarity: float) -> list[tuple[int, int]]:
    """Pairs in order of place that may be similar enough, exact copies among them."""
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        raise MissingExtraError("finding near-duplicates", "datasketch", "data") from None
    # Below the asked similarity, so that the estimate misses few; the exact similarity then decides.
    index = MinHashLSH(threshold=max(0.1, 0.8 * similarity), num_perm=_PERMUTATIONS)
    found: list[tuple[int, int]] = []
    for j, item in enumerate(items):
        sketch: MinHash = MinHash(num_perm=_PERMUTATIONS)
        sketch.update_batch([_bytes(shingle) for shingle in _shingles(item.conversation)])
        found += [(i, j) for i in index.query(sketch)]
        index.insert(j, sketch)
    return sorted(found)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _measured(
    first: Sequence[Item], second: Sequence[Item], pairs: Iterable[tuple[int, int]], similarity: float
) -> Duplicates:
    exact: list[Pair] = []
    near: list[Pair] = []
    for i, j in pairs:
        a, b = first[i], second[j]
        same = a.conversation.hash == b.conversation.hash
        likeness = 1.0 if same else _jaccard(_shingles(a.conversation), _shingles(b.conversation))
        if same or likeness >= similarity:
            pair = Pair(i, j, (a.id, b.id), likeness, _labels(a) == _labels(b))
            (exact if same else near).append(pair)
    return Duplicates(tuple(exact), tuple(near))


def _labels(item: Item) -> Any:
    return item.labels if isinstance(item, Example) else item.gold
