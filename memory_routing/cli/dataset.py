"""`memory-routing dataset`: check, count and split labelled conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
import typer

from memory_routing.cli.console import TaxonomyOption, emit, fail, say, show_table, taxonomy_from, to_terminal
from memory_routing.dataset import Dataset
from memory_routing.dataset_stats import Spread, dataset_stats
from memory_routing.duplicates import DEFAULT_SIMILARITY, Pair, find_duplicates, find_leaks
from memory_routing.scenarios import read_scenarios
from memory_routing.taxonomy import Taxonomy

__all__ = ["app"]

app = typer.Typer(help="Check, count and split labelled conversations.", no_args_is_help=True, rich_markup_mode=None)

FilesArgument = Annotated[list[Path], typer.Argument(help="JSON lines in the published schema (.gz too).")]


@app.command()
def check(
    files: FilesArgument,
    taxonomy: TaxonomyOption = None,
    against: Annotated[Path | None, typer.Option(help="Benchmark that must not share text with the files.")] = None,
    similarity: Annotated[float, typer.Option(help="Jaccard similarity from which text counts as shared.")] = (
        DEFAULT_SIMILARITY
    ),
) -> None:
    """Find bad lines, duplicates, contradictions and leaks: exit 0 if there are none, 1 if there are.

    Nearly equal conversations with different labels are contrast pairs: counted, no fault. The extra `data`
    is needed.

    Example: memory-routing dataset check conversations.jsonl --against benchmark.jsonl
    """
    if not 0 < similarity <= 1:
        fail(f"--similarity must lie above 0 and at most at 1, not {similarity}")
    used = taxonomy_from(taxonomy)
    whole = Dataset(used, ())
    faults: list[tuple[str, str]] = []
    for file in files:
        scan = Dataset.scan(file, used)
        if not len(scan.dataset) and not scan.bad_lines:
            fail(f"{file}: no examples in it")
        whole += scan.dataset
        place = f"{file}: " if len(files) > 1 else ""
        faults += [("bad line", f"{place}{line}") for line in scan.bad_lines]
    copies = find_duplicates(whole, similarity)
    leaks = find_leaks(whole, read_scenarios(against, used), similarity) if against else None
    faults += [("contradiction", _pair(pair)) for pair in copies.conflicts]
    faults += [("duplicate", _pair(pair)) for pair in copies.redundant]
    faults += [("leak", _pair(pair)) for pair in (*leaks.exact, *leaks.near)] if leaks else []
    if to_terminal():
        if faults:
            show_table("faults", ("fault", "where"), faults)
        say(f"{len(whole)} examples read, {len(copies.contrasts)} contrast pairs, {len(faults)} faults")
    else:
        for fault, where in faults:
            emit({"fault": fault, "where": where})
        emit({"examples": len(whole), "contrast_pairs": len(copies.contrasts), "faults": len(faults)})
    if faults:
        raise typer.Exit(1)


@app.command()
def stats(files: FilesArgument, taxonomy: TaxonomyOption = None) -> None:
    """Show balance, lengths and the commonest label pairs.

    Example: memory-routing dataset stats conversations.jsonl
    """
    used = taxonomy_from(taxonomy)
    whole = Dataset(used, ())
    for file in files:
        whole += _read(file, used)
    counted = dataset_stats(whole)
    if not to_terminal():
        emit(counted.to_dict())
        return
    total = max(counted.examples, 1)
    show_table(
        f"{counted.examples} examples, {counted.with_evidence} with evidence, {counted.groups} contrast groups",
        ("category", "examples", "share"),
        [(name, str(n), f"{n / total:.1%}") for name, n in counted.categories.items()],
    )
    lengths: list[tuple[str, Spread]] = [("turns", counted.turns), ("words", counted.words)]
    show_table(
        "lengths",
        ("", "min", "5 %", "median", "95 %", "max"),
        [(name, *(f"{value:g}" for value in attrs.astuple(spread))) for name, spread in lengths],
    )
    show_table("labels", ("labels", "examples"), [(str(k), str(n)) for k, n in counted.label_counts.items()])
    pairs = list(counted.pairs.items())[:10]
    show_table("commonest pairs", ("pair", "examples"), [(f"{a} + {b}", str(n)) for (a, b), n in pairs])


@app.command()
def split(
    files: Annotated[list[Path], typer.Argument(help="JSON lines files; each is a stratum of its own.")],
    out: Annotated[Path, typer.Option(help="Folder for train.jsonl.gz and validation.jsonl.gz.")],
    fraction: Annotated[float, typer.Option(help="Share of each file for validation.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Another seed gives another split.")] = 0,
    taxonomy: TaxonomyOption = None,
) -> None:
    """Split into training and validation, with contrast groups kept together.

    Example: memory-routing dataset split part-*.jsonl --out data
    """
    if not 0 < fraction < 1:
        fail(f"--fraction must lie between 0 and 1, not {fraction}")
    used = taxonomy_from(taxonomy)
    whole = Dataset(used, ())
    for file in sorted(files):
        part = file.name.split(".")[0]
        examples = _read(file, used)
        whole += Dataset(used, tuple(attrs.evolve(e, metadata={**e.metadata, "part": part}) for e in examples))
    train, validation = whole.split(fraction, stratum=lambda example: str(example.metadata["part"]), seed=seed)
    train.write(out / "train.jsonl.gz")
    validation.write(out / "validation.jsonl.gz")
    counts = {"train": len(train), "validation": len(validation), "files": len(files), "hash": whole.hash}
    if to_terminal():
        say(f"{len(train)} for training and {len(validation)} for validation written to {out}")
    else:
        emit(counts)


def _read(file: Path, taxonomy: Taxonomy) -> Dataset:
    dataset = Dataset.read(file, taxonomy)
    if not len(dataset):
        fail(f"{file}: no examples in it")
    return dataset


def _pair(pair: Pair) -> str:
    names = (name or str(place) for name, place in zip(pair.ids, (pair.first, pair.second), strict=True))
    return f"{' and '.join(names)} (similarity {pair.similarity:.2f})"
