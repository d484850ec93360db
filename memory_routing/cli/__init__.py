"""The command `memory-routing`."""

from __future__ import annotations

import os
import sys

import typer

from memory_routing.cli import benchmark, classify, dataset, taxonomy, train
from memory_routing.cli.console import fail
from memory_routing.errors import MemoryRoutingError

__all__ = ["app", "main"]

app = typer.Typer(
    name="memory-routing",
    help="Decide what an AI assistant should remember.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.command("classify")(classify.classify)
app.command("benchmark")(benchmark.benchmark)
app.add_typer(taxonomy.app, name="taxonomy")
app.add_typer(dataset.app, name="dataset")
app.add_typer(train.app, name="train")


def main() -> None:
    """Run the command line: exit 0 for all well, 1 for some failed, 2 for a command that cannot run."""
    try:
        try:
            app(standalone_mode=True)
        except (MemoryRoutingError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            fail(str(error))
    except BrokenPipeError:
        # The reader has left, as `head` does. Nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
