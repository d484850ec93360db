"""The renderer seam: between conversations and a language model's tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from memory_routing.conversation import Conversation
from memory_routing.labels import LabelSet, Malformed
from memory_routing.taxonomy import Taxonomy

__all__ = ["Renderer"]


class Renderer(ABC):
    """Writes prompts and answers as tokens and reads answers back.

    Laws: `parse(target(y)) == y` for every label set, and the supervised tokens of a conversation are
    `prompt(c) + target(y)`.
    """

    name: str
    taxonomy: Taxonomy
    stop: Sequence[str] | Sequence[int]
    """What ends an answer, as texts or as tokens."""

    @abstractmethod
    def prompt(self, conversation: Conversation) -> list[int]:
        """Tokens up to where the model answers, shape `(P,)`."""

    @abstractmethod
    def target(self, labels: LabelSet) -> list[int]:
        """Tokens of the right answer with its stop, shape `(G,)`."""

    @abstractmethod
    def parse(self, tokens: Sequence[int], *, complete: bool = True) -> LabelSet | Malformed:
        """Read a sampled answer of shape `(G,)`; never raises.

        `complete=False` says that the answer was cut by length: it is then malformed.
        """
