"""Charts of reports: comparisons, categories, calibration, confusion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from memory_routing.drawing import COLOURS, INK, SOFT, WIDTH, Chart, axes_of, clean, short
from memory_routing.stored import NAMES, Number, StoredReport

__all__ = ["METRICS", "comparison_charts", "report_charts"]

METRICS: Final = {
    name: NAMES[name] for name in ("f1", "exact", "any_match", "precision", "recall", "macro_f1", "micro_f1")
}
"""What reports are compared in, with names for people."""
_DARKEST: Final = 0.5
"""Share of the colour in the fullest cell, so that a number can still be read on it."""
_FOOT: Final = 0.08
_MANY: Final = 30
"""Rows of a chart of which a screen does not show both ends."""


def comparison_charts(reports: Sequence[StoredReport]) -> Iterator[Chart]:
    """All reports in one chart, by metric and by difficulty; call it in `style()`."""
    note = "" if len({r.scenarios for r in reports}) < 2 else " The reports are not on the same scenarios."
    metrics = {METRICS[key]: {r.name: r.summary[key] for r in reports if key in r.summary} for key in METRICS}
    sizes = _sizes(e for row in metrics.values() for e in row.values())
    if chart := _compared("model_comparison", "Reports by metric", metrics, "score", f"; {sizes}.{note}"):
        yield chart
    found = list(dict.fromkeys(name for r in reports for name in r.groups.get("difficulty", {})))
    levels = {
        name: {r.name: r.groups["difficulty"][name].f1 for r in reports if name in r.groups.get("difficulty", {})}
        for name in found
    }
    named = {f"{name}, {_sizes(row.values())}": row for name, row in levels.items()}
    if chart := _compared("difficulty_comparison", "Mean F1 by difficulty", named, "mean F1", f".{note}"):
        yield chart


def report_charts(report: StoredReport, prefix: str = "") -> Iterator[Chart]:
    """The charts that one report has numbers for; call it in `style()`."""
    if any(row.f1.value is not None for row in report.categories.values()):
        yield _categories(report, prefix)
    if "all" in report.reliability and report.reliability["all"].bins:
        yield _calibration(report, prefix)
    if any(any(row.values()) for row in report.confusion.values()):
        yield _confusion(report, prefix)


def _sizes(estimates: Iterable[Number]) -> str:
    sizes = sorted({e.n for e in estimates if e.value is not None}) or [0]
    return f"n = {sizes[0]}" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]}"


def _compared(
    name: str, title: str, groups: Mapping[str, Mapping[str, Number]], across: str, note: str
) -> Chart | None:
    """Under each group a row for each report, or the group's own where there is one report."""
    reports = list(dict.fromkeys(report for row in groups.values() for report in row))
    # Where there are more reports than colours, a colour would stand for two.
    colours = COLOURS if len(reports) <= len(COLOURS) else COLOURS[:1]
    rows: list[_Row] = []
    for group, estimates in groups.items():
        known = {report: e for report, e in estimates.items() if e.value is not None}
        if known and len(reports) > 1:
            rows.append(_Row(short(group)))
        for report, estimate in known.items():
            label = short(report) if len(reports) > 1 else short(group)
            rows.append(_Row(label, estimate, colours[reports.index(report) % len(colours)]))
    if not rows:
        return None
    return Chart(name, title, f"The lines are 95 % intervals{note}", _points(rows, across))


@attrs.frozen
class _Row:
    """A number beside its name, or a heading."""

    label: str
    number: Number | None = None
    colour: str = COLOURS[0]


def _points(rows: Sequence[_Row], across: str) -> Figure:
    """A row for each number: a point on its interval."""
    figure, axes = axes_of(WIDTH, 0.5 + 0.2 * len(rows))
    for y, row in enumerate(rows):
        if row.number is not None:
            _intervals(axes.hlines, [y], [row.number], row.colour)
            axes.plot([row.number.value or 0.0], [y], "o", color=row.colour, markersize=5, clip_on=False)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row.number is None else "normal")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labeltop=len(rows) > _MANY)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel=across)
    axes.grid(axis="x")
    return figure


def _intervals(
    lines: Callable[..., object], at: Sequence[float], estimates: Sequence[Number], colour: str = INK
) -> None:
    known = [(x, e.low, e.high) for x, e in zip(at, estimates, strict=True) if e.low is not None and e.high is not None]
    # Not as error bars, which cannot show an interval that leaves its value out, as a bootstrap's may.
    lines([x for x, _, _ in known], [low for _, low, _ in known], [high for _, _, high in known], color=colour, lw=1.5)


def _categories(report: StoredReport, prefix: str) -> Chart:
    rows = [
        _Row(f"{short(name)}  {row.support}", row.f1)
        for name, row in report.categories.items()
        if row.f1.value is not None
    ]
    caption = "Beside each category in how many scenarios it is a gold label; the lines are 95 % intervals."
    return Chart(f"{prefix}categories", f"{report.name}: F1 by category", caption, _points(rows, "F1"))


def _calibration(report: StoredReport, prefix: str) -> Chart:
    found = report.reliability["all"]
    figure, axes = axes_of(WIDTH, WIDTH)
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--", linewidth=1, label="perfectly calibrated")
    at = [point.score for point in found.bins]
    _intervals(axes.vlines, at, [point.right for point in found.bins])
    # Every bin has scores, so that its share has a value.
    shares = [point.right.value or 0.0 for point in found.bins]
    axes.plot(at, shares, "o-", color=COLOURS[0], markersize=4, linewidth=1, clip_on=False, label="scores, with n")
    for point, share in zip(found.bins, shares, strict=True):
        # Not below a point at the foot, where the axis has its numbers.
        offset = (4, -10 if share > _FOOT else 4)
        axes.annotate(
            f"{point.right.n}", (point.score, share), offset, textcoords="offset points", fontsize=8, color=SOFT
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score", ylabel="share that was right", aspect="equal")
    axes.grid(visible=True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    count = sum(point.right.n for point in found.bins)
    caption = (
        f"Expected calibration error over all categories: {found.ece} ({found.ece.interval}, n = {found.ece.n} "
        f"conversations). A conversation has a score for each category: beside each point stands how many of the "
        f"{count} scores it is the mean of. The lines are 95 % intervals."
    )
    return Chart(f"{prefix}calibration", f"{report.name}: calibration", caption, figure)


def _confusion(report: StoredReport, prefix: str) -> Chart:
    table = report.confusion
    names = list(dict.fromkeys([*table, *(name for row in table.values() for name in row)]))
    size = 1.9 + 0.38 * len(names)
    figure, axes = axes_of(size, size)
    for y, gold in enumerate(names):
        row = table.get(gold, {})
        total = sum(row.values())
        for x, said in enumerate(names):
            count = row.get(said, 0.0)
            if not count:
                continue
            shade = _DARKEST * count / total
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=COLOURS[0], alpha=shade, linewidth=0))
            weight = "bold" if x == y else "normal"
            axes.text(x, y, f"{round(count, 1):g}", ha="center", va="center", fontsize=8, fontweight=weight)
    ticks = [short(clean(name)) for name in names]
    axes.set_xticks(range(len(names)), ticks, rotation=90)
    axes.set_yticks(range(len(names)), ticks)
    axes.tick_params(length=0)
    axes.set(
        xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), xlabel="said", ylabel="right", aspect="equal"
    )
    axes.spines[["top", "right"]].set_visible(True)
    caption = (
        "Rows are what was right, columns what was said; in bold what was found. A missed label is shared out among "
        "the labels that were said wrongly, or counts as said none; a wrong label where nothing was missed stands in "
        "the row of none. The shade is the share of the row."
    )
    return Chart(f"{prefix}confusion", f"{report.name}: confusion between categories", caption, figure)
