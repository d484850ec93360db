"""Results that clients will ask for, by the ids that they were promised under."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final

import attrs

__all__ = ["Promise", "Promises"]

_KEPT: Final = 120.0
"""Seconds that a result stays after it was fetched, for a client whose connection broke in between."""


@attrs.define(eq=False)
class Promise:
    """A result to come. `session` is whose it is; `extra` goes out with the promise."""

    id: str
    session: str
    future: Future[Any]
    key: Hashable
    extra: dict[str, Any]
    fetched: float | None = None

    @property
    def receipt(self) -> dict[str, Any]:
        """What the client is told at once."""
        return {"request_id": self.id, **self.extra}

    async def wait(self, seconds: float) -> bool:
        """Wait for the result, but not longer than this; whether it is there."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        def arrive(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(arrived.set)

        self.future.add_done_callback(arrive)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(arrived.wait(), seconds)
        return self.future.done()


class Promises:
    """Promises by id, and by a key that tells a repeated request from a new one.

    The SDK sends a request again when its answer got lost, with the same sequence number: the work is done once.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Promise] = {}
        self._by_key: dict[Hashable, Promise] = {}
        self.end: Exception | None = None
        """Why every promise is broken, once that is so."""

    def make(
        self, session: str, key: Hashable, start: Callable[[], Future[Any]], extra: dict[str, Any] | None = None
    ) -> Promise:
        """The promise under a key, started if it is new."""
        promise = self._by_key.get(key)
        if promise is None:
            promise = Promise(uuid.uuid4().hex, session, self._begin(start), key, extra or {})
            self._by_id[promise.id] = self._by_key[key] = promise
        return promise

    def get(self, name: str) -> Promise | None:
        """The promise with an id."""
        return self._by_id.get(name)

    def sweep(self) -> None:
        """Forget results that were fetched some time ago."""
        limit = time.monotonic() - _KEPT
        self._forget([p for p in self._by_id.values() if p.fetched is not None and p.fetched < limit])

    def drop_session(self, session: str) -> None:
        """Forget what was promised to a session, and cancel what has not begun."""
        promises = [promise for promise in self._by_id.values() if promise.session == session]
        for promise in promises:
            promise.future.cancel()
        self._forget(promises)

    def fail_all(self, error: Exception) -> None:
        """Break every promise that is still open, and those that are made from now on."""
        self.end = error
        for promise in list(self._by_id.values()):
            if not promise.future.cancel():
                with contextlib.suppress(InvalidStateError):
                    promise.future.set_exception(error)

    def _begin(self, start: Callable[[], Future[Any]]) -> Future[Any]:
        if self.end is None:
            return start()
        broken: Future[Any] = Future()
        broken.set_exception(self.end)
        return broken

    def _forget(self, promises: list[Promise]) -> None:
        for promise in promises:
            del self._by_id[promise.id]
            del self._by_key[promise.key]
