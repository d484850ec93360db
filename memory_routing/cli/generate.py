"""`memory-routing generate`: have a teacher write labelled conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memory_routing.cli.console import (
    TaxonomyOption,
    emit,
    fail,
    prices_from,
    say,
    show_table,
    taxonomy_from,
    to_terminal,
)
from memory_routing.example import Scenario
from memory_routing.frozen import plain
from memory_routing.scenarios import read_scenarios
from memory_routing.taxonomy import Taxonomy

if TYPE_CHECKING:
    from memory_routing.generation import Forecast, Generation, Plan

__all__ = ["generate"]


def generate(
    n: Annotated[int, typer.Option("--n", help="Conversations to plan.", min=1)],
    out: Annotated[Path, typer.Option(help="Folder of the run; one that was stopped goes on there.")],
    taxonomy: TaxonomyOption = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another plan.")] = 0,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Conversations with a category, or with none, as NAME=COUNT; several times."),
    ] = None,
    multi: Annotated[float, typer.Option(help="Share of the labelled conversations with several labels.")] = 0.25,
    turns: Annotated[tuple[int, int], typer.Option(help="Turns of a conversation, at least and at most.")] = (1, 10),
    pools: Annotated[Path | None, typer.Option(help="Industries, roles, situations… to draw from (TOML).")] = None,
    guide: Annotated[Path | None, typer.Option(help="Text that tells how the taxonomy is labelled.")] = None,
    benchmark: Annotated[
        list[Path] | None,
        typer.Option(help="Scenarios that no conversation may share text with; the packaged ones for marketing."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Any chat model of Cohere's.")] = None,
    surplus: Annotated[
        float, typer.Option(help="How far labels that nobody asked for may take a category above its plan.", min=0)
    ] = 0.2,
    name_words: Annotated[
        bool, typer.Option("--name-words/--no-name-words", help="Refuse names of categories written as words, too.")
    ] = True,
    keep: Annotated[
        str, typer.Option(help="superset: keep conversations with more labels than asked for; exact: do not.")
    ] = "superset",
    attempts: Annotated[int, typer.Option(help="Conversations written for a brief at most.", min=1)] = 5,
    concurrency: Annotated[int, typer.Option(help="Calls at a time.", min=1)] = 16,
    per_minute: Annotated[int | None, typer.Option(help="Calls in a minute at most.", min=1)] = None,
    budget: Annotated[float | None, typer.Option(help="USD; the run stops before it.", min=0)] = None,
    prices: Annotated[str | None, typer.Option(help="USD for a million tokens: INPUT,OUTPUT.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of the service; Cohere's if left out.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and what it would cost; send nothing.")
    ] = False,
) -> None:
    """Plan conversations, have a model of Cohere's write and label them, and keep those that pass the checks.

    Needs the extra `cohere` and a key in COHERE_API_KEY. OUT/dataset.jsonl is what `train local --train` takes,
    OUT/report.html says how good it is. Exit 0 if the plan is done, 1 if it stopped before.

    Example: memory-routing generate --n 2000 --out runs/data --dry-run
    """
    used = taxonomy_from(taxonomy)
    from memory_routing.cohere import CohereTeacher
    from memory_routing.generation import Gate, GenerationConfig, Pools, Prices, forecast, generate_dataset, plan

    named = None if prices is None else Prices(*prices_from(prices, ("input", "output"), "2.50,10.00"))
    if turns[0] > turns[1]:
        fail("--turns takes the least and the most, as in --turns 1 10")
    briefs = plan(
        used,
        n,
        seed=seed,
        targets=_targets(target or []),
        multi=multi,
        turns=range(turns[0], turns[1] + 1),
        pools=Pools.load(pools, used),
    )
    settings: dict[str, Any] = {"keep": keep, "attempts": attempts, "concurrency": concurrency, "surplus": surplus}
    try:
        config = GenerationConfig(**settings, per_minute=per_minute, gate=Gate(name_words=name_words))
    except ValueError:
        fail(f"--keep takes exact or superset, not {keep}")
    told: dict[str, Any] = {} if model is None else {"model": model}
    teacher = CohereTeacher(
        used,
        guide=None if guide is None else _guide(guide),
        prices=named,
        base_url=base_url,
        **told,
    )
    _show_plan(briefs, forecast(teacher, briefs, config))
    if dry_run:
        return
    try:
        made = generate_dataset(teacher, briefs, out, config, benchmarks=_benchmarks(benchmark, used), budget=budget)
    except KeyboardInterrupt:
        fail(f"stopped; the same command goes on in {out}, and asks for no answer twice", 130)
    _show(made, out)
    if made.stopped is not None:
        fail(f"{made.stopped}. The same command goes on from here", 1)


def _targets(values: Sequence[str]) -> dict[str, int]:
    targets: dict[str, int] = {}
    for value in values:
        name, _, count = value.partition("=")
        if not count.isdigit():
            fail(f"--target takes NAME=COUNT, as in company.tools_config=120, not {value!r}")
        if targets.setdefault(name, int(count)) != int(count):
            fail(f"--target names {name} twice, with {targets[name]} and {count}")
    return targets


def _guide(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        fail(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8")


def _benchmarks(paths: Sequence[Path] | None, taxonomy: Taxonomy) -> list[Scenario] | None:
    return [scenario for path in paths for scenario in read_scenarios(path, taxonomy)] if paths else None


def _show_plan(briefs: Plan, found: Forecast) -> None:
    if not to_terminal():
        emit({"plan": briefs.balance, "forecast": plain(found)})
        return
    show_table(
        f"{len(briefs)} conversations planned",
        ("category", "conversations"),
        [(k, str(v)) for k, v in briefs.balance.items()],
    )
    usd = "unknown: give --prices" if found.usd is None else f"{found.usd:.2f} USD, {found.usd_at_most:.2f} USD at most"
    show_table(
        "forecast",
        ("", "value"),
        [
            ("conversations written", f"{found.conversations:,}"),
            ("calls", f"{found.calls:,}"),
            ("kept of what is written (assumed)", f"{found.kept:.0%}"),
            ("tokens in", f"{found.usage.input_tokens:,}"),
            ("tokens out", f"{found.usage.output_tokens:,}"),
            ("cost", usd),
            ("time", f"{found.seconds / 60:.1f} min"),
        ],
    )


def _show(made: Generation, out: Path) -> None:
    if not to_terminal():
        emit(
            {
                "kept": len(made.dataset),
                "stopped": made.stopped,
                "dataset": str(out / "dataset.jsonl"),
                "usd": made.report.usd,
            }
        )
        return
    say(made.report.to_text())
    say(f"{len(made.dataset)} conversations: {out / 'dataset.jsonl'}; report: {out / 'report.html'}")
