"""What came of a plan, in numbers."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from memory_routing.conversation import Conversation
from memory_routing.dataset import Dataset
from memory_routing.dataset_stats import Spread, dataset_stats
from memory_routing.duplicates import jaccard, shingles
from memory_routing.files import write_whole
from memory_routing.frozen import plain, without_nan
from memory_routing.generation.admission import name_of
from memory_routing.generation.calls import Calls
from memory_routing.generation.config import GenerationConfig
from memory_routing.generation.gate import Refusal
from memory_routing.generation.html import page
from memory_routing.generation.plan import Plan
from memory_routing.intervals import Estimate, share
from memory_routing.labels import LabelSet
from memory_routing.taxonomy import NONE
from memory_routing.teacher import Brief

__all__ = ["Agreement", "Diversity", "GenerationReport", "Item", "report_on"]

_COUNTED: Final = 2000
"""Conversations whose words are counted, so that the figure and the memory do not depend on how many there are."""
_COMPARED: Final = 400
"""Conversations that are compared with each other."""
_OPENING_WORDS: Final = 3


@attrs.define
class Item:
    """A brief and what became of it."""

    brief: Brief
    attempts: int = 0
    refusals: list[Refusal] = attrs.field(factory=list)
    """One for each conversation that was not taken."""
    labelled: list[LabelSet] = attrs.field(factory=list)
    """The independent labels of each conversation that came so far."""
    unanswered: str | None = None
    """Why the teacher gave no answer."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "brief": self.brief.to_dict(),
            "attempts": self.attempts,
            "reasons": [plain(refusal) for refusal in self.refusals],
            "unanswered": self.unanswered,
        }


@attrs.frozen
class Agreement:
    """How the independent labels compare with those asked for."""

    exact: Estimate
    """Share of the labelled conversations with exactly the labels asked for."""
    more: Estimate
    """Share with those labels and others beside them; of labelled targets only."""
    found: Mapping[str, Estimate]
    """Of the conversations written for a category, the share that was labelled with it."""


@attrs.frozen
class Diversity:
    """How much the conversations differ."""

    distinct: Mapping[int, float]
    """Share of sequences of 1, 2 and 3 words that are new, over 2,000 conversations (distinct-n, Li et al. 2016)."""
    self_similarity: float
    """Mean Jaccard similarity of three-word shingles with the most similar other one, over a sample."""
    openings: Mapping[str, float]
    """The commonest first words, with the share of conversations that begin with them."""
    distinct_openings: float
    """Share of the conversations whose first three words no other has before it."""


@attrs.frozen
class GenerationReport:
    """The numbers of a run. Counts of calls and tokens are those of all sessions."""

    planned: int
    kept: int
    written: int
    """Conversations that the teacher wrote."""
    rejections: Mapping[str, int]
    """Conversations that were not taken, by reason, the commonest first."""
    dead: int
    """Briefs whose attempts are used up."""
    unreached: int
    """Briefs that the run stopped before."""
    unanswered: int
    """Briefs for which the service gave no answer."""
    balance: Mapping[str, tuple[int, int]]
    """Conversations planned and kept with each category, and with `none`."""
    agreement: Agreement
    diversity: Diversity
    label_counts: Mapping[int, int]
    """Kept conversations with 0, 1, 2… labels."""
    turns: Spread
    words: Spread
    input_tokens: int
    output_tokens: int
    usd: float | None
    """Without prices `None`."""

    @property
    def result_yield(self) -> Estimate:
        """Share of the written conversations that were kept."""
        return share(self.kept, self.written)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `None` for what has no value."""
        found: dict[str, Any] = without_nan({**plain(self), "yield": plain(self.result_yield)})
        return found

    def to_text(self) -> str:
        """The report for a terminal or a text file."""
        found = self.agreement
        lines = [
            f"planned {self.planned}, kept {self.kept}, given up {self.dead}, without answer {self.unanswered}, "
            f"not reached {self.unreached}",
            f"written {self.written}, yield {self.result_yield}",
            f"tokens {self.input_tokens:,} in, {self.output_tokens:,} out" + _usd(self.usd),
            "",
            "rejections",
            *(f"  {count:6d}  {reason}" for reason, count in self.rejections.items()),
            "",
            "independent labels",
            f"  equal to those asked for   {found.exact}",
            f"  those and more             {found.more}",
            "",
            "balance                                  planned    kept   found",
            *(
                f"  {name:36s}   {planned:7d} {kept:7d}   {found.found[name].value:.3f}"
                for name, (planned, kept) in self.balance.items()
            ),
            "",
            "diversity",
            *(f"  distinct-{n}        {value:.3f}" for n, value in self.diversity.distinct.items()),
            f"  self-similarity   {self.diversity.self_similarity:.3f}",
            f"  distinct openings {self.diversity.distinct_openings:.3f}",
            "  first words       " + ", ".join(f"{w} {s:.1%}" for w, s in self.diversity.openings.items()),
        ]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write `report.json`, `report.txt` and `report.html`."""
        write_whole(folder / "report.json", (json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n").encode())
        write_whole(folder / "report.txt", self.to_text().encode())
        write_whole(folder / "report.html", page(self.to_dict()).encode())


def report_on(
    plan: Plan, items: Sequence[Item], dataset: Dataset, calls: Calls, config: GenerationConfig
) -> GenerationReport:
    """Count what became of the briefs of a plan."""
    stats = dataset_stats(dataset)
    refusals = Counter(refusal.reason for item in items for refusal in item.refusals)
    missing = len(plan) - len(dataset)
    kept = {example.id for example in dataset}
    dead = sum(item.attempts >= config.attempts and name_of(item.brief.number) not in kept for item in items)
    unanswered = sum(item.unanswered is not None for item in items)
    return GenerationReport(
        planned=len(plan),
        kept=len(dataset),
        written=sum(item.attempts for item in items),
        rejections=dict(refusals.most_common()),
        dead=dead,
        unreached=missing - dead - unanswered,
        unanswered=unanswered,
        balance={name: (count, stats.categories[name]) for name, count in plan.balance.items()},
        agreement=_agreement(plan, items),
        diversity=_diversity([example.conversation for example in dataset]),
        label_counts=stats.label_counts,
        turns=stats.turns,
        words=stats.words,
        input_tokens=calls.spent.input_tokens,
        output_tokens=calls.spent.output_tokens,
        usd=None if calls.prices is None else calls.usd,
    )


def _agreement(plan: Plan, items: Iterable[Item]) -> Agreement:
    pairs = [(item.brief.labels, labels) for item in items for labels in item.labelled]
    asked: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for target, labels in pairs:
        for name in target.names or (NONE,):
            asked[name] += 1
            found[name] += name in (labels.names or (NONE,))
    more = [target <= labels and target != labels for target, labels in pairs if not target.is_none]
    return Agreement(
        exact=share(sum(target == labels for target, labels in pairs), len(pairs)),
        more=share(sum(more), len(more)),
        found={name: share(found[name], asked[name]) for name in plan.balance},
    )


def _diversity(conversations: Sequence[Conversation]) -> Diversity:
    firsts = [_words(conversation.turns[0].text) for conversation in conversations]
    openings = Counter(words[0] for words in firsts if words)
    starts = {tuple(words[:_OPENING_WORDS]) for words in firsts}
    n = max(len(conversations), 1)
    return Diversity(
        distinct={size: _distinct(_sample(conversations, _COUNTED), size) for size in (1, 2, 3)},
        self_similarity=_self_similarity(conversations),
        openings={word: count / n for word, count in openings.most_common(8)},
        distinct_openings=len(starts) / n,
    )


def _sample(conversations: Sequence[Conversation], n: int) -> Sequence[Conversation]:
    """So many at most, evenly spaced."""
    return conversations[:: max(1, -(-len(conversations) // n))]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _distinct(conversations: Iterable[Conversation], size: int) -> float:
    seen: set[int] = set()
    total = 0
    for conversation in conversations:
        words = _words(" ".join(turn.text for turn in conversation.turns))
        for start in range(len(words) - size + 1):
            # Hashes, for the sequences themselves would fill the memory.
            seen.add(hash(tuple(words[start : start + size])))
            total += 1
    return len(seen) / total if total else 0.0


def _self_similarity(conversations: Sequence[Conversation]) -> float:
    texts = [shingles(conversation) for conversation in _sample(conversations, _COMPARED)]
    nearest = [max((jaccard(a, b) for j, b in enumerate(texts) if j != i), default=0.0) for i, a in enumerate(texts)]
    return math.fsum(nearest) / len(nearest) if nearest else 0.0


def _usd(usd: float | None) -> str:
    return "" if usd is None else f", {usd:.2f} USD"
