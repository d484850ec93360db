"""What a chat model is asked and answers, and the file that keeps every answer."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from memory_routing.decision import Usage
from memory_routing.files import parse_json
from memory_routing.frozen import value_hash

__all__ = ["Answer", "AnswerLog", "Message", "Request"]


@attrs.frozen
class Message:
    """One message to a chat model: `system`, `user` or `assistant`, and its text."""

    role: str
    content: str


@attrs.frozen
class Request:
    """What a chat model is asked for: one JSON object of a form."""

    messages: tuple[Message, ...]
    schema: Mapping[str, Any] = attrs.field(hash=False)
    """JSON Schema of the answer."""
    temperature: float
    max_tokens: int
    seed: int | None = None

    @property
    def hash(self) -> str:
        """SHA-256 over everything that is asked."""
        return value_hash(self)

    @property
    def size(self) -> Usage:
        """Tokens at most: a token has three bytes or more in most languages."""
        text = "".join(message.content for message in self.messages)
        return Usage(len(text.encode("utf-8", "surrogatepass")) // 3 + 50, self.max_tokens)


def _text(value: object) -> str:
    # Some services say nothing at all where they refuse.
    return value if isinstance(value, str) else ""


@attrs.frozen
class Answer:
    """What a chat model said."""

    text: str = attrs.field(converter=_text)
    usage: Usage
    complete: bool = True
    """Whether it ended by itself; otherwise it was cut by length."""
    refused: str | None = None
    """Why the service will never answer this call."""


class AnswerLog:
    """Every answer of a run, appended and synced as it comes: what is in it is never asked again.

    Answers stay on disk; in memory is where they stand. A line that a kill cut short is left behind.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer, which would keep what a full disk refused.
        self._end = path.open("ab", buffering=0)
        self._file = path.open("rb")
        self._places: dict[str, int] = {}
        self.spent = Usage(0)
        """Tokens of all answers."""
        self.seconds = 0.0
        """That all answers took together."""
        self._read()

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Answer | None:
        """The answer that is kept under a key."""
        place = self._places.get(key)
        if place is None:
            return None
        self._file.seek(place)
        row = parse_json(self._file.readline())
        return Answer(row["text"], Usage(*row["usage"]), row["complete"], row["refused"])

    def add(self, key: str, answer: Answer, seconds: float) -> None:
        """Keep an answer; when this returns it is on the disk."""
        row = {"key": key, **attrs.asdict(answer), "usage": attrs.astuple(answer.usage), "seconds": round(seconds, 3)}
        place, line = self._end.seek(0, os.SEEK_END), json.dumps(row).encode() + b"\n"
        try:
            while line:
                line = line[self._end.write(line) :]
            os.fsync(self._end.fileno())
        except OSError as error:
            # The system does not say which file it could not write.
            raise OSError(error.errno, error.strerror, self._file.name) from None
        self._count(place, row)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._end.close()

    def _read(self) -> None:
        self._file.seek(0)
        place, line = 0, b""
        for line in self._file:
            # A line that a kill cut short: it is asked again.
            with contextlib.suppress(KeyError, TypeError, ValueError):
                self._count(place, parse_json(line))
            place += len(line)
        if line and not line.endswith(b"\n"):
            self._end.write(b"\n")

    def _count(self, place: int, row: Mapping[str, Any]) -> None:
        used = Usage(*row["usage"])
        self.seconds += row["seconds"]
        self._places[row["key"]] = place
        self.spent = self.spent + used
