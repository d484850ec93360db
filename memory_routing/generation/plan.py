"""The plan: every brief is fixed before the first call, by a seed."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar, overload

import attrs

from memory_routing.errors import GenerationError
from memory_routing.generation.pools import SUBJECT, Pools
from memory_routing.labels import LabelSet
from memory_routing.taxonomy import NONE, Taxonomy
from memory_routing.teacher import Brief

__all__ = ["Plan", "plan"]

T = TypeVar("T")

TURNS: Final = tuple(range(1, 11))
MOST_TURNS: Final = 40
"""More would not fit into one answer of the teacher."""
EXCHANGE: Final = 3
"""Turns from which there is room for something to be proposed and declined, or said and taken back."""
WORDS_A_TURN: Final = (15, 25, 40)
"""Short and sharp, chat, and long messages."""
WORDS_A_LABEL: Final = 20
"""At least, for a statement each."""
_TRIES: Final = 50
"""At dealing label sets: the first nearly always succeeds."""
TRIPLES: Final = 0.1
"""Share of the multi-label sets that have three labels."""


@attrs.frozen
class Plan(Sequence[Brief]):
    """Briefs of one taxonomy, in order. Raises `GenerationError` for a number that occurs twice."""

    taxonomy: Taxonomy = attrs.field(repr=lambda taxonomy: f"{taxonomy.name} {taxonomy.version}")
    briefs: tuple[Brief, ...] = attrs.field(repr=lambda briefs: str(len(briefs)))

    def __attrs_post_init__(self) -> None:
        if len({brief.number for brief in self.briefs}) < len(self.briefs):
            raise GenerationError("briefs of a plan have the same number: number them from 0")
        if any(brief.labels.taxonomy != self.taxonomy for brief in self.briefs):
            raise GenerationError(f"a brief asks for labels of another taxonomy than {self.taxonomy.name}")

    @overload
    def __getitem__(self, index: int) -> Brief: ...
    @overload
    def __getitem__(self, index: slice) -> Plan: ...
    def __getitem__(self, index: int | slice) -> Brief | Plan:
        if isinstance(index, slice):
            return Plan(self.taxonomy, self.briefs[index])
        return self.briefs[index]

    def __len__(self) -> int:
        return len(self.briefs)

    def __iter__(self) -> Iterator[Brief]:
        return iter(self.briefs)

    @property
    def balance(self) -> dict[str, int]:
        """How many briefs ask for each category, and for `none`."""
        counts = Counter(name for brief in self for name in brief.labels.names or (NONE,))
        return {name: counts[name] for name in (*self.taxonomy.names, NONE)}

    @property
    def hash(self) -> str:
        """SHA-256 over the briefs in order."""
        return hashlib.sha256("\n".join(brief.hash for brief in self).encode()).hexdigest()


def plan(
    taxonomy: Taxonomy,
    n: int,
    *,
    seed: int = 0,
    targets: Mapping[str, int] | None = None,
    multi: float = 0.25,
    none_weight: float = 2.0,
    distractors: float = 0.3,
    turns: Sequence[int] = TURNS,
    pools: Pools | None = None,
) -> Plan:
    """Briefs for `n` conversations, the same for the same arguments in every process.

    Every category is asked for equally often and `none` `none_weight` times as often, but for what `targets`
    fixes: conversations with a category, or with `none`. `multi` is the share of the labelled conversations with
    two labels or, one in ten of them, three; pairs come from the pools. `distractors` is the share of the labelled
    conversations that also touch another category without stating anything of it. All else, `turns` too, is dealt
    from shuffled decks, so that each value occurs equally often. Raises `GenerationError` where this does not add up.
    """
    if n < 1:
        raise GenerationError(f"a plan needs at least one conversation, not {n}")
    for name, share in (("multi", multi), ("distractors", distractors)):
        if not 0 <= share <= 1:
            raise GenerationError(f"{name} is a share between 0 and 1, not {share}")
    if not turns or min(turns) < 1 or max(turns) > MOST_TURNS:
        raise GenerationError(f"turns are whole numbers from 1 to {MOST_TURNS}, not {list(turns)}")
    drawn = pools or Pools.load(None, taxonomy)
    foreign = [name for pair in drawn.pairs for name in pair if name not in taxonomy]
    if foreign:
        raise GenerationError(f"the pools are for another taxonomy: {foreign[0]!r} is no category of {taxonomy.name}")
    counts, triples, pairs = _counts(taxonomy, n, dict(targets or {}), multi, none_weight)
    rng = random.Random(f"{taxonomy.hash}/{seed}")
    sets = _dealt(taxonomy, counts, triples, pairs, drawn, rng)
    rng.shuffle(sets)
    return Plan(taxonomy, tuple(_briefs(taxonomy, sets, drawn, distractors, turns, rng)))


def _counts(
    taxonomy: Taxonomy, n: int, targets: dict[str, int], multi: float, none_weight: float
) -> tuple[dict[str, int], int, int]:
    """Conversations with each category and with `none`, and how many have three and two labels."""
    unknown = [name for name in targets if name != NONE and name not in taxonomy]
    if unknown:
        raise GenerationError(f"target for {unknown[0]!r}, which is no category of {taxonomy.name} nor {NONE!r}")
    for name, count in targets.items():
        if not 0 <= count <= n:
            raise GenerationError(f"target for {name}: {count} of {n} conversations")
    if not 0 <= none_weight < math.inf:
        raise GenerationError(f"none_weight is a number from 0, not {none_weight}")
    labels_each = 1 + multi * (1 + TRIPLES)
    fair = none_weight * labels_each / (len(taxonomy) + none_weight * labels_each)
    none = targets.pop(NONE, round(n * fair))
    labelled = n - none
    several = round(multi * labelled) if len(taxonomy) > 1 else 0
    triples = round(TRIPLES * several) if len(taxonomy) > 2 else 0
    total = labelled + several + triples
    open_names = [name for name in taxonomy.names if name not in targets]
    rest = total - sum(targets.values())
    for name, count in targets.items():
        if count > labelled:
            raise GenerationError(f"targets contradict each other: {count} with {name}, but {none} of {n} with none")
    if rest < 0 or (rest and not open_names):
        raise GenerationError(
            f"targets contradict each other: they add up to {sum(targets.values())} labels, but {labelled} labelled "
            f"conversations, {several} of them with several labels, have {total}; change targets, n or multi"
        )
    shares = {name: rest // len(open_names) + (i < rest % len(open_names)) for i, name in enumerate(open_names)}
    counts = {name: targets.get(name, shares.get(name, 0)) for name in taxonomy.names}
    too_many = [name for name, count in counts.items() if count > labelled]
    if too_many:
        raise GenerationError(
            f"targets contradict each other: they leave {counts[too_many[0]]} conversations with {too_many[0]}, "
            f"of {labelled} labelled ones; raise the other targets or lower multi"
        )
    return counts | {NONE: none}, triples, several - triples


def _dealt(
    taxonomy: Taxonomy, counts: Mapping[str, int], triples: int, pairs: int, pools: Pools, rng: random.Random
) -> list[LabelSet]:
    """Label sets in which every category occurs exactly as often as asked."""
    sizes = [3] * triples + [2] * pairs
    for _ in range(_TRIES):
        sets = _label_sets(taxonomy, counts, sizes, pools, rng)
        if sets is not None:
            return sets + [taxonomy.none] * counts[NONE]
    raise GenerationError("no sets of labels add up to these counts: lower multi, or change the targets")


def _label_sets(
    taxonomy: Taxonomy, counts: Mapping[str, int], sizes: Sequence[int], pools: Pools, rng: random.Random
) -> list[LabelSet] | None:
    """Sets of these sizes, and of one label for the rest; `None` where the draw has run into a corner."""
    left = {name: counts[name] for name in taxonomy.names}
    room = sum(left.values()) - sum(sizes) + len(sizes)
    sets: list[LabelSet] = []
    for size in sizes:
        names: list[str] = []
        while len(names) < size:
            name = _next_name(names, left, room, pools, rng)
            if name is None:
                return None
            names.append(name)
        for name in names:
            left[name] -= 1
        sets.append(taxonomy.labels(*names))
        room -= 1
    return sets + [taxonomy.labels(name) for name, count in left.items() for _ in range(count)]


def _next_name(
    names: Sequence[str], left: Mapping[str, int], room: int, pools: Pools, rng: random.Random
) -> str | None:
    """A category to join these in a set: one that the remaining sets only just hold, or a partner from the pools."""
    weights = {name: count for name, count in left.items() if count and name not in names}
    urgent = [name for name in weights if weights[name] >= room]
    partners = {b for pair in pools.pairs for a, b in (pair, pair[::-1]) if a in names[:1]}
    if urgent:
        return urgent[0]
    if len(names) == 1:
        weights = {name: weights[name] for name in weights if name in partners} or weights
    return rng.choices(list(weights), list(weights.values()))[0] if weights else None


def _briefs(
    taxonomy: Taxonomy,
    sets: Sequence[LabelSet],
    pools: Pools,
    distractors: float,
    turns: Sequence[int],
    rng: random.Random,
) -> Iterator[Brief]:
    decks = {
        name: _deck(getattr(pools, name), rng)
        for name in ("industries", "roles", "situations", "tones", "openings", "lookalikes", "errands")
    }
    decks["exchanges"] = _deck((*pools.lookalikes, *pools.exchanges), rng)
    lengths, words = _deck(turns, rng), _deck(WORDS_A_TURN, rng)
    subjects, with_distractor = _deck(taxonomy.categories, rng), _spread(distractors, rng)
    with_errand = _spread(0.25, rng)
    for number, labels in enumerate(sets):
        length = next(lengths)
        distractor: str | None = None
        if labels.is_none and next(with_errand):
            distractor = next(decks["errands"])
        elif labels.is_none or next(with_distractor):
            others = (category for category in subjects if category.name not in labels)
            subject = next(others, None) if len(labels) < len(taxonomy) else None
            if subject is not None:
                ways = decks["exchanges" if length >= EXCHANGE else "lookalikes"]
                distractor = next(ways).replace(SUBJECT, subject.description)
        yield Brief(
            labels=labels,
            industry=next(decks["industries"]),
            role=next(decks["roles"]),
            situation=next(decks["situations"]),
            tone=next(decks["tones"]),
            turns=length,
            words=max(length * next(words), WORDS_A_LABEL * len(labels)),
            distractor=distractor,
            opening=next(decks["openings"]),
            number=number,
        )


def _deck(values: Sequence[T], rng: random.Random) -> Iterator[T]:
    """The values without end, each once before any comes again."""
    while True:
        yield from rng.sample(values, len(values))


def _spread(share: float, rng: random.Random) -> Iterator[bool]:
    """Yes and no without end, yes with this share, evenly spread."""
    sum_ = rng.random()
    while True:
        sum_ += share
        yield sum_ >= 1
        sum_ %= 1
