"""`memory-routing benchmark`: score a router on scenarios."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memory_routing import marketing
from memory_routing.cli.classify import ModelOption
from memory_routing.cli.console import emit, fail, say, show_table, to_terminal
from memory_routing.evaluation import Report, evaluate
from memory_routing.intervals import Estimate
from memory_routing.router import Router
from memory_routing.scenarios import read_scenarios

__all__ = ["benchmark"]


def benchmark(
    scenarios: Annotated[
        Path | None, typer.Argument(help="JSON or JSON lines, the published format too; the packaged 200 if left out.")
    ] = None,
    model: ModelOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the whole report, with every result, to this JSON file.")
    ] = None,
) -> None:
    """Score a router: F1, exact and any match, by difficulty, domain and category, each with n and interval.

    Example: memory-routing benchmark --out report.json
    """
    router = Router.load(model)
    chosen = marketing.benchmark() if scenarios is None else read_scenarios(scenarios, router.taxonomy)
    if out is not None and out.is_dir():
        fail(f"{out} is a folder; name a file for the report")
    report = evaluate(router, chosen)
    if out is not None:
        report.write(out)
    if to_terminal():
        _show(report)
    else:
        emit({key: value for key, value in report.to_dict().items() if key != "results"})


def _show(report: Report) -> None:
    rows = [(name, _number(e), _interval(e), str(e.n)) for name, e in report.summary.items()]
    show_table(f"{report.router} on {len(report.results)} scenarios", ("", "value", "95 % interval", "n"), rows)
    show_table(
        "each category found or not",
        ("category", "support", "precision", "recall", "F1", "95 % interval"),
        [
            (name, str(s.support), _number(s.precision), _number(s.recall), _number(s.f1), _interval(s.f1))
            for name, s in report.categories.items()
        ],
    )
    for kind, groups in report.groups.items():
        if groups:
            show_table(
                f"scenarios by {kind}",
                (kind, "n", "F1", "95 % interval", "exact", "95 % interval ", "any match"),
                [
                    (
                        *(name, str(g.f1.n), _number(g.f1), _interval(g.f1)),
                        *(_number(g.exact), _interval(g.exact), _number(g.any_match)),
                    )
                    for name, g in groups.items()
                ],
            )
    wrong = [result for result in report.results if not result.exact]
    say(f"{len(wrong)} of {len(report.results)} not exact; --out writes every result")


def _number(estimate: Estimate) -> str:
    return "–" if estimate.n == 0 else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    return "–" if estimate.n == 0 else f"{estimate.low:.3f} to {estimate.high:.3f}"
