"""Sessions: who is connected, and since when there is no sign of life."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from memory_routing.server.refusal import NotHere

__all__ = ["Session", "Sessions"]


@attrs.define(eq=False)
class Session:
    """A client's connection. `models` and `samplers` are the ids of what it made."""

    id: str
    user_metadata: Mapping[str, Any]
    display_name: str | None = None
    models: list[str] = attrs.field(factory=list)
    samplers: list[str] = attrs.field(factory=list)
    seen: float = attrs.field(factory=time.monotonic)


class Sessions:
    """The sessions that are open."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}

    def open(self, user_metadata: Mapping[str, Any] | None, display_name: str | None) -> Session:
        """A new session with an id that no process before gave out."""
        session = Session(uuid.uuid4().hex, user_metadata or {}, display_name)
        self._open[session.id] = session
        return session

    def get(self, name: str) -> Session:
        """The session with an id, which is alive from this moment on. Raises `NotHere` where there is none."""
        session = self._open.get(name)
        if session is None:
            raise NotHere(f"the session {name[:80]!r}")
        session.seen = time.monotonic()
        return session

    def names(self) -> list[str]:
        """Ids of the open sessions, the latest first."""
        return list(reversed(self._open))

    def close(self, name: str) -> None:
        """End a session, if it is open."""
        self._open.pop(name, None)

    def idle(self, seconds: float) -> list[str]:
        """Ids of the sessions without a sign of life for so long."""
        limit = time.monotonic() - seconds
        return [session.id for session in self._open.values() if session.seen < limit]
