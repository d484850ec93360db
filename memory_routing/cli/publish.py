"""`memory-routing publish`: a model with its card and its report, on a model hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import attrs
import typer

from memory_routing import stored
from memory_routing.card import CardDetails, model_card, on_packaged_benchmark
from memory_routing.claims import read_report
from memory_routing.cli.console import emit, fail, say, to_terminal
from memory_routing.comparison import Comparison, compare_stored
from memory_routing.hub import check_publishable, check_repository, save_pretrained
from memory_routing.hub import publish as send
from memory_routing.published import loaded_by

__all__ = ["publish"]


def publish(
    model: Annotated[Path, typer.Argument(help="Model folder of a run, or an export of a language model.")],
    to: Annotated[str, typer.Option(help="Repository: organisation/name.")],
    report: Annotated[Path, typer.Option(help="Report of this model, by `memory-routing benchmark --model --out`.")],
    run: Annotated[Path | None, typer.Option(help="Run folder that the model comes from.")] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Report of another router on the same scenarios, to be compared with.")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Base model's folder, of an adapter that was trained on it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name on the card; that of the repository if left out.")] = None,
    authors: Annotated[str | None, typer.Option(help="Who made the model.")] = None,
    licence: Annotated[str | None, typer.Option("--license", help="Licence of the model, as Apache-2.0.")] = None,
    base_license: Annotated[str | None, typer.Option(help="Licence of the base model.")] = None,
    data: Annotated[str | None, typer.Option(help="What the training data are, in a sentence.")] = None,
    data_license: Annotated[str | None, typer.Option(help="Licence of the training data.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the training data, as en.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep what is published in this folder.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a repository that is created.")] = False,
    with_conversations: Annotated[
        bool, typer.Option("--with-conversations", help="Yes, --public shows all conversations of the report too.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a repository of something else.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and send nothing.")] = False,
) -> None:
    """Publish a model with a card made of its report. The key is read from HF_TOKEN. Needs the extra `hub`.

    Refused where weights are missing or damaged, or the report is not of this model. The report goes with the model:
    it has every conversation that the model was measured on.

    Example: memory-routing publish runs/router/model --to org/name --report report.json --run runs/router
    """
    check_repository(to)
    if out is not None and out.exists() and any(out.iterdir()):
        fail(f"{out} is not empty; name a new folder")
    found = read_report(report)
    held = len(found["results"])
    if public and not with_conversations and not on_packaged_benchmark(found):
        fail(f"{report} has {held} conversations in full, which --public would show to everybody; "
             "say --with-conversations if they may be seen")  # fmt: skip
    details = CardDetails(
        name=name,
        repository=to,
        authors=authors,
        license=licence,
        base_license=base_license,
        data=data,
        data_license=data_license,
        language=language,
    )
    comparisons = [_comparison(report, other) for other in against or ()]
    card = model_card(model, found, run, comparisons, details)
    with tempfile.TemporaryDirectory() as place:
        folder = save_pretrained(model, place if out is None else out, card, found)
        if dry_run:
            sizes = check_publishable(folder, base)
            told = f"nothing is sent; {to} would get {_listed(sizes)}; the report has {held} conversations in full"
            _tell({"to": to, "dry_run": True, "files": sizes, "conversations": held}, told)
            return
        address = send(folder, to, private=not public, replace=replace, base=base)
    _tell({"to": to, "commit": address}, f"published: {address}\nload it: {loaded_by(model, to)}")


def _comparison(own: Path, other: Path) -> Comparison:
    first, second = (stored.read_report(read_report(path), str(path)) for path in (own, other))
    if second.router == first.router:
        second = attrs.evolve(second, name=f"{second.router} ({other.stem})")
    try:
        return compare_stored(first, second)
    except ValueError as error:
        fail(f"{own} and {other}: {error}")


def _tell(value: dict[str, object], text: str) -> None:
    if to_terminal():
        say(text)
    else:
        emit(value)


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in sizes.items())
