"""The process that serves."""

from __future__ import annotations

import os
import socket
import sys
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from transformers.utils import logging as transformers_logging

from memory_routing.errors import TrainingError
from memory_routing.server.app import create_app
from memory_routing.server.config import ServerConfig

__all__ = ["HOST", "Server", "listen", "serve"]

_LAST_JOB: Final = 2.0
"""Seconds that the job at hand is given when the service is stopped."""
HOST: Final = "127.0.0.1"
"""The service knows no accounts, so that nobody but this machine may reach it."""


class Server(uvicorn.Server):
    """Serves an application until it is told to stop, and tells waiting clients so."""

    def __init__(self, app: FastAPI) -> None:
        # Connections stay open between the requests of a long step: a client that finds one closed has to try again.
        super().__init__(uvicorn.Config(app, log_level="warning", access_log=False, timeout_keep_alive=600))
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at a signal."""
        self._app.state.service.close()
        super().handle_exit(sig, frame)


def listen(port: int) -> socket.socket:
    """A socket on this machine; port 0 takes any that is free. Raises `TrainingError` for a port that is taken."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if sys.platform != "win32":
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        # From here on clients wait in line rather than being turned away.
        found.listen(2048)
    except OSError as error:
        found.close()
        raise TrainingError(f"port {port} cannot be used ({error.strerror}): name another with --port") from None
    return found


def serve(config: ServerConfig, port: int) -> None:
    """Serve on this machine until a signal. Raises what `create_app` and `listen` raise."""
    transformers_logging.disable_progress_bar()
    with listen(port) as found:
        app = create_app(config)
        bases = app.state.service.bases
        address = f"http://{HOST}:{found.getsockname()[1]}"
        print(  # noqa: T201
            f"serving {', '.join(bases.folders)} at {address} ({bases.device}, {bases.dtype}), "
            f"checkpoints in {config.store}",
            file=sys.stderr,
            flush=True,
        )
        try:
            Server(app).run(sockets=[found])
        finally:
            if not app.state.service.worker.join(_LAST_JOB):
                # A thread inside torch makes the interpreter abort at its end. What the store holds is whole.
                sys.stderr.flush()
                os._exit(0)
