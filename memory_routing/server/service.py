"""The service without its HTTP: who is connected, what is in memory, and what was promised."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from memory_routing.errors import MemoryRoutingError, TrainingError
from memory_routing.server.bases import Bases, choose_device
from memory_routing.server.checkpoints import Store
from memory_routing.server.config import ServerConfig
from memory_routing.server.promises import Promise, Promises
from memory_routing.server.refusal import Refused
from memory_routing.server.samplers import Samplers
from memory_routing.server.sessions import Sessions
from memory_routing.server.training import Training
from memory_routing.server.worker import Worker

__all__ = ["Service", "failure"]

_log = logging.getLogger(__name__)


class Service:
    """Everything behind the endpoints. Raises `ModelError` or `TrainingError` for what it cannot serve with.

    All but the worker's jobs runs on the event loop, so that nothing comes between a look and a change.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.bases = Bases(config.models, choose_device(config.device), config.dtype, config.memory_gb)
        try:
            self.store = Store(config.store)
        except OSError as error:
            raise TrainingError(
                f"checkpoints cannot be stored in {config.store} ({error.strerror}): name another folder with --store"
            ) from None
        self.samplers = Samplers(self.bases, self.store, config.samplers)
        self.training = Training(self.bases, self.store, self.samplers, config.batch_tokens)
        self.sessions, self.promises, self.worker = Sessions(), Promises(), Worker()

    def promise(
        self, session: str, key: Hashable, job: Callable[[], Any], extra: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Queue a job, or find it again if this request was sent before, and return what the client is told."""
        promise: Promise = self.promises.make(session, key, partial(self.worker.submit, job), extra)
        return promise.receipt

    def promise_of_model(self, model: str, number: int | None, job: Callable[[], Any]) -> dict[str, Any]:
        """Queue a job of a model, under the number that its client gave the request. Raises `NotHere`."""
        session = self.sessions.get(self.training.get(model).session)
        return self.promise(session.id, ("model", model, number) if number else object(), job)

    def end_session(self, name: str) -> None:
        """End a session, and give back what it held once the jobs before are done."""
        self.sessions.close(name)
        self.promises.drop_session(name)
        self.worker.submit(partial(self._release, name))

    def sweep(self) -> None:
        """End what is idle and forget what is over."""
        for name in self.sessions.idle(self.config.idle_seconds):
            _log.info("session %s: no sign of life for %g s, its memory is freed", name, self.config.idle_seconds)
            self.end_session(name)
        self.promises.sweep()
        self.worker.submit(self.store.expire)

    def close(self) -> None:
        """Break what is promised, so that clients hear of the end at once."""
        self.promises.fail_all(
            TrainingError("the server is being stopped: start it again and go on from your last checkpoint")
        )
        self.worker.close()
        self.store.close()

    def _release(self, session: str) -> None:
        self.training.drop_session(session)
        self.samplers.drop_session(session)


def failure(error: BaseException) -> dict[str, str]:
    """What a client is told of an error: whose it is, and nothing of where the service keeps its files."""
    if isinstance(error, Refused):
        return {"error": str(error), "category": "user"}
    if isinstance(error, MemoryRoutingError):
        return {"error": str(error), "category": "server"}
    _log.error("a request failed", exc_info=error)
    if "out of memory" in str(error) or "can't allocate memory" in str(error):
        remedy = "it ran out of memory: start it with a smaller --batch-tokens, or send shorter datums"
    else:
        remedy = f"{type(error).__name__}: its own output says more"
    return {"error": f"the service failed, {remedy}", "category": "server"}
