"""How far long work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

__all__ = ["track"]

T = TypeVar("T")

_SECONDS_BETWEEN_LINES: Final = 30.0


def track(items: Iterable[T], what: str | Callable[[], str], total: int | None = None) -> Iterator[T]:
    """Pass items on and show on standard error how many are done, of `total` where that is known.

    A function for `what` is asked again at each item, so that it can tell the latest figures.
    """
    describe = what if callable(what) else lambda: what
    if sys.stderr.isatty():
        yield from _bar(items, describe, total)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            of = "" if total is None else f" of {total}"
            print(f"{describe()}: {done}{of}", file=sys.stderr, flush=True)  # noqa: T201


def _bar(items: Iterable[T], describe: Callable[[], str], total: int | None) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(describe(), total=total)
        for item in items:
            yield item
            bar.update(task, advance=1, description=describe())
