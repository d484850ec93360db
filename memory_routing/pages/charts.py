"""Charts of reports: comparisons, categories, calibration, confusion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from matplotlib.patches import Rectangle

from memory_routing.pages.drawing import COLOURS, INK, SOFT, Chart, axes_of, clean, short
from memory_routing.pages.stored import Number, StoredReport

__all__ = ["METRICS", "comparison_charts", "report_charts"]

METRICS: Final = {
    "f1": "mean F1",
    "exact": "exact match",
    "any_match": "any match",
    "precision": "precision",
    "recall": "recall",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
}
"""What reports are compared in, with names for people."""
_HEIGHT: Final = 3.0
_WIDTH: Final = 4.8
_DARKEST: Final = 0.65
"""Share of the colour in the fullest cell, so that a number can still be read on it."""


def comparison_charts(reports: Sequence[StoredReport]) -> Iterator[Chart]:
    """All reports in one chart, by metric and by difficulty; call it in `style()`."""
    names = [r.name for r in reports]
    note = "" if len({r.scenarios for r in reports}) < 2 else " The reports are not on the same scenarios."
    metrics = {METRICS[key]: {r.name: r.summary[key] for r in reports if key in r.summary} for key in METRICS}
    if chart := _grouped("model_comparison", "Reports by metric", metrics, names, note):
        yield chart
    found = list(dict.fromkeys(name for r in reports for name in r.groups.get("difficulty", {})))
    levels = {
        name: {r.name: r.groups["difficulty"][name].f1 for r in reports if name in r.groups.get("difficulty", {})}
        for name in found
    }
    if chart := _grouped("difficulty_comparison", "Mean F1 by difficulty", levels, names, note):
        yield chart


def report_charts(report: StoredReport, prefix: str = "") -> Iterator[Chart]:
    """The charts that one report has numbers for; call it in `style()`."""
    if any(row.f1.value is not None for row in report.categories.values()):
        yield _categories(report, prefix)
    if "all" in report.reliability and report.reliability["all"].bins:
        yield _calibration(report, prefix)
    if any(any(row.values()) for row in report.confusion.values()):
        yield _confusion(report, prefix)


def _grouped(
    name: str, title: str, groups: Mapping[str, Mapping[str, Number]], reports: Sequence[str], note: str
) -> Chart | None:
    """A group for each name, in it a bar for each report, with its interval."""
    groups = {group: row for group, row in groups.items() if any(e.value is not None for e in row.values())}
    if not groups:
        return None
    figure, axes = axes_of(max(_WIDTH, 0.5 + 0.3 * len(groups) * len(reports)), _HEIGHT)
    thickness = 0.8 / len(reports)
    for i, report in enumerate(reports):
        places = [place for place, row in enumerate(groups.values()) if report in row]
        bars = [row[report] for row in groups.values() if report in row]
        at = [place + thickness * (i + 0.5) - 0.4 for place in places]
        known = [(x, e.value) for x, e in zip(at, bars, strict=True) if e.value is not None]
        colour = COLOURS[i % len(COLOURS)]
        axes.bar([x for x, _ in known], [y for _, y in known], thickness * 0.9, color=colour, label=short(report))
        _intervals(axes.vlines, at, bars)
    axes.set_xticks(range(len(groups)), [short(group) for group in groups])
    if len(groups) > 4:
        axes.tick_params(axis="x", rotation=30)
    axes.tick_params(axis="x", length=0)
    axes.set(ylim=(0, 1))
    axes.grid(axis="y")
    # Over the axes, where no bar is.
    figure.legend(loc="outside upper left", ncols=min(len(reports), 2))
    sizes = sorted({e.n for row in groups.values() for e in row.values() if e.value is not None})
    n = f"n = {sizes[0]}" if len(sizes) == 1 else f"n from {sizes[0]} to {sizes[-1]}"
    caption = f"The lines are 95 % intervals; {n}.{note}"
    return Chart(name, title, caption, figure, wide=len(groups) * len(reports) > 16)


def _intervals(lines: Callable[..., object], at: Sequence[float], estimates: Sequence[Number]) -> None:
    known = [(x, e.low, e.high) for x, e in zip(at, estimates, strict=True) if e.low is not None and e.high is not None]
    # Not as error bars, which cannot show an interval that leaves its value out, as a bootstrap's may.
    lines([x for x, _, _ in known], [low for _, low, _ in known], [high for _, _, high in known], color=INK, lw=1)


def _categories(report: StoredReport, prefix: str) -> Chart:
    rows = [(name, row) for name, row in report.categories.items() if row.f1.value is not None]
    figure, axes = axes_of(_WIDTH, 0.5 + 0.24 * len(rows))
    places = list(range(len(rows)))
    axes.barh(places, [row.f1.value or 0.0 for _, row in rows], 0.7, color=COLOURS[0])
    _intervals(axes.hlines, places, [row.f1 for _, row in rows])
    axes.set_yticks(places, [f"{short(name)}  {row.support}" for name, row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="F1")
    axes.grid(axis="x")
    caption = "Beside each category its support, how often it is right; the lines are 95 % intervals."
    return Chart(f"{prefix}categories", f"{report.name}: F1 by category", caption, figure)


def _calibration(report: StoredReport, prefix: str) -> Chart:
    found = report.reliability["all"]
    figure, axes = axes_of(_WIDTH, _WIDTH)
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--", linewidth=1, label="perfectly calibrated")
    at = [point.score for point in found.bins]
    _intervals(axes.vlines, at, [point.right for point in found.bins])
    # Every bin has scores, so that its share has a value.
    shares = [point.right.value or 0.0 for point in found.bins]
    axes.plot(at, shares, "o-", color=COLOURS[0], markersize=4, linewidth=1, label="labels, with n")
    for point, share in zip(found.bins, shares, strict=True):
        axes.annotate(
            f"{point.right.n}", (point.score, share), (4, -9), textcoords="offset points", fontsize=7, color=SOFT
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score", ylabel="share that was right", aspect="equal")
    axes.grid(visible=True)
    axes.legend(loc="upper left")
    caption = (
        f"Expected calibration error over all categories: {found.ece} ({found.ece.interval}, n = {found.ece.n} "
        "conversations). The lines are 95 % intervals."
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
    return Chart(f"{prefix}confusion", f"{report.name}: confusion between categories", caption, figure, wide=True)
