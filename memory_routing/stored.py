"""Reports as they are stored: what `Report.write` writes, read back as values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

import attrs

from memory_routing.conversation import Conversation
from memory_routing.errors import DatasetError
from memory_routing.leakage import Leakage
from memory_routing.wire import strict_converter, structure

__all__ = [
    "NAMES",
    "Bin",
    "CategoryRow",
    "GroupRow",
    "Number",
    "Outcomes",
    "Reliability",
    "Result",
    "StoredReport",
    "read_report",
]


NAMES: Final[Mapping[str, str]] = {
    "f1": "mean F1",
    "exact": "exact match",
    "any_match": "any match",
    "precision": "mean precision",
    "recall": "mean recall",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "evidence_f1": "F1 of the evidence turns",
    "evidence_precision": "precision of the evidence turns",
    "evidence_recall": "recall of the evidence turns",
    "scope": "right scope",
    "horizon": "right horizon",
}
"""The headline numbers, with names for people."""


@attrs.frozen
class Number:
    """A stored estimate; `None` for what has no value."""

    value: float | None = None
    n: int = 0
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> str:
        """The 95 % interval in words."""
        return "–" if self.low is None or self.high is None else f"{self.low:.3f} to {self.high:.3f}"

    @property
    def milliseconds(self) -> str:
        """A time with its interval, three digits of it."""
        if self.value is None or self.low is None or self.high is None:
            return "–"
        value, low, high = (f"{1000 * bound:#.3g}".rstrip(".") for bound in (self.value, self.low, self.high))
        return f"{value} ms ({low} to {high})"

    def __str__(self) -> str:
        return "–" if self.value is None else f"{self.value:.3f}"


@attrs.frozen
class CategoryRow:
    """How well one category was found."""

    support: int
    precision: Number
    recall: Number
    f1: Number


@attrs.frozen
class GroupRow:
    """Scores of some scenarios."""

    f1: Number
    exact: Number
    any_match: Number


@attrs.frozen
class Bin:
    """Scores between two bounds: their mean, and the share that was right."""

    low: float
    high: float
    score: float
    right: Number


@attrs.frozen
class Reliability:
    """How scores compare with what was right."""

    ece: Number
    bins: tuple[Bin, ...]
    scores: int = 0
    """How many there are; 0 where the file does not say."""


@attrs.frozen
class Timing:
    """Seconds of one decision, and decisions in a second."""

    p50: Number
    p95: Number
    p99: Number
    per_second: float
    batch: int = 0
    """Conversations of the batch that `per_second` is of; 0 where that is not known."""


@attrs.frozen
class Turn:
    """One message."""

    role: str
    content: str


def _hash(turns: tuple[Turn, ...]) -> str:
    return Conversation.of([attrs.asdict(turn) for turn in turns]).hash


@attrs.frozen
class Label:
    """A predicted category."""

    category: str
    score: float | None = None
    evidence: tuple[int, ...] | None = None


@attrs.frozen
class Decided:
    """What the router answered."""

    labels: tuple[Label, ...] = ()
    scores: dict[str, float] | None = None
    malformed: str | None = None
    raw: str | None = None


@attrs.frozen
class Result:
    """One scenario with its scored decision. `gold` is the accepted set that the prediction came closest to."""

    id: str
    conversation: tuple[Turn, ...]
    gold: tuple[str, ...]
    predicted: tuple[str, ...]
    f1: float
    exact: bool
    any_match: bool
    decision: Decided
    accepted: tuple[tuple[str, ...], ...] = ()
    evidence: dict[str, tuple[int, ...]] | None = None
    difficulty: str | None = None
    domain: str | None = None

    @property
    def hash(self) -> str:
        """The conversation's identity."""
        return _hash(self.conversation)


@attrs.frozen
class Leaks:
    """What the training data and the benchmark have in common."""

    train: int
    scenarios: int
    exact: tuple[Any, ...] = ()
    near: tuple[Any, ...] = ()
    groups: tuple[str, ...] = ()
    data: str = ""

    @property
    def clean(self) -> bool:
        """Whether they have nothing in common."""
        return not (self.exact or self.near or self.groups)

    def __str__(self) -> str:
        return str(Leakage(self.train, self.scenarios, self.exact, self.near, self.groups, self.data))


@attrs.frozen
class Failed:
    """A scenario without a decision, and why."""

    id: str
    reason: str
    conversation: tuple[Turn, ...] = ()
    accepted: tuple[tuple[str, ...], ...] = ()
    difficulty: str | None = None
    domain: str | None = None


@attrs.frozen
class TaxonomyName:
    """Which taxonomy the labels are of."""

    name: str
    version: str
    hash: str


@attrs.frozen
class Outcomes:
    """How many scenarios ended how; errors apart from wrong answers."""

    exact: int
    wrong: int
    malformed: int
    failed: int


@attrs.frozen
class StoredReport:
    """A report read back. `name` tells reports of one page apart; a part that the file lacks is empty."""

    router: str
    summary: dict[str, Number]
    results: tuple[Result, ...] | None = None
    categories: dict[str, CategoryRow] = attrs.field(factory=dict)
    groups: dict[str, dict[str, GroupRow]] = attrs.field(factory=dict)
    label_counts: dict[str, Number] = attrs.field(factory=dict)
    rewards: dict[str, Number] = attrs.field(factory=dict)
    reliability: dict[str, Reliability] = attrs.field(factory=dict)
    confusion: dict[str, dict[str, float]] = attrs.field(factory=dict)
    failures: tuple[Failed, ...] = ()
    timing: Timing | None = None
    leakage: Leaks | None = None
    taxonomy: TaxonomyName | None = None
    model: str | None = None
    malformed: int = 0
    name: str = ""

    @cached_property
    def scenarios(self) -> frozenset[str]:
        """The conversations' identities."""
        return frozenset(result.hash for result in self.results or ())

    @cached_property
    def failed(self) -> frozenset[str]:
        """Identities of the conversations without a decision, where the file has them."""
        return frozenset(_hash(failure.conversation) for failure in self.failures if failure.conversation)

    @cached_property
    def outcomes(self) -> Outcomes | None:
        """How the scenarios ended, where the file has them one by one."""
        if self.results is None:
            return None
        malformed = sum(result.decision.malformed is not None for result in self.results)
        exact = sum(result.exact for result in self.results)
        return Outcomes(exact, len(self.results) - exact - malformed, malformed, len(self.failures))


_CONVERTER: Final = strict_converter(forbid_extra_keys=False)
PARTS: Final = frozenset(
    ("router", "model", "taxonomy", "scenarios", "summary", "categories", "groups", "label_counts", "rewards")
) | {"reliability", "confusion", "malformed", "failures", "leakage", "timing", "results"}
"""What `Report.to_dict` writes."""
_SHOWN: Final = 300
"""Letters of what is wrong that an error message repeats."""


def read_report(data: Any, path: str, *, whole: bool = False) -> StoredReport:
    """The report in the value of a JSON file. Raises `DatasetError` that names the file and what it lacks.

    With `whole` it has to have all parts that this version writes, and a result at least.
    """
    expected = "expected a report that `memory-routing benchmark --out` wrote"
    needed = PARTS if whole else {"router", "summary"}
    if not isinstance(data, Mapping) or not needed <= set(data) or (whole and not data["results"]):
        lacking = sorted(needed - set(data)) if isinstance(data, Mapping) else []
        raise DatasetError(f"{path}: {expected}; it has no {', '.join(lacking) or 'results'}")
    try:
        return structure(_CONVERTER, data, StoredReport)
    except ValueError as error:
        found = str(error)
        raise DatasetError(f"{path}: {expected}; {found[:_SHOWN]}{'…' if len(found) > _SHOWN else ''}") from None
