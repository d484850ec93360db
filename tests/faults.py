"""A layer around an ASGI application that breaks some of its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs

__all__ = ["Layer", "answers", "cuts", "hangs", "only"]

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]


class Act(Protocol):
    """What is done in place of passing a request on."""

    async def __call__(self, app: App, scope: Any, receive: Receive, send: Send) -> None: ...


@attrs.define
class _Fault:
    path: str
    act: Act
    times: int
    after: int
    where: Callable[[bytes], bool]
    calls: int = 0

    def due(self, path: str, body: bytes) -> bool:
        if path.rpartition("/")[2] != self.path or not self.where(body):
            return False
        self.calls += 1
        return self.after < self.calls <= self.after + self.times


@attrs.define
class Layer:
    """Faults by the last part of a path. `calls` counts the requests that came, `broken` those that were broken."""

    faults: list[_Fault] = attrs.field(factory=list)
    calls: dict[str, int] = attrs.field(factory=dict)
    broken: dict[str, int] = attrs.field(factory=dict)

    def inject(
        self,
        path: str,
        act: Act,
        *,
        times: int = 1,
        after: int = 0,
        where: Callable[[bytes], bool] = lambda body: True,
    ) -> None:
        """Break `times` requests to a path, after so many that went well; only those whose body says so."""
        self.faults.append(_Fault(path, act, times, after, where))

    def clear(self) -> None:
        """Let all requests through, and forget what was counted."""
        for kept in (self.faults, self.calls, self.broken):
            kept.clear()

    def around(self, app: App) -> App:
        """The application with the layer around it."""

        async def layered(scope: Any, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            body, more = b"", True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
            name = scope["path"].rpartition("/")[2]
            self.calls[name] = self.calls.get(name, 0) + 1
            given = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def again() -> Any:
                return next(given, None) or await receive()

            # Every fault counts its calls, also where an earlier one is due.
            due = [fault for fault in self.faults if fault.due(scope["path"], body)]
            if due:
                self.broken[name] = self.broken.get(name, 0) + 1
                await due[0].act(app, scope, again, send)
            else:
                await app(scope, again, send)

        return layered


def answers(status: int, body: str = "", headers: Mapping[str, str] | None = None, *, done: bool = False) -> Act:
    """A status in place of the answer; where `done`, the work is done all the same."""

    async def act(app: App, scope: Any, receive: Receive, send: Send) -> None:
        if done:
            await _swallowed(app, scope, receive)
        data = body.encode()
        told = {"content-type": "application/json", "content-length": str(len(data)), **(headers or {})}
        raw = [(name.encode(), value.encode()) for name, value in told.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": data})

    return act


def hangs(seconds: float) -> Act:
    """Silence for so long, and then the answer, if the client is still there."""

    async def act(app: App, scope: Any, receive: Receive, send: Send) -> None:
        request = await receive()
        try:
            await asyncio.wait_for(receive(), seconds)
        except TimeoutError:
            given = iter([request])

            async def again() -> Any:
                return next(given, None) or await receive()

            await app(scope, again, send)

    return act


def cuts() -> Act:
    """The work is done, but half of the answer is lost and the connection closed."""

    async def act(app: App, scope: Any, receive: Receive, send: Send) -> None:
        start, data = await _swallowed(app, scope, receive)
        await send(start)
        await send({"type": "http.response.body", "body": data[: len(data) // 2], "more_body": True})

    return act


def only(**fields: Any) -> Callable[[bytes], bool]:
    """Whether a JSON body has these values."""

    def where(body: bytes) -> bool:
        told = json.loads(body)
        return all(told.get(name) == value for name, value in fields.items())

    return where


async def _swallowed(app: App, scope: Any, receive: Receive) -> tuple[Any, bytes]:
    messages: list[Any] = []

    async def keep(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])
