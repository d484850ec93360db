"""`memory-routing watch`: look at a run while it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from memory_routing.cli.console import emit, fail, printable, say, to_terminal
from memory_routing.runs import METRICS, read_rows

__all__ = ["watch"]

_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 40
"""Points of a curve that fit beside its numbers."""


def watch(
    run: Annotated[Path, typer.Argument(help="Run folder, of `train` or `generate`.")],
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.05)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show how far it is, and leave.")] = False,
) -> None:
    """Show the metrics of a run as they come: a curve for each on a terminal, one JSON object a row elsewhere.

    It goes on until it is interrupted; the run does not notice.

    Example: memory-routing watch runs/marketing
    """
    if not run.is_dir():
        fail(f"{run}: no run folder")
    if not (run / METRICS).exists() and once:
        fail(f"{run / METRICS}: no metrics yet", 1)
    try:
        (_draw if to_terminal() else _follow)(run, every, once)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _looks(run: Path, every: float, once: bool) -> Iterator[list[dict[str, Any]]]:
    while True:
        yield read_rows(run)
        if once:
            return
        time.sleep(every)


def _follow(run: Path, every: float, once: bool) -> None:
    shown = 0
    for rows in _looks(run, every, once):
        # A resumed run drops the rows that it will write again.
        shown = min(shown, len(rows))
        for row in rows[shown:]:
            emit(row)
        shown = len(rows)


def _draw(run: Path, every: float, once: bool) -> None:
    if once:
        Console().print(_table(run, read_rows(run)))
        return
    with Live(console=Console(), auto_refresh=False) as live:
        for rows in _looks(run, every, once):
            live.update(_table(run, rows), refresh=True)
    say("")


def _table(run: Path, rows: Sequence[Mapping[str, Any]]) -> Table:
    """First, last, least and most of every number, with its curve."""
    table = Table(title=printable(f"{run}: {len(rows)} rows"), title_justify="left", title_style="bold")
    for name in ("metric", "first", "last", "least", "most", "curve"):
        table.add_column(name, justify="left" if name in ("metric", "curve") else "right")
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if _is_number(row.get(name))]
        if values:
            figures = (values[0], values[-1], min(values), max(values))
            table.add_row(printable(name), *(f"{value:.4g}" for value in figures), curve(values))
    return table


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def curve(values: Sequence[float]) -> str:
    """The values as a line of bars, each a mean of neighbours where there are too many."""
    step = max(1, -(-len(values) // _WIDTH))
    means = [sum(part) / len(part) for part in (values[i : i + step] for i in range(0, len(values), step))]
    low, high = min(means), max(means)
    spread = high - low or 1.0
    return "".join(_BARS[min(int((value - low) / spread * len(_BARS)), len(_BARS) - 1)] for value in means)
