"""The local Tinker service, started for a test: as a process of its own, or in a thread of this one."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import tinker

KEY = "tml-local"
WAIT = 120.0


@attrs.frozen
class Process:
    """A server in a process of its own, and where it answers."""

    url: str
    process: subprocess.Popen[str]

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(WAIT)


@contextlib.contextmanager
def running(name: str, folder: Path, store: Path, *options: str, port: int = 0) -> Iterator[Process]:
    """The command, on a free port unless one is named; it is interrupted at the end and must leave cleanly."""
    arguments = ["--model", f"{name}={folder}", "--store", str(store), "--port", str(port), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TINKER_TELEMETRY": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "memory_routing", "tinker-server", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"at (http://127\.0\.0\.1:\d+) ", line)
        assert found, line + process.stderr.read()
        yield Process(found[1], process)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT) == 0
            assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait(WAIT)
        process.stderr.close()


@contextlib.contextmanager
def threaded(
    name: str, folder: Path, store: Path, *, wrap: Callable[[Any], Any] | None = None, **options: Any
) -> Iterator[str]:
    """The address of a service in a thread; `wrap` puts a layer of its own around the ASGI application."""
    from memory_routing.server import ServerConfig, create_app
    from memory_routing.server.serving import HOST, Server, listen

    app = create_app(ServerConfig({name: folder}, store, device="cpu", **options))
    with listen(0) as found:
        server = Server(app)
        if wrap is not None:
            server.config.app = wrap(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [found]}, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{found.getsockname()[1]}"
        finally:
            app.state.service.close()
            server.should_exit = True
            thread.join(WAIT)
            app.state.service.worker.join(WAIT)


@contextlib.contextmanager
def connected(url: str) -> Iterator[tinker.ServiceClient]:
    """A client of the SDK, which ends its session at the end."""
    client = tinker.ServiceClient(base_url=url, api_key=KEY)
    try:
        yield client
    finally:
        client.close("success").result(WAIT)


def sweep() -> None:
    """Collect what the SDK left open, here, where nobody takes its warnings for ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
