"""Reports and runs as one self-contained page: nothing to fetch, for light and dark, for desk and phone."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Final

import attrs
from jinja2 import Environment, StrictUndefined

from memory_routing.drawing import PNG_MARK, Chart, clean, style
from memory_routing.files import write_whole
from memory_routing.pages.charts import METRICS, comparison_charts, report_charts
from memory_routing.pages.curves import run_charts
from memory_routing.pages.pairs import chance, pairs
from memory_routing.pages.scenarios import WENT_WRONG, entries
from memory_routing.pages.sources import Sources
from memory_routing.stored import NAMES, Number, StoredReport

__all__ = ["Page", "stale_charts"]

_HEAD: Final = 1000
"""Bytes that a PNG file has its notes in."""
_QUANTILES: Final = {"p50": "median", "p95": "95th percentile", "p99": "99th percentile"}


@attrs.frozen
class Page:
    """What a page shows, and what is drawn for it."""

    sources: Sources

    @cached_property
    def comparison_charts(self) -> tuple[Chart, ...]:
        """The charts with all reports in one."""
        with style():
            return tuple(comparison_charts(self.sources.reports))

    @cached_property
    def report_charts(self) -> tuple[tuple[Chart, ...], ...]:
        """The charts of each report."""
        with style():
            reports = self.sources.reports
            return tuple(tuple(report_charts(r, _prefix(i, r.name, reports))) for i, r in enumerate(reports))

    @cached_property
    def run_charts(self) -> tuple[tuple[Chart, ...], ...]:
        """The charts of each run."""
        with style():
            runs = self.sources.runs
            return tuple(tuple(run_charts(run, _prefix(i, run.name, runs))) for i, run in enumerate(runs))

    @property
    def charts(self) -> list[Chart]:
        """Every chart, in the order of the page."""
        return [*self.comparison_charts, *(c for group in (*self.report_charts, *self.run_charts) for c in group)]

    def html(self) -> str:
        """The page. The same sources give the same text, in every process."""
        folder = files("memory_routing.pages")
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters.update(figure=_figure)
        script = folder.joinpath("report.js").read_text("utf-8")
        reports = self.sources.reports
        found = pairs(reports)
        text = environment.from_string(folder.joinpath("report.html.jinja").read_text("utf-8")).render(
            page=self,
            reports=reports,
            headline=list(_headline(reports)),
            pairs=found,
            chance=chance(found),
            metrics=METRICS,
            went_wrong=WENT_WRONG,
            categories=_categories(reports),
            entries=[entry for i, report in enumerate(reports) for entry in entries(report, i)],
            script=script,
            # No other script runs, whatever a text holds.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
        return clean(text)

    def write(self, path: str | Path, png: str | Path | None = None) -> list[Path]:
        """Write the page, and before it a PNG file of each chart to a folder; returns what was written."""
        content = {} if png is None else {Path(png) / f"{chart.name}.png": chart.png() for chart in self.charts}
        # Last, so that a folder that cannot be written leaves an earlier page as it was.
        content[Path(path)] = self.html().encode()
        for name, data in content.items():
            write_whole(name, data)
        return list(content)


def stale_charts(folder: str | Path, names: Sequence[str]) -> list[str]:
    """Files of a folder that hold charts of pages, but none of these names."""
    others = (path for path in sorted(Path(folder).glob("*.png")) if path.stem not in names)
    return [path.name for path in others if PNG_MARK in path.read_bytes()[:_HEAD]]


def _prefix(place: int, name: str, of: Sequence[object]) -> str:
    """What begins the names of the charts of one of several."""
    if len(of) == 1:
        return ""
    return f"{place + 1}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')[:40]}-"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


@attrs.frozen
class _Row:
    """A number of every report."""

    name: str
    cells: tuple[Number | None, ...]
    milliseconds: bool = False


def _headline(reports: Sequence[StoredReport]) -> Iterator[_Row]:
    for key in dict.fromkeys(key for report in reports for key in report.summary):
        yield _Row(NAMES.get(key, key.replace("_", " ")), tuple(report.summary.get(key) for report in reports))
    for kind, name in (("rewards", "mean reward"), ("label_counts", "labels of a scenario")):
        for key in dict.fromkeys(key for report in reports for key in getattr(report, kind)):
            yield _Row(f"{name}, {key}", tuple(getattr(report, kind).get(key) for report in reports))
    if any(report.timing for report in reports):
        for key, name in _QUANTILES.items():
            cells = tuple(None if report.timing is None else getattr(report.timing, key) for report in reports)
            yield _Row(f"one decision, {name}", cells, milliseconds=True)


def _categories(reports: Sequence[StoredReport]) -> list[str]:
    """Every category that a scenario may be filtered by."""
    known = [name for report in reports for name in report.categories]
    seen = [name for report in reports for r in report.results or () for name in (*r.gold, *r.predicted)]
    return list(dict.fromkeys([*known, *seen]))
