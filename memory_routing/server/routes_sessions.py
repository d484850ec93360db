"""Endpoints of connections: sessions, results, and what a client asks before it begins."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from typing import Any

from fastapi import APIRouter, Body, Response
from fastapi.responses import JSONResponse
from tinker import types

from memory_routing.server.refusal import NotHere, Refused
from memory_routing.server.service import Service, failure

__all__ = ["session_routes"]


def session_routes(service: Service) -> APIRouter:
    """The endpoints on a service."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/get_server_capabilities")
    async def capabilities() -> dict[str, Any]:
        models = [
            {"model_name": name, "max_context_length": folder.context, "trainable": True, "sampleable": True}
            for name, folder in service.bases.folders.items()
        ]
        return {"supported_models": models}

    @routes.post("/client/config")
    async def client_config() -> dict[str, Any]:
        # One chunk after another: in parallel the first is sent last, and the order of sums would hang on timing.
        return {"parallel_fwdbwd_chunks": False}

    @routes.post("/client/dynamic_config")
    async def dynamic_config() -> dict[str, Any]:
        return {"sample_cancel_enabled": True}

    @routes.post("/telemetry")
    async def telemetry() -> dict[str, str]:
        return {"status": "accepted"}

    @routes.post("/create_session")
    async def create_session(request: types.CreateSessionRequest) -> dict[str, Any]:
        session = service.sessions.open(request.user_metadata, request.display_name)
        return {"type": "create_session", "session_id": session.id}

    @routes.post("/session_heartbeat")
    async def heartbeat(request: types.SessionHeartbeatRequest) -> Response:
        try:
            service.sessions.get(request.session_id)
        except NotHere as error:
            return JSONResponse({"detail": str(error)}, 410)
        return JSONResponse({"type": "session_heartbeat"})

    @routes.post("/sessions/{session}/finish", status_code=204)
    async def finish(session: str) -> None:
        service.end_session(session)

    @routes.get("/sessions")
    async def sessions(limit: int = 20, offset: int = 0) -> dict[str, Any]:
        return {"sessions": service.sessions.names()[offset : offset + limit]}

    @routes.get("/sessions/{name}")
    async def one_session(name: str) -> dict[str, Any]:
        session = service.sessions.get(name)
        about = {"user_metadata": dict(session.user_metadata), "display_name": session.display_name}
        return {"training_run_ids": session.models, "sampler_ids": session.samplers, **about}

    @routes.post("/retrieve_future")
    async def retrieve(request: types.FutureRetrieveRequest) -> Response:
        return await _result(service, request.request_id)

    @routes.post("/cancel_future")
    async def cancel(request_id: str = Body(embed=True)) -> dict[str, Any]:
        promise = service.promises.get(request_id)
        if promise is not None:
            promise.future.cancel()
        return {}

    return routes


async def _result(service: Service, name: str) -> Response:
    """The result of a promise, or word that it is not there yet."""
    promise = service.promises.get(name)
    if promise is None:
        # In the form of a failed request: of a status code the SDK makes a bare ValueError, or asks once more.
        return JSONResponse(failure(NotHere(f"the request {name[:80]!r}")) | {"category": "server"})
    if not await promise.wait(service.config.poll_seconds):
        again = {"type": "try_again", "request_id": name, "queue_state": "active"}
        return JSONResponse(again, 408)
    promise.fetched = time.monotonic()
    try:
        result = promise.future.result()
    except CancelledError:
        return JSONResponse(failure(service.promises.end or Refused("the request was cancelled")))
    except Exception as error:  # whatever it was, the client is told of it
        return JSONResponse(failure(error))
    if isinstance(result, bytes):
        return Response(result, media_type="application/x-protobuf")
    return JSONResponse(result)
