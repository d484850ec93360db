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
from memory_routing.cli.console import TaxonomyOption, emit, fail, say, show_table, taxonomy_from, to_terminal
from memory_routing.cli.leaks import NOT_CHECKED, TrainOption, leakage
from memory_routing.cli.models import ModelOption, load_model
from memory_routing.comparison import Comparison, compare
from memory_routing.errors import DatasetError
from memory_routing.evaluation import evaluate
from memory_routing.files import parse_json
from memory_routing.intervals import Estimate
from memory_routing.predictions import read_predictions, score_predictions
from memory_routing.report import Report
from memory_routing.scenarios import read_scenarios
from memory_routing.stored import read_report

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
    train: TrainOption = None,
    timed: Annotated[bool, typer.Option("--timed", help="Measure latency and throughput too.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the whole report, with every result, to this JSON file; of several, to this folder."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out replace a file that is no report.")] = False,
) -> None:
    """Score a router: F1, exact and any match, by difficulty, domain and category, each with n and interval.

    With --predictions nothing is routed; where the file has several models, they are compared in pairs.

    Example: memory-routing benchmark --out report.json
    """
    if predictions is not None and (model is not None or timed):
        fail("--predictions are scored as they are: leave --model and --timed out")
    if predictions is None and taxonomy is not None:
        fail("--taxonomy goes with --predictions: a model has its own")
    router = load_model(model) if predictions is None else None
    used = taxonomy_from(taxonomy) if router is None else router.taxonomy
    chosen = marketing.benchmark() if scenarios is None else read_scenarios(scenarios, used)
    inputs = [path for path in (scenarios, predictions, train) if path is not None]
    if predictions is not None:
        read = read_predictions(predictions, used)
        targets = _targets(out, list(read), inputs, force=force)
        try:
            reports = [score_predictions(decisions, chosen, name) for name, decisions in read.items()]
        except DatasetError as error:
            fail(f"{predictions}: {error}")
        try:
            comparisons = [compare(first, second) for first, second in combinations(reports, 2)]
        except ValueError as error:
            fail(f"{scenarios or 'the packaged benchmark'}: {error}")
        leaks = leakage(train, router, chosen)
    else:
        assert router is not None  # noqa: S101 - either predictions are given or a router was loaded
        targets = _targets(out, [""], inputs, force=force)
        leaks = leakage(train, router, chosen)
        reports, comparisons = [evaluate(router, chosen, timed=timed)], []
    reports = [attrs.evolve(report, leakage=leaks) for report in reports]
    for target, report in zip(targets, reports, strict=False):
        report.write(target)
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


def _targets(out: Path | None, names: Sequence[str], inputs: Sequence[Path], *, force: bool) -> list[Path]:
    """The file of each report; leaves where that would be one to keep."""
    if out is None:
        return []
    slugs = [re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-") or "report" for name in names]
    several = len(names) > 1
    if several and out.is_file():
        fail(f"{out} is a file; name a folder for the reports of several models")
    if len(set(slugs)) < len(slugs):
        # Names that differ in their signs alone are told apart by their place.
        slugs = [f"{place}-{slug}" for place, slug in enumerate(slugs, start=1)]
    files = [out / f"{slug}.json" for slug in slugs]
    for file in files if several else [out]:
        if file.is_dir():
            fail(f"{file} is a folder; name a file for the report")
        if not file.exists():
            continue
        if any(file.samefile(given) for given in inputs):
            fail(f"{file} is read by this command; name another file for the report")
        if not force and not _is_report(file):
            fail(f"{file} exists and is no report; name another file, or replace it with --force")
    return files if several else [out]


def _is_report(file: Path) -> bool:
    try:
        read_report(parse_json(file.read_bytes()), str(file))
    except ValueError:
        return False
    return True


def _show(report: Report) -> None:
    rows = [(name, _number(e), _interval(e), str(e.n)) for name, e in report.summary.items()]
    rows += [(f"reward {name}", _number(e), _interval(e), str(e.n)) for name, e in report.rewards.items()]
    rows += [(f"labels {name}", _number(e), _interval(e), str(e.n)) for name, e in report.label_counts.items()]
    for kind in ("all", "said") if report.reliability else ():
        found = report.reliability[kind]
        told = f"calibration error, {kind} ({found.scores} scores)"
        rows.append((told, _number(found.ece), _interval(found.ece), str(found.ece.n)))
    show_table(f"{report.router} on {len(report.results)} scenarios", ("", "value", "95 % interval", "n"), rows)
    show_table(
        "each category found or not",
        ("category", "support", "precision", "recall", "F1"),
        [(name, str(s.support), *map(_whole, (s.precision, s.recall, s.f1))) for name, s in report.categories.items()],
    )
    for kind, groups in report.groups.items():
        if groups:
            show_table(
                f"scenarios by {kind}",
                (kind, "n", "F1", "exact", "any match"),
                [(name, str(g.f1.n), *map(_whole, (g.f1, g.exact, g.any_match))) for name, g in groups.items()],
            )
    if report.timing is not None:
        speed = [
            (f"{name}, ms", f"{1000 * e.value:.1f}", f"{1000 * e.low:.1f} to {1000 * e.high:.1f}", str(e.n))
            for name, e in report.timing.quantiles.items()
        ]
        batch = ("decisions a second", f"{report.timing.per_second:.0f}", "–", str(report.timing.batch))
        show_table("speed", ("", "value", "95 % interval", "n"), [*speed, batch])
    wrong = [result for result in report.results if not result.exact]
    failed = f"; {len(report.failures)} without a decision, in no score" if report.failures else ""
    say(f"{len(wrong)} of {len(report.results)} not exact{failed}; --out writes every result")
    say(NOT_CHECKED if report.leakage is None else str(report.leakage))


def _show_comparison(comparison: Comparison) -> None:
    show_table(
        f"{comparison.first} against {comparison.second}, {comparison.counted}",
        ("metric", "first", "second", "difference", "95 % interval", "wins", "ties", "losses", "test", "p"),
        [
            (
                *(d.metric, f"{d.first:.3f}", f"{d.second:.3f}", f"{d.difference.value:+.3f}", _interval(d.difference)),
                *(str(d.wins), str(d.ties), str(d.losses), d.test, f"{d.p:.2g}"),
            )
            for d in comparison.differences.values()
        ],
    )
    say(str(comparison))


def _number(estimate: Estimate) -> str:
    return "–" if estimate.n == 0 else f"{estimate.value:.3f}"


def _whole(estimate: Estimate) -> str:
    """A number with its interval, narrow enough for three beside each other."""
    return "–" if estimate.n == 0 else f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _interval(estimate: Estimate) -> str:
    return "–" if estimate.n == 0 else f"{estimate.low:.3f} to {estimate.high:.3f}"
