"""The teacher seam: a model that writes labelled conversations."""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs

from memory_routing.conversation import Conversation
from memory_routing.example import Annotation, Example
from memory_routing.labels import LabelSet, Malformed
from memory_routing.taxonomy import Taxonomy

__all__ = ["Brief", "TeacherGenerator"]


@attrs.frozen
class Brief:
    """What a teacher is asked to write. Raises `ValueError` for fewer than one turn or word."""

    labels: LabelSet
    """The labels that the conversation should earn; empty for `none`."""
    industry: str
    role: str
    situation: str
    tone: str
    turns: int
    words: int
    """Length aimed at, in words over all turns."""
    distractor: str | None = None
    """A look-alike that must not earn a label."""

    def __attrs_post_init__(self) -> None:
        for name in ("turns", "words"):
            if getattr(self, name) < 1:
                raise ValueError(f"brief: {name} must be at least 1, not {getattr(self, name)}")


class TeacherGenerator(ABC):
    """Writes conversations to a brief and, separately, labels conversations."""

    taxonomy: Taxonomy

    @abstractmethod
    async def generate(self, brief: Brief, attempt: int = 0) -> Example | Malformed:
        """A conversation for the brief. `attempt` counts retries, so that each can differ."""

    @abstractmethod
    async def label(self, conversation: Conversation) -> Annotation | Malformed:
        """Labels and evidence of a conversation, without knowledge of any brief."""
