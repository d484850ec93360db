"""The report of a run as one page: no scripts, nothing to fetch, for light and dark, for desk and phone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

import attrs
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from memory_routing.drawing import COLOURS, INK, SOFT, WIDTH, cells, short, style, svg_of

__all__ = ["page"]

_FIRST, _SECOND = SOFT, COLOURS[0]
_VARIABLES: Final = {INK: "currentColor", _FIRST: "var(--first)", _SECOND: "var(--second)"}
"""What stands in the page for a colour, where it follows light and dark."""


@attrs.frozen
class _Part:
    """A table, and over it the plot of its rows."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    plot: str = ""


def page(report: Mapping[str, Any]) -> str:
    """HTML of what `GenerationReport.to_dict` says."""
    template = files("memory_routing.generation").joinpath("report.html.jinja").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=_number, percent=_percent, interval=_interval)
    with style():
        sections = _sections(report)
    return environment.from_string(template).render(report=report, sections=sections)


def _sections(report: Mapping[str, Any]) -> dict[str, list[_Part]]:
    agreement, diversity = report["agreement"], report["diversity"]
    labels = {"exactly those asked for": agreement["exact"], "those and more": agreement["more"]}
    shares = {f"distinct-{size}": share for size, share in diversity["distinct"].items()}
    shares |= {"distinct openings": diversity["distinct_openings"], "self-similarity": diversity["self_similarity"]}
    rows = [(name, _percent(share)) for name, share in shares.items()]
    return {
        "Balance": [_bars("Conversations by category", ["category", "planned", "kept"], report["balance"])],
        "Rejections": [_bars("Conversations not taken", ["reason", "conversations"], report["rejections"])],
        "Agreement": [
            _estimates("Independent labels against those asked for", "labels", labels),
            _estimates("Found again by the independent labels", "category", agreement["found"]),
        ],
        "Diversity": [
            _Part("Words, openings, and likeness with the most similar other", ["number", "share"], rows),
            _bars("The commonest first words", ["word", "share"], diversity["openings"], percent=True),
        ],
        "Lengths": [
            _bars("Conversations by number of labels", ["labels", "conversations"], report["label_counts"]),
            *(_spread(name, report[name]) for name in ("turns", "words")),
        ],
    }


def _bars(caption: str, head: Sequence[str], numbers: Mapping[Any, Any], *, percent: bool = False) -> _Part:
    lists = {str(name): row if isinstance(row, Sequence) else [row] for name, row in numbers.items()}
    rows = [(name, *map(_percent if percent else _number, row)) for name, row in lists.items()]
    return _Part(caption, head, rows, _plot(caption, lists, percent=percent))


def _estimates(caption: str, what: str, estimates: Mapping[str, Any]) -> _Part:
    rows = [(name, _percent(e["value"]), _interval(e), _number(e["n"])) for name, e in estimates.items()]
    ranges = {name: [e["low"], e["value"], e["high"]] for name, e in estimates.items()}
    return _Part(caption, [what, "share", "95% interval", "n"], rows, _plot(caption, ranges, percent=True, range_top=1))


def _spread(name: str, spread: Mapping[str, float]) -> _Part:
    caption = f"{name.capitalize()} of a conversation: median, and 5th to 95th percentile"
    plot = _plot(name, {name: [spread["p5"], spread["median"], spread["p95"]]}, range_top=spread["max"])
    return _Part(caption, ["of a conversation", *spread], [(name, *map(_number, spread.values()))], plot)


def _plot(name: str, rows: Mapping[str, Any], *, percent: bool = False, range_top: float | None = None) -> str:
    """SVG of a bar for each number; with `range_top`, of rows of low, value and high, a point in a range."""
    if not (numbers := [number for row in rows.values() for number in row if number]):
        return ""
    labels, series = [short(label) for label in rows], 1 if range_top else max(map(len, rows.values()))
    height, left = 0.35 + len(rows) * (0.1 + 0.14 * series), 0.15 + 0.07 * max(map(cells, labels))
    figure = Figure(figsize=(WIDTH, height), facecolor="none")
    axes = figure.add_axes((left / WIDTH, 0.25 / height, 1 - (left + 0.25) / WIDTH, 1 - 0.3 / height))
    axes.set(facecolor="none", axisbelow=True, ylim=(len(rows) - 0.5, -0.5))
    for y, row in enumerate(rows.values()):
        if range_top and None not in row:
            line = axes.plot(row[::2], [y, y], color=_SECOND, marker="|", clip_on=False, gid=f"range-{y}")
            line[0].set_solid_capstyle("butt")
            axes.plot(row[1:2], [y], "o", color=_SECOND, ms=4, clip_on=False, gid=f"point-{y}")
        for i, number in enumerate(() if range_top else row):
            at, colour = y + 0.8 * ((i + 0.5) / series - 0.5), _SECOND if i + 1 == series else _FIRST
            axes.barh(at, number or 0, 0.8 / series, color=colour, clip_on=False, gid=f"bar-{y}-{i}")
    axes.set_xlim(0, range_top or max(numbers))
    axes.set_yticks(range(len(rows)), labels)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=not percent))
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g}%" if percent else f"{x:,.0f}")
    axes.grid(axis="x", color=INK, alpha=0.2)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines.left.set_color(INK)
    # Several plots stand in one page, where an id may stand once.
    return svg_of(figure, re.sub(r"\W+", "-", name).lower(), _VARIABLES)


def _number(number: float | None) -> str:
    return "–" if number is None else f"{round(number, 1):,}".removesuffix(".0")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _interval(estimate: Mapping[str, Any]) -> str:
    return "–" if estimate["low"] is None else f"{_percent(estimate['low'])} to {_percent(estimate['high'])}"
