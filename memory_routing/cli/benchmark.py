"""`memory-routing benchmark`: score a router, or stored predictions, on scenarios."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated

import attrs
import typer

from memory_routing import marketing
from memory_routing.cli.classify import ModelOption
from memory_routing.cli.console import TaxonomyOption, emit, fail, say, show_table, taxonomy_from, to_terminal, warn
from memory_routing.comparison import Comparison, compare
from memory_routing.dataset import Dataset
from memory_routing.errors import MissingExtraError
from memory_routing.evaluation import evaluate
from memory_routing.example import Scenario
from memory_routing.intervals import Estimate
from memory_routing.leakage import Leakage, check_leakage
from memory_routing.predictions import read_predictions, score_predictions
from memory_routing.report import Report
from memory_routing.router import Router
from memory_routing.scenarios import read_scenarios
from memory_routing.taxonomy import Taxonomy

__all__ = ["benchmark"]


def benchmark(
    scenarios: Annotated[
        Path | None, typer.Argument(help="JSON or JSON lines, the published format too; the packaged 200 if left out.")
    ] = None,
    model: ModelOption = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Score these stored predictions, ours or the published form, and compare them.")
    ] = None,
    taxonomy: TaxonomyOption = None,
    train: Annotated[
        Path | None, typer.Option(help="Training data to look for leaks in; the shipped model's own if left out.")
    ] = None,
    timed: Annotated[bool, typer.Option("--timed", help="Measure latency and throughput too.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the whole report, with every result, to this JSON file; of several, to this folder."),
    ] = None,
) -> None:
    """Score a router: F1, exact and any match, by difficulty, domain and category, each with n and interval.

    With --predictions nothing is routed; where the file has several models, they are compared in pairs.

    Example: memory-routing benchmark --out report.json
    """
    if predictions is not None and (model is not None or timed):
        fail("--predictions are scored as they are: leave --model and --timed out")
    if predictions is None and taxonomy is not None:
        fail("--taxonomy goes with --predictions: a model has its own")
    router = Router.load(model) if predictions is None else None
    used = taxonomy_from(taxonomy) if router is None else router.taxonomy
    chosen = marketing.benchmark() if scenarios is None else read_scenarios(scenarios, used)
    if predictions is not None:
        read = read_predictions(predictions, used)
        reports = [score_predictions(decisions, chosen, name) for name, decisions in read.items()]
    else:
        if out is not None and out.is_dir():
            fail(f"{out} is a folder; name a file for the report")
        assert router is not None  # noqa: S101 - either predictions are given or a router was loaded
        reports = [evaluate(router, chosen, timed=timed)]
    leaks = _leakage(train, used, chosen, shipped=predictions is None and model is None)
    reports = [attrs.evolve(report, leakage=leaks) for report in reports]
    comparisons = [compare(first, second) for first, second in combinations(reports, 2)]
    if out is not None:
        _write(out, reports)
    if to_terminal():
        for report in reports:
            _show(report)
        for comparison in comparisons:
            _show_comparison(comparison)
        return
    for report in reports:
        emit({key: value for key, value in report.to_dict().items() if key != "results"})
    for comparison in comparisons:
        emit(comparison.to_dict())


def _leakage(train: Path | None, taxonomy: Taxonomy, scenarios: Sequence[Scenario], *, shipped: bool) -> Leakage | None:
    if train is None and not shipped:
        return None
    data = marketing.dataset("train") if train is None else Dataset.read(train, taxonomy)
    try:
        return check_leakage(data, scenarios)
    except MissingExtraError as error:
        warn(f"leakage is not checked: {error}")
        return None


def _write(out: Path, reports: Sequence[Report]) -> None:
    if len(reports) == 1:
        reports[0].write(out)
        return
    for report in reports:
        report.write(out / f"{re.sub(r'[^a-z0-9]+', '-', report.router.casefold()).strip('-')}.json")


def _show(report: Report) -> None:
    rows = [(name, _number(e), _interval(e), str(e.n)) for name, e in report.summary.items()]
    rows += [(f"reward {name}", _number(e), _interval(e), str(e.n)) for name, e in report.rewards.items()]
    rows += [(f"labels {name}", _number(e), _interval(e), str(e.n)) for name, e in report.label_counts.items()]
    if report.reliability:
        ece = report.reliability["all"].ece
        rows.append(("calibration error", _number(ece), _interval(ece), str(ece.n)))
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
    if report.timing is not None:
        found = report.timing.to_dict()
        speed = [(name, f"{1000 * found[name]['value']:.1f} ms") for name in ("p50", "p95", "p99")]
        show_table("speed", ("", "value"), [*speed, ("decisions a second", f"{found['per_second']:.0f}")])
    wrong = [result for result in report.results if not result.exact]
    failed = f"; {len(report.failures)} without a decision, in no score" if report.failures else ""
    say(f"{len(wrong)} of {len(report.results)} not exact{failed}; --out writes every result")
    if report.leakage is not None:
        say(str(report.leakage))


def _show_comparison(comparison: Comparison) -> None:
    show_table(
        f"{comparison.first} against {comparison.second}, n = {comparison.scenarios}",
        ("metric", "first", "second", "difference", "95 % interval", "wins", "ties", "losses", "p"),
        [
            (
                *(d.metric, f"{d.first:.3f}", f"{d.second:.3f}", f"{d.difference.value:+.3f}", _interval(d.difference)),
                *(str(d.wins), str(d.ties), str(d.losses), f"{d.p:.2g}"),
            )
            for d in comparison.differences.values()
        ],
    )
    say(str(comparison))


def _number(estimate: Estimate) -> str:
    return "–" if estimate.n == 0 else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    return "–" if estimate.n == 0 else f"{estimate.low:.3f} to {estimate.high:.3f}"
