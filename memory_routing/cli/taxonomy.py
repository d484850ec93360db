"""`memory-routing taxonomy`: show, check and compare taxonomies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memory_routing.cli.console import TaxonomyOption, emit, say, show_table, taxonomy_from, to_terminal
from memory_routing.taxonomy import Taxonomy

__all__ = ["app"]

app = typer.Typer(help="Show, check and compare taxonomies.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def show(taxonomy: TaxonomyOption = None) -> None:
    """Show the categories, their horizons and lifetimes.

    Example: memory-routing taxonomy show
    """
    shown = taxonomy_from(taxonomy)
    rows = [
        (c.name, c.horizon.value, "no end" if c.lifetime is None else f"{c.lifetime.days} days", c.description)
        for c in shown
    ]
    if to_terminal():
        show_table(f"{shown.name} {shown.version}", ("category", "horizon", "lifetime", "stores"), rows)
        say(f"hash {shown.hash}")
        return
    for category in shown:
        emit(
            {
                "category": category.name,
                "scope": category.scope,
                "horizon": category.horizon.value,
                "lifetime_days": None if category.lifetime is None else category.lifetime.days,
                "description": category.description,
            }
        )


@app.command()
def check(file: Annotated[Path, typer.Argument(help="Taxonomy file (TOML).")]) -> None:
    """Check a taxonomy file: exit 0 if it can be used, 2 with every mistake in it if not.

    Example: memory-routing taxonomy check my_taxonomy.toml
    """
    checked = Taxonomy.load(file)
    summary = {"name": checked.name, "version": checked.version, "categories": len(checked), "hash": checked.hash}
    if to_terminal():
        say(f"{checked.name} {checked.version}: {len(checked)} categories, hash {checked.hash}")
    else:
        emit(summary)


@app.command()
def diff(
    older: Annotated[Path, typer.Argument(help="Taxonomy file (TOML).")],
    newer: Annotated[Path, typer.Argument(help="A later version of it.")],
) -> None:
    """Show what changed between two versions: exit 0 if nothing did, 1 if something did.

    Example: memory-routing taxonomy diff v1.toml v2.toml
    """
    before, after = Taxonomy.load(older), Taxonomy.load(newer)
    changes = before.diff(after)
    if to_terminal():
        say(str(changes))
    else:
        emit(
            {
                "added": list(changes.added),
                "removed": list(changes.removed),
                "changed": {name: list(lines) for name, lines in changes.changed.items()},
                "reordered": changes.reordered,
            }
        )
    if before.categories != after.categories:
        raise typer.Exit(1)
