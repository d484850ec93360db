"""`memory-routing publish`: a model with its card and its report, on a model hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from memory_routing.card import model_card
from memory_routing.claims import read_report
from memory_routing.cli.console import emit, fail, say, to_terminal
from memory_routing.hub import check_publishable, save_pretrained
from memory_routing.hub import publish as send

__all__ = ["publish"]


def publish(
    model: Annotated[Path, typer.Argument(help="Model folder, as a run of `memory-routing train local` has it.")],
    to: Annotated[str, typer.Option(help="Repository: organisation/name.")],
    report: Annotated[Path, typer.Option(help="Report of this model, by `memory-routing benchmark --model --out`.")],
    run: Annotated[Path | None, typer.Option(help="Run folder that the model comes from.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep what is published in this folder.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a repository that is created.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and send nothing.")] = False,
) -> None:
    """Publish a model with a card made of its report. The key is read from HF_TOKEN. Needs the extra `hub`.

    Refused where weights are missing or damaged, or the report is not of this model.

    Example: memory-routing publish runs/router/model --to org/name --report report.json --run runs/router
    """
    if out is not None and out.exists() and any(out.iterdir()):
        fail(f"{out} is not empty; name a new folder")
    found = read_report(report)
    card = model_card(model, found, run)
    with tempfile.TemporaryDirectory() as place:
        folder = save_pretrained(model, place if out is None else out, card, found)
        if dry_run:
            sizes = check_publishable(folder)
            _tell({"to": to, "dry_run": True, "files": sizes}, f"nothing is sent; {to} would get {_listed(sizes)}")
            return
        address = send(folder, to, private=not public)
    _tell({"to": to, "commit": address}, f'published: {address}\nload it: Router.load("hub:{to}")')


def _tell(value: dict[str, object], text: str) -> None:
    if to_terminal():
        say(text)
    else:
        emit(value)


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in sizes.items())
