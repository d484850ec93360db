"""`memory-routing train`."""

from __future__ import annotations

import typer

__all__ = ["app"]

app = typer.Typer(help="Train a router.", no_args_is_help=True, rich_markup_mode=None)
