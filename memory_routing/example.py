"""Labelled conversations: one to learn from, one to be judged by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from memory_routing.conversation import Conversation
from memory_routing.errors import DatasetError
from memory_routing.frozen import FrozenMapping
from memory_routing.labels import LabelSet
from memory_routing.taxonomy import NONE

__all__ = ["Annotation", "Evidence", "Example", "Scenario"]

Evidence = Mapping[str, tuple[int, ...]]
"""Category name to the 0-based turns that state it, ascending."""


def _evidence(value: Mapping[str, Sequence[int]] | None) -> Evidence | None:
    if value is None:
        return None
    return FrozenMapping({name: tuple(sorted(set(turns))) for name, turns in value.items()})


@attrs.frozen
class Annotation:
    """A label set and, where known, the turns that are its evidence.

    Raises `DatasetError` where evidence is given for other categories than the labels.
    """

    labels: LabelSet
    evidence: Evidence | None = attrs.field(default=None, converter=_evidence, hash=False)

    def __attrs_post_init__(self) -> None:
        _check_labels(self.evidence, self.labels)


def _check_labels(evidence: Evidence | None, labels: LabelSet) -> None:
    if evidence is None:
        return
    for name in evidence:
        if name not in labels:
            raise DatasetError(f"evidence for {name}, which is no label of this conversation")
    for name in labels:
        if not evidence.get(name):
            raise DatasetError(f"no evidence turn for {name}")


def _check_turns(evidence: Evidence | None, conversation: Conversation) -> None:
    for name, turns in (evidence or {}).items():
        for turn in turns:
            if not 0 <= turn < len(conversation):
                raise DatasetError(f"evidence for {name}: no turn {turn} among {len(conversation)}")
            if conversation.turns[turn].is_context:
                role = conversation.turns[turn].role
                raise DatasetError(f"evidence for {name}: turn {turn} is a {role} turn, which is context only")


def _metadata(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return FrozenMapping(value)


@attrs.frozen
class Example:
    """A conversation with its annotation. Its identity is the hash of the conversation.

    Raises `DatasetError` where evidence names a turn that is absent or is context only.
    """

    conversation: Conversation
    annotation: Annotation
    id: str = ""
    metadata: Mapping[str, Any] = attrs.field(factory=dict, converter=_metadata, hash=False)

    def __attrs_post_init__(self) -> None:
        _check_turns(self.annotation.evidence, self.conversation)

    @property
    def labels(self) -> LabelSet:
        """The annotated label set."""
        return self.annotation.labels

    @property
    def hash(self) -> str:
        """The conversation's content hash."""
        return self.conversation.hash

    @property
    def group(self) -> str:
        """What must stay on one side of a split: the contrast group, or the conversation alone."""
        return str(self.metadata.get("group") or self.hash)


def _accepted(value: Iterable[LabelSet]) -> tuple[LabelSet, ...]:
    return tuple(value)


@attrs.frozen
class Scenario:
    """A conversation of a benchmark with the label sets that are accepted, the usual one first.

    `evidence` is that of the first. Raises `DatasetError` where no label set is accepted, or for evidence that
    `Annotation` or `Example` would refuse.
    """

    conversation: Conversation
    accepted: tuple[LabelSet, ...] = attrs.field(converter=_accepted)
    id: str = ""
    evidence: Evidence | None = attrs.field(default=None, converter=_evidence, hash=False)
    difficulty: str | None = None
    domain: str | None = None
    group: str | None = None
    """The contrast group, if it is in one."""

    def __attrs_post_init__(self) -> None:
        if not self.accepted:
            raise DatasetError(f"scenario {self.id}: no accepted label set")
        _check_labels(self.evidence, self.gold)
        _check_turns(self.evidence, self.conversation)

    @property
    def accepted_names(self) -> tuple[tuple[str, ...], ...]:
        """Names of the label sets that are accepted, `none` written out."""
        return tuple(labels.names or (NONE,) for labels in self.accepted)

    @property
    def gold(self) -> LabelSet:
        """The usual label set, the first of those accepted."""
        return self.accepted[0]
