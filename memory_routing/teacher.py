"""The teacher seam: a model that writes labelled conversations."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

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
    opening: str | None = None
    """How the conversation, which is already under way, begins."""
    number: int = 0
    """Place in a plan: tells apart what is otherwise equal."""

    def __attrs_post_init__(self) -> None:
        for name in ("turns", "words"):
            if getattr(self, name) < 1:
                raise ValueError(f"brief: {name} must be at least 1, not {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, the labels as a list of names."""
        fields = attrs.asdict(self, filter=lambda field, _: field.name != "labels")
        return {"labels": list(self.labels), **fields}

    @property
    def hash(self) -> str:
        """SHA-256 over the values and the taxonomy: the brief's identity in every process."""
        canonical = json.dumps([self.labels.taxonomy.hash, self.to_dict()], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


class TeacherGenerator(ABC):
    """Writes conversations to a brief and, separately, labels conversations."""

    taxonomy: Taxonomy

    def identity(self) -> Mapping[str, Any]:
        """What its answers depend on, as plain data: runs of teachers that differ in it do not mix.

        Override it where the name of the class does not tell.
        """
        return {"class": type(self).__qualname__}

    @abstractmethod
    async def generate(self, brief: Brief, attempt: int = 0) -> Example | Malformed:
        """A conversation for the brief. `attempt` counts retries, so that each can differ.

        Raises `TeacherError` where no answer came.
        """

    @abstractmethod
    async def label(self, conversation: Conversation) -> Annotation | Malformed:
        """Labels and evidence of a conversation, without knowledge of any brief.

        Raises `TeacherError` where no answer came.
        """
