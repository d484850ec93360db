"""One event loop in a thread of its own: asynchronous work behind a synchronous surface.

It also serves where a loop already runs, as in a notebook.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

__all__ = ["as_done", "iterate", "run"]

T = TypeVar("T")
R = TypeVar("R")

_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}
"""By process: threads do not survive a fork."""
_LOCK = threading.Lock()
_CLOSING: Final = 5.0
"""Seconds that work which is called off may take to end."""


def _loop() -> asyncio.AbstractEventLoop:
    with _LOCK:
        if os.getpid() not in _LOOPS:
            loop = _LOOPS[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="memory-routing", daemon=True).start()
        return _LOOPS[os.getpid()]


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of asynchronous work. An interrupt cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def iterate(items: AsyncGenerator[T, None]) -> Iterator[T]:
    """The items of an asynchronous generator, which runs ahead and is closed at the end, however that comes."""
    arrived: SimpleQueue[tuple[T] | None] = SimpleQueue()
    closed = threading.Event()

    async def follow() -> None:
        try:
            async for item in items:
                arrived.put((item,))
        finally:
            await items.aclose()
            closed.set()
            arrived.put(None)

    future = asyncio.run_coroutine_threadsafe(follow(), _loop())
    try:
        while (found := _next(arrived)) is not None:
            yield found[0]
        future.result()
    finally:
        if future.cancel():
            closed.wait(_CLOSING)


def _next(arrived: SimpleQueue[T]) -> T:
    # Not without end, which on Windows no interrupt would end.
    while True:
        with contextlib.suppress(Empty):
            return arrived.get(timeout=1.0)


async def as_done(
    function: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int
) -> AsyncGenerator[tuple[T, R], None]:
    """Each item with its result, in the order in which they are done, never more than `limit` at work."""
    todo = iter(items)
    working: dict[asyncio.Future[R], T] = {}
    try:
        while True:
            for item in islice(todo, limit - len(working)):
                working[asyncio.ensure_future(function(item))] = item
            if not working:
                return
            done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield working.pop(task), task.result()
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
