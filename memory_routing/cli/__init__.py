"""The command `memory-routing`."""

from __future__ import annotations

import os
import sys

import typer

from memory_routing.cli import (
    benchmark,
    classify,
    dataset,
    export,
    generate,
    publish,
    ready,
    report,
    server,
    taxonomy,
    train,
    watch,
)
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
app.command("generate")(generate.generate)
app.command("export")(export.export)
app.command("watch")(watch.watch)
app.command("report")(report.report)
app.command("ready")(ready.ready)
app.command("publish")(publish.publish)
app.command("tinker-server")(server.tinker_server)
app.add_typer(taxonomy.app, name="taxonomy")
app.add_typer(dataset.app, name="dataset")
app.add_typer(train.app, name="train")


def _in_words(error: OSError) -> str:
    """What the system said of a file, with the remedy."""
    remedies = {
        FileNotFoundError: "there is no such file; check the path",
        IsADirectoryError: "is a folder; name a file",
        NotADirectoryError: "is a file; name a folder",
        FileExistsError: "is a file; name a folder",
        PermissionError: "may not be used by you; change its permissions or name another",
    }
    name = error.filename2 or error.filename
    return f"{name}: {remedies.get(type(error), error.strerror)}" if name else str(error)


def main() -> None:
    """Run the command line: exit 0 for all well, 1 for some failed, 2 for a command that cannot run."""
    try:
        try:
            app(standalone_mode=True)
        except MemoryRoutingError as error:
            fail(str(error))
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            fail(_in_words(error))
    except BrokenPipeError:
        # The reader has left, as `head` does. Nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
