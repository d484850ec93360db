"""Endpoints that save what a model in training has learned."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from tinker import types

from memory_routing.server.paths import Kind
from memory_routing.server.service import Service
from memory_routing.server.training import Naming

__all__ = ["saving_routes"]


def saving_routes(service: Service) -> APIRouter:
    """The endpoints on a service."""
    routes, training, promise = APIRouter(), service.training, service.promise_of_model

    @routes.post("/save_weights")
    async def save_weights(request: types.SaveWeightsRequest) -> dict[str, Any]:
        def job() -> dict[str, Any]:
            naming = Naming(request.path or "", request.ttl_seconds, request.overwrite, request.user_metadata)
            return {"type": "save_weights", "path": training.save(request.model_id, Kind.TRAINING, naming)}

        return promise(request.model_id, request.seq_id, job)

    @routes.post("/save_weights_for_sampler")
    async def save_weights_for_sampler(request: types.SaveWeightsForSamplerRequest) -> dict[str, Any]:
        session = service.sessions.get(training.get(request.model_id).session)
        sampler = f"{session.id}:sample:{request.sampling_session_seq_id}"

        def job() -> dict[str, Any]:
            if request.path is not None:
                naming = Naming(request.path, request.ttl_seconds, user_metadata=request.user_metadata)
                path = training.save(request.model_id, Kind.SAMPLER, naming)
                return {"type": "save_weights_for_sampler", "path": path}
            training.snapshot(request.model_id, sampler)
            session.samplers.append(sampler)
            return {"type": "save_weights_for_sampler", "sampling_session_id": sampler}

        return promise(request.model_id, request.seq_id, job)

    @routes.post("/save_weights_external")
    async def save_weights_external(request: types.SaveWeightsExternalRequest) -> dict[str, Any]:
        def job() -> dict[str, Any]:
            naming = Naming(request.path, request.ttl_seconds)
            path = training.save(request.model_id, Kind.EXTERNAL, naming, request.age_encryption_recipients)
            return {"type": "save_weights_external", "path": path}

        return promise(request.model_id, request.seq_id, job)

    return routes
