"""Duplicates within a dataset and leaks between two: exact by content hash, near by MinHash.

Near means a high Jaccard similarity of the sets of three-word shingles. Within a dataset, MinHash (Broder 1997; the
datasketch library, extra `data`) proposes pairs and the exact similarity decides; between two, an index of the smaller
one's shingles finds all.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from memory_routing.conversation import Conversation
from memory_routing.dataset import Dataset
from memory_routing.errors import MissingExtraError
from memory_routing.example import Example, Scenario

if TYPE_CHECKING:
    from datasketch import MinHash

__all__ = [
    "FEWEST",
    "Duplicates",
    "Pair",
    "SharedText",
    "TextIndex",
    "find_duplicates",
    "find_leaks",
    "without_duplicates",
]

_SHINGLE: Final = 3
_PERMUTATIONS: Final = 128
DEFAULT_SIMILARITY: Final = 0.5
FEWEST: Final = 5
"""Shingles that two texts share before it is no accident that the longer one has so many of the shorter one's."""
_CONTAINED: Final = 0.8
"""Share of a test item's shingles that make a longer text give it away."""

Item = Example | Scenario


@attrs.frozen
class Pair:
    """Two items that share text: their places, their ids and how similar they are (1: the same).

    Of a test item that is a part of a longer text, the similarity is the share of its shingles that are in it.
    """

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
    index, found = TextIndex(similarity), []
    for j, example in enumerate(dataset):
        found += [(i, j, likeness) for i, likeness in index.similar(example.conversation)]
        index.add(example.conversation)
    return _sorted_out(found, dataset.examples, dataset.examples)


def find_leaks(train: Dataset, test: Sequence[Item], similarity: float = DEFAULT_SIMILARITY) -> Duplicates:
    """Pairs of a training example (`first`) and a test item (`second`) that share text.

    Near is also a test item that has nearly all its shingles in one training example, whatever else that says.
    """
    index, found = SharedText(item.conversation for item in test), []
    for i, example in enumerate(train):
        own = shingles(example.conversation)
        for j, count in index.shared(own).items():
            size = index.sizes[j]
            likeness = count / (len(own) + size - count)
            if likeness < similarity and count >= max(FEWEST, _CONTAINED * size):
                likeness = count / size
            if likeness >= similarity:
                found.append((i, j, likeness))
    return _sorted_out(found, train.examples, test)


def without_duplicates(dataset: Dataset, similarity: float = DEFAULT_SIMILARITY) -> Dataset:
    """The dataset without later copies and near-copies that have the same labels. Contrasts stay."""
    gone: set[int] = set()
    for pair in sorted(find_duplicates(dataset, similarity).redundant, key=lambda p: (p.first, p.second)):
        if pair.first not in gone:
            gone.add(pair.second)
    return Dataset(dataset.taxonomy, tuple(e for i, e in enumerate(dataset) if i not in gone))


def shingles(conversation: Conversation) -> frozenset[str]:
    """The three-word sequences of a conversation, whatever their case; of a shorter one, its words."""
    words = re.findall(r"\w+", " ".join(turn.text for turn in conversation.turns).casefold())
    if len(words) < _SHINGLE:
        return frozenset([" ".join(words)])
    return frozenset(" ".join(words[i : i + _SHINGLE]) for i in range(len(words) - _SHINGLE + 1))


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard similarity of two sets that are not both empty."""
    return len(a & b) / len(a | b)


class SharedText:
    """Conversations that can be asked how many shingles each has in common with another text."""

    def __init__(self, conversations: Iterable[Conversation]) -> None:
        found = [shingles(conversation) for conversation in conversations]
        self.sizes = [len(own) for own in found]
        """Shingles of each."""
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, own in enumerate(found):
            for shingle in own:
                self._places[shingle].append(place)

    def shared(self, text: frozenset[str]) -> Counter[int]:
        """Place to the number of these shingles that are in it, of those with any."""
        return Counter(place for shingle in text for place in self._places.get(shingle, ()))


class TextIndex:
    """Conversations that can be asked for those that share text with another.

    Raises `MissingExtraError` without the extra `data`.
    """

    def __init__(self, similarity: float = DEFAULT_SIMILARITY) -> None:
        try:
            from datasketch import MinHashLSH
        except ImportError:
            raise MissingExtraError("finding near-duplicates", "datasketch", "data") from None
        self._similarity = similarity
        # Below the asked similarity, so that the estimate misses few; the exact similarity then decides.
        self._index = MinHashLSH(threshold=max(0.1, 0.8 * similarity), num_perm=_PERMUTATIONS)
        self._kept: list[Conversation] = []

    def add(self, conversation: Conversation) -> None:
        """Keep a conversation; its place is the count of those before it."""
        self._index.insert(len(self._kept), _sketch(conversation))
        self._kept.append(conversation)

    def similar(self, conversation: Conversation) -> list[tuple[int, float]]:
        """Places and similarities of those that share text with it; 1 is the same shingles or the same text."""
        own, found = shingles(conversation), []
        for place in sorted(self._index.query(_sketch(conversation))):
            other = self._kept[place]
            likeness = 1.0 if other.hash == conversation.hash else jaccard(own, shingles(other))
            if likeness >= self._similarity:
                found.append((place, likeness))
        return found


def _sketch(conversation: Conversation) -> MinHash:
    from datasketch import MinHash

    sketch: MinHash = MinHash(num_perm=_PERMUTATIONS)
    sketch.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in shingles(conversation)])
    return sketch


def _sorted_out(found: Iterable[tuple[int, int, float]], first: Sequence[Item], second: Sequence[Item]) -> Duplicates:
    exact: list[Pair] = []
    near: list[Pair] = []
    for i, j, likeness in sorted(found):
        a, b = first[i], second[j]
        pair = Pair(i, j, (a.id, b.id), likeness, _labels(a) == _labels(b))
        (exact if a.conversation.hash == b.conversation.hash else near).append(pair)
    return Duplicates(tuple(exact), tuple(near))


def _labels(item: Item) -> Any:
    return item.labels if isinstance(item, Example) else item.gold
