"""The router seam: conversation in, decision out."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import final

from memory_routing.conversation import Conversation, ConversationLike
from memory_routing.decision import Decision
from memory_routing.errors import ConversationError
from memory_routing.taxonomy import Taxonomy

__all__ = ["Router", "as_conversations"]


class Router(ABC):
    """Decides what to remember of a conversation. Subclass it and implement `classify_batch`."""

    taxonomy: Taxonomy

    @abstractmethod
    def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
        """One decision for each conversation, in input order.

        All inputs are checked first: raises `ConversationError` that names the index, `TypeError` for a
        bare text, and `RouterError` with what was already decided where a provider fails.
        """

    @final
    def classify(self, conversation: ConversationLike) -> Decision:
        """The decision for one conversation. Raises `ConversationError` or `RouterError`."""
        try:
            return self.classify_batch([conversation])[0]
        except ConversationError as error:
            raise ConversationError(error.reason) from None

    @final
    async def aclassify(self, conversation: ConversationLike) -> Decision:
        """`classify` without blocking the event loop."""
        return await asyncio.to_thread(self.classify, conversation)

    @staticmethod
    def load(folder: str | Path | None = None) -> Router:
        """An embedded router: the shipped model, the one in a folder, or a published one, `hub:organisation/name`.

        Needs no key and no GPU, and a network only to fetch what is not in the cache; a branch, tag or commit
        stands behind an `@`. Raises `ModelError` for a folder that is damaged or foreign, and `HubError` for a
        model that cannot be fetched.
        """
        # The imports that point up: the core knows neither the embedded runtime nor hubs until it is asked for them.
        from memory_routing.embedded import EmbeddedRouter

        # On the command line the name comes as a path.
        name = folder.as_posix() if isinstance(folder, Path) else folder or ""
        if name.startswith("hub:"):
            from memory_routing.hub import fetch

            folder = fetch(name.removeprefix("hub:"))

        return EmbeddedRouter(folder)


def as_conversations(values: Sequence[ConversationLike]) -> list[Conversation]:
    """Check a batch. Raises `ConversationError` with the index, or `TypeError` for a bare text."""
    if isinstance(values, str | Conversation):
        raise TypeError("classify_batch takes a list of conversations; for a single one call classify")
    return [_checked(value, index) for index, value in enumerate(values)]


def _checked(value: ConversationLike, index: int) -> Conversation:
    try:
        return Conversation.of(value)
    except ConversationError as error:
        raise ConversationError(error.reason, index) from None
    except TypeError as error:
        raise TypeError(f"conversation {index}: {error}") from None
