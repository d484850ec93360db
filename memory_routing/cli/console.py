"""The terminal: tables and bars for people, JSON lines for programs."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memory_routing.marketing import MARKETING
from memory_routing.taxonomy import Taxonomy

__all__ = [
    "TaxonomyOption",
    "emit",
    "fail",
    "prices_from",
    "printable",
    "say",
    "show_table",
    "taxonomy_from",
    "to_terminal",
    "warn",
]

_UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

TaxonomyOption = Annotated[
    Path | None, typer.Option("--taxonomy", help="Taxonomy file (TOML); the marketing taxonomy if left out.")
]


def taxonomy_from(path: Path | None) -> Taxonomy:
    """The taxonomy that an option names."""
    return MARKETING if path is None else Taxonomy.load(path)


def prices_from(text: str, of: Sequence[str], example: str) -> list[float]:
    """The numbers of a `--prices` option, USD for a million tokens of each kind."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(of) or not all(0 <= number < math.inf for number in numbers):
        fail(f"--prices takes {len(of)} numbers, USD for a million tokens of {', '.join(of)}: {example}")
    return numbers


def to_terminal() -> bool:
    """Whether a person reads the output."""
    return sys.stdout.isatty()


def emit(value: Any) -> None:
    """Write one JSON line."""
    # ASCII, so that no terminal encoding and no lone surrogate can break a line.
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def printable(text: str) -> str:
    """The text without what would steer a terminal, and without what cannot be encoded."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\t", " "))


def say(text: str) -> None:
    """Write a line for a person."""
    Console().print(printable(text), markup=False, highlight=False)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table for a person; columns after the first are right-aligned where they hold numbers."""
    table = Table(title=printable(title), title_justify="left", title_style="bold")
    rows = [tuple(row) for row in rows]
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(row[i][:1].isdigit() or row[i][:1] in ("", "–") for row in rows)
        table.add_column(column, justify="right" if numeric and i else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table, markup=False)


def warn(message: str) -> None:
    """Say something on standard error and go on."""
    Console(stderr=True).print(printable(message), markup=False, highlight=False, soft_wrap=True)


def fail(message: str, code: int = 2) -> NoReturn:
    """Say what is wrong on standard error and leave."""
    warn(f"error: {message}")
    raise typer.Exit(code)
