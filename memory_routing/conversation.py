"""Conversations: what a router reads."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, get_args

import attrs

from memory_routing.errors import ConversationError

__all__ = ["Conversation", "ConversationLike", "Role", "Turn"]

Role: TypeAlias = Literal["user", "assistant", "system", "memory"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
_MARKER = re.compile(rf"^({'|'.join(ROLES)})[ \t]*:", re.IGNORECASE | re.MULTILINE)


def _role(value: str) -> Role:
    for role in ROLES:
        if value == role:
            return role
    raise ConversationError(f"unknown role {value!r}; roles are {', '.join(ROLES)}")


def _stripped(value: str) -> str:
    return value.strip()


@attrs.frozen
class Turn:
    """One message. Raises `ConversationError` for an unknown role or for text that is empty."""

    role: Role = attrs.field(converter=_role)
    text: str = attrs.field(converter=_stripped)

    def __attrs_post_init__(self) -> None:
        if not self.text:
            raise ConversationError(f"{self.role} turn has no text")

    @property
    def is_context(self) -> bool:
        """Whether the turn only informs (system prompt, recalled memory) and is never evidence."""
        return self.role in ("system", "memory")


def _turns(value: Iterable[Turn]) -> tuple[Turn, ...]:
    return tuple(value)


@attrs.frozen
class Conversation:
    """The turns of one conversation, oldest first. Raises `ConversationError` where there is none."""

    turns: tuple[Turn, ...] = attrs.field(converter=_turns)

    def __attrs_post_init__(self) -> None:
        if not self.turns:
            raise ConversationError("no turns: give a text or at least one turn")

    @classmethod
    def of(cls, value: ConversationLike) -> Conversation:
        """A conversation from whatever a router accepts.

        A transcript, turns, or mappings with `role` and `content`. Raises `ConversationError` that names
        the turn, or `TypeError` for anything else.
        """
        if isinstance(value, Conversation):
            return value
        if isinstance(value, str):
            return cls.from_transcript(value)
        if isinstance(value, Sequence):
            return cls(tuple(_turn(item, i) for i, item in enumerate(value)))
        raise TypeError(
            f"a conversation is a text, a list of turns or a list of {{'role', 'content'}}, not {type(value).__name__}"
        )

    @classmethod
    def from_transcript(cls, text: str) -> Conversation:
        """Read a transcript.

        `USER:`, `ASSISTANT:`, `SYSTEM:` or `MEMORY:` at the start of a line, in any case, opens a turn;
        text before the first marker is a user turn. Raises `ConversationError`.
        """
        if not text.strip():
            raise ConversationError("empty text: there is nothing to route")
        marks = list(_MARKER.finditer(text))
        starts = [mark.start() for mark in marks] + [len(text)]
        head = text[: starts[0]]
        parts = [("user", head)] if head.strip() else []
        parts += [(mark[1], text[mark.end() : end]) for mark, end in zip(marks, starts[1:], strict=True)]
        return cls(tuple(_turn({"role": role, "content": body}, i) for i, (role, body) in enumerate(parts)))

    def to_transcript(self) -> str:
        """`USER: …` lines, the inverse of `from_transcript` unless a text itself opens turns."""
        return "\n".join(f"{turn.role.upper()}: {turn.text}" for turn in self.turns)

    def to_dicts(self) -> list[dict[str, str]]:
        """`[{"role", "content"}]`, the published form."""
        return [{"role": turn.role, "content": turn.text} for turn in self.turns]

    @property
    def hash(self) -> str:
        """SHA-256 over roles and texts: the conversation's identity in every process."""
        # ASCII JSON, because a lone surrogate cannot be encoded.
        return hashlib.sha256(json.dumps(self.to_dicts(), separators=(",", ":")).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.turns)

    def __str__(self) -> str:
        return self.to_transcript()


ConversationLike: TypeAlias = str | Conversation | Sequence[Turn] | Sequence[Mapping[str, str]]
"""What a router accepts as a conversation."""


def _turn(item: object, index: int) -> Turn:
    if isinstance(item, Turn):
        return item
    if not isinstance(item, Mapping):
        raise ConversationError(f"turn {index}: expected 'role' and 'content', found {type(item).__name__}")
    for key in ("role", "content"):
        if not isinstance(item.get(key), str):
            raise ConversationError(f"turn {index}: {key!r} is missing or no text")
    try:
        return Turn(item["role"].strip().lower(), item["content"])
    except ConversationError as error:
        raise ConversationError(f"turn {index}: {error}") from None
