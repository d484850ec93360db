"""How far long work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

__all__ = ["track"]

T = TypeVar("T")

_SECONDS_BETWEEN_LINES: Final = 30.0


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Pass items on and show on standard error how many are done, of `total` where that is known."""
    if sys.stderr.isatty():
        yield from _bar(items, what, total)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            of = "" if total is None else f" of {total}"
            print(f"{what}: {done}{of}", file=sys.stderr, flush=True)  # noqa: T201


def _bar(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=what)
