"""`memory-routing watch`: look at a run while it goes on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from memory_routing.cli.console import emit, fail, printable, say, to_terminal, warn
from memory_routing.files import parse_json
from memory_routing.runs import CONFIG, METRICS, read_rows
from memory_routing.watch import PAIRS, Watch

__all__ = ["watch"]

_Rows: TypeAlias = Sequence[Mapping[str, Any]]

_BARS: Final = "▁▂▃▄▅▆▇█"
_K3: Final = tuple(f"kl/{pair}/k3" for pair in PAIRS)
_FIRST: Final = ("loss", "train_loss", "validation/loss", "reward", "validation/reward", *_K3)
"""What a run is followed for, before all else that it measures."""
_PLACES: Final = ("phase", "step", "epoch")
"""Where a row stands: in the title, since it is no measurement."""
_NARROW: Final = 72
"""Columns of a terminal that is too narrow for four figures of each metric."""


def watch(
    run: Annotated[Path, typer.Argument(help="Run folder, of `train` or `generate`.")],
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.05)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show how far it is, and leave.")] = False,
) -> None:
    """Show the metrics of a run as they come: a curve for each on a terminal, one JSON object a row elsewhere.

    A terminal shows the phase that the run is in, as much of it as fits, and with --once all of every phase.
    It goes on until it is interrupted; the run does not notice.

    Example: memory-routing watch runs/marketing
    """
    if not run.is_dir():
        fail(f"{run}: no run folder")
    if not (run / METRICS).exists():
        if once:
            fail(f"{run / METRICS}: no metrics yet", 1)
        warn(f"waiting for {run / METRICS}")
    try:
        (_draw if to_terminal() else _follow)(run, every, once)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _looks(run: Path, every: float, once: bool) -> Iterator[_Rows]:
    told: dict[str, None] = {}

    def damaged(problem: str) -> None:
        if problem not in told:
            warn(problem)
        told[problem] = None

    while True:
        yield read_rows(run, damaged=damaged)
        if once:
            return
        time.sleep(every)


def _follow(run: Path, every: float, once: bool) -> None:
    shown: _Rows = []
    for found in _looks(run, every, once):
        # JSON has no numbers that are not finite.
        rows = [json.loads(json.dumps(row), parse_constant=lambda _: None) for row in found]
        # A resumed run takes rows back and writes them again, perhaps all between two looks.
        same = next((i for i, pair in enumerate(zip(shown, rows, strict=False)) if pair[0] != pair[1]), len(shown))
        for row in rows[same:]:
            emit(row)
        shown = rows


def _draw(run: Path, every: float, once: bool) -> None:
    console, watched = Console(), _watch(run)
    if once:
        for rows in _looks(run, every, once):
            phases = dict.fromkeys(row.get("phase") for row in rows)
            for phase in phases:
                console.print(table(run, [row for row in rows if row.get("phase") == phase], console.width, watched))
        return
    with Live(console=console, auto_refresh=False) as live:
        for rows in _looks(run, every, once):
            now = [row for row in rows if row.get("phase") == rows[-1].get("phase")]
            # Read again, for the run may have written its configuration since.
            live.update(table(run, now, console.width, _watch(run), console.height), refresh=True)
    say("")


def _watch(run: Path) -> Watch:
    try:
        return Watch.of_run(parse_json((run / CONFIG).read_bytes()))
    except (OSError, ValueError):
        return Watch()


def table(run: Path, rows: _Rows, width: int, watched: Watch, height: int | None = None) -> Group:
    """First, last, least and most of every number of a phase, with its curve, in so many columns and lines."""
    measured = {name: _numbers(rows, name) for name in dict.fromkeys(name for row in rows for name in row)}
    order = sorted(measured, key=_rank)
    heads = ("first", "last", "least", "most") if width >= _NARROW else ("last",)
    cells = {
        name: (_named(name, measured[name], watched), *(_figures(measured[name])[head] for head in heads))
        for name in order
        if measured[name] and name not in _PLACES
    }
    widths = [max(map(len, column)) for column in zip(("metric", *heads), *cells.values(), strict=True)]
    widths[0] = min(widths[0], max(width // 3, min(28, width // 2)))
    places = [f"{name} {rows[-1][name]}" for name in _PLACES if rows and name in rows[-1]]
    title = Text(printable(f"{', '.join([*places, f'{len(rows)} rows'])}: {run}"), "bold")
    title.truncate(width, overflow="ellipsis")
    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for head, size in zip(("metric", *heads), widths, strict=True):
        shown.add_column(head, justify="left" if head == "metric" else "right", width=size, overflow="fold")
    room = max(1, width - sum(widths) - len(widths))
    shown.add_column("curve", no_wrap=True)
    # Title, heads, what is left out, and the line of the cursor.
    left = math.inf if height is None else height - 4
    drawn = 0
    for name, row in cells.items():
        left -= -(-len(row[0]) // widths[0])
        if left < 0:
            break
        shown.add_row(*(Text(cell) for cell in row), curve(measured[name], room))
        drawn += 1
    more = [Text(f"{len(cells) - drawn} more with --once", "dim")] if drawn < len(cells) else []
    return Group(title, shown, *more)


def _rank(name: str) -> int:
    if name in _FIRST:
        return _FIRST.index(name)
    return len(_FIRST) + (name != "malformed" and not name.startswith("reward/"))


def _numbers(rows: _Rows, name: str) -> list[float]:
    found = (row.get(name) for row in rows)
    return [value for value in found if isinstance(value, int | float) and not isinstance(value, bool)]


def _named(name: str, values: Sequence[float], watched: Watch) -> str:
    level = f" {watched.level(values[-1])}" if name in _K3 else ""
    return printable(f"{name}{level}")


def _figures(values: Sequence[float]) -> dict[str, str]:
    finite = [value for value in values if math.isfinite(value)] or [math.nan]
    found = {"first": values[0], "last": values[-1], "least": min(finite), "most": max(finite)}
    # Short, to leave room for the curve.
    return {head: f"{y:.4g}" if y == 0 or 1e-3 <= abs(y) < 1e4 else f"{y:.1e}" for head, y in found.items()}


def curve(values: Sequence[float], width: int) -> str:
    """The values as a line of bars, each a mean of neighbours where there are too many, a gap where none is finite."""
    step = max(1, -(-len(values) // width))
    parts = [[v for v in values[i : i + step] if math.isfinite(v)] for i in range(0, len(values), step)]
    largest = max((abs(v) for part in parts for v in part), default=0.0) or 1.0
    # Each divided first, since the sum of large numbers may be too large.
    means = [sum(v / largest for v in part) / len(part) if part else math.nan for part in parts]
    known = [mean for mean in means if not math.isnan(mean)] or [0.0]
    low, spread = min(known), max(known) - min(known) or 1.0
    return "".join(
        " " if math.isnan(mean) else _BARS[min(int((mean - low) / spread * len(_BARS)), len(_BARS) - 1)]
        for mean in means
    )
