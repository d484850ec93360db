"""One thread that does everything with torch, one thing after another in the order of arrival."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TypeVar

__all__ = ["Worker"]

T = TypeVar("T")

_Job = tuple["Future[object]", Callable[[], object]]


class Worker:
    """Runs jobs in order. Its thread ends with the process, also in the middle of a job."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="torch", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Put a job at the end of the queue. One whose future is cancelled before its turn is left out."""
        future: Future[T] = Future()
        self._jobs.put((future, job))  # type: ignore[arg-type]
        return future

    def close(self) -> None:
        """End the thread after the jobs that are there."""
        self._jobs.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end, but not longer than this; whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            future, job = item
            if not future.set_running_or_notify_cancel():
                continue
            # A future may have been failed from outside while its job ran, as at the end of the service.
            with contextlib.suppress(InvalidStateError):
                try:
                    result = job()
                except Exception as error:  # whoever waits for the future gets it
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del item, future, job
