"""`memory-routing tinker-server`: the Tinker service on one's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memory_routing.cli.console import fail

__all__ = ["tinker_server"]


def tinker_server(
    model: Annotated[
        list[str], typer.Option(help="NAME=FOLDER: a model's name for clients and its folder; may be repeated.")
    ],
    store: Annotated[Path, typer.Option(help="Folder of the checkpoints.")],
    port: Annotated[int, typer.Option(help="Port on this machine; 0 takes one that is free.", min=0, max=65535)] = 8123,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; left out, cuda where there is a GPU.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16 for base weights; left out, bfloat16 on a GPU.")
    ] = None,
    memory_gb: Annotated[float | None, typer.Option(help="For weights; left out, 80 % of the device's memory.")] = None,
    batch_tokens: Annotated[int, typer.Option(help="Tokens in the network at once in training.", min=1)] = 4096,
) -> None:
    """Serve the Tinker protocol on this machine for training and sampling. Needs the extra `server`.

    Clients need no account: any key that begins with tml- will do.

    Example: memory-routing tinker-server --model my/llama=models/llama --store checkpoints --port 8123
    """
    folders: dict[str, Path] = {}
    for entry in model:
        name, mark, folder = entry.partition("=")
        if not (name and mark and folder):
            fail(f"--model {entry}: write NAME=FOLDER, such as my/llama=models/llama")
        if name in folders:
            fail(f"--model names {name} twice: give each model a name of its own")
        if not Path(folder).is_dir():
            fail(f"--model {entry}: there is no folder {folder}")
        folders[name] = Path(folder)
    from memory_routing.server import ServerConfig, serve

    try:
        config = ServerConfig(
            folders, store, device=device, dtype=dtype, memory_gb=memory_gb, batch_tokens=batch_tokens
        )
    except ValueError as error:
        fail(str(error.args[0]))
    try:
        serve(config, port)
    except KeyboardInterrupt:
        return
