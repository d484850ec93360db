"""`memory-routing report`: a page of results and training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memory_routing.cli.console import emit, fail, say, to_terminal, warn

__all__ = ["report"]


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_RESULTS...",
            help="Reports of `benchmark --out`, run folders of `train`, or folders with the original project's logs.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page, one HTML file that needs nothing else.")] = Path("report.html"),
    png: Annotated[
        Path | None, typer.Option(help="Folder that takes each chart as a PNG file; the page's name with -charts.")
    ] = None,
    page_only: Annotated[bool, typer.Option("--page-only", help="Write no PNG files.")] = False,
) -> None:
    """Write one page of results and training runs (numbers, comparisons, charts, every scenario) and the charts as PNG.

    Needs the extra `report`. Everything is drawn from the files named; a chart whose numbers they lack is left out.

    Example: memory-routing report report.json runs/llama --out report.html
    """
    if out.is_dir():
        fail(f"{out} is a folder; name a file for the page")
    if png is not None and page_only:
        fail("--png names a folder for charts, and --page-only asks for none: give one of the two")
    png = None if page_only else png or out.with_name(f"{out.stem}-charts")
    if png is not None and png.exists() and not png.is_dir():
        fail(f"{png} is a file; name a folder for the charts")
    for source in sources:
        if out.resolve() == source.resolve() or (source.is_dir() and out.resolve().is_relative_to(source.resolve())):
            fail(f"{out} is a source of the page, or lies in one: name another file")
    from memory_routing.pages import Page, read_sources, stale_charts

    page = Page(read_sources(sources))
    page.write(out, png)
    charts = [chart.name for chart in page.charts]
    if png is not None and (stale := stale_charts(png, charts)):
        warn(f"{png} still has charts of another call: {', '.join(stale)}; delete what you do not need")
    if to_terminal():
        say(f"{out}: {len(charts)} charts" + ("" if png is None else f", also in {png}"))
    else:
        emit({"page": str(out), "charts": charts, "png": None if png is None else str(png)})
