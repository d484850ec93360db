"""The model that a command works with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memory_routing.router import Router

__all__ = ["ModelOption", "load_model"]

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="Model folder, export of a language model, or hub:organisation/name; the shipped model if left out.",
    ),
]


def load_model(model: Path | None) -> Router:
    """The router of a `ModelOption`."""
    if model is None:
        return Router.load()
    from memory_routing.published import load_router

    # A name comes as a path.
    name = model.as_posix()
    if name.startswith("hub:"):
        from memory_routing.hub import fetch

        model = fetch(name.removeprefix("hub:"))
    return load_router(model)
