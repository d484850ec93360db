"""The service over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from memory_routing.server.config import ServerConfig
from memory_routing.server.refusal import NotHere, Refused
from memory_routing.server.routes_checkpoints import checkpoint_routes
from memory_routing.server.routes_sampling import sampling_routes
from memory_routing.server.routes_saving import saving_routes
from memory_routing.server.routes_sessions import session_routes
from memory_routing.server.routes_training import training_routes
from memory_routing.server.service import Service

__all__ = ["create_app"]

_PREFIX = "/api/v1"


def create_app(config: ServerConfig) -> FastAPI:
    """The application; its `state.service` is what it serves.

    Raises `ModelError` for a folder without a model, and `TrainingError` for a store or device that cannot be used.
    A request for what is not here is answered with 404 and one that makes no sense with 400, where it has no future
    that could say so; the SDK raises both at once.
    """
    service = Service(config)

    async def sweeping() -> None:
        while True:
            await asyncio.sleep(min(60.0, config.idle_seconds / 4))
            service.sweep()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(sweeping())
        yield
        task.cancel()
        service.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.state.service = service
    for routes in (session_routes, training_routes, saving_routes, sampling_routes, checkpoint_routes):
        app.include_router(routes(service), prefix=_PREFIX)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404 if isinstance(error, NotHere) else 400)

    return app
