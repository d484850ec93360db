"""Endpoints of models in training."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from tinker import types

from memory_routing.server.lora import LoraShape
from memory_routing.server.refusal import Refused
from memory_routing.server.service import Service
from memory_routing.server.trainers import AdamSettings
from memory_routing.server.training import OPTIMIZER
from memory_routing.server.wire import parse_training

__all__ = ["training_routes"]


def training_routes(service: Service) -> APIRouter:
    """The endpoints on a service.

    Requests to a model that is not here are answered with 404, which the SDK raises at once, and everything else
    that is wrong with a request by its future: the SDK takes a 409 for a busy server and repeats it for minutes.
    """
    routes, training, promise = APIRouter(), service.training, service.promise_of_model

    @routes.post("/create_model")
    async def create_model(request: types.CreateModelRequest) -> dict[str, Any]:
        session = service.sessions.get(request.session_id)
        model = f"{session.id}:train:{request.model_seq_id}"
        lora = request.lora_config

        def job() -> dict[str, Any]:
            if lora is None:
                raise Refused("the request has no lora_config, and this service trains adapters only")
            _check_optimizer(request.optimizer_config)
            shape = LoraShape(lora.rank, lora.train_attn, lora.train_mlp, lora.train_unembed)
            about = _texts(request.user_metadata)
            training.create(model, session.id, request.base_model, shape, lora.seed, about)
            session.models.append(model)
            return {"type": "create_model", "model_id": model}

        return service.promise(session.id, ("model", model, 0), job)

    @routes.post("/load_weights")
    async def load_weights(request: types.LoadWeightsRequest) -> dict[str, Any]:
        def answer(model: str) -> dict[str, Any]:
            return {"type": "load_weights", "path": request.path, "model_id": model}

        if request.model_id is not None:
            loaded = request.model_id

            def load() -> dict[str, Any]:
                training.load(loaded, request.path, optimizer=request.optimizer)
                return answer(loaded)

            return promise(loaded, request.seq_id, load)
        session = service.sessions.get(request.session_id or "")
        model = f"{session.id}:train:{request.model_seq_id}"

        def create() -> dict[str, Any]:
            if request.optimizer_config is not None:
                _check_optimizer(request.optimizer_config)
            about = _texts(request.user_metadata)
            training.create_from(model, session.id, request.path, request.base_model, request.optimizer, about)
            session.models.append(model)
            return answer(model)

        return service.promise(session.id, ("model", model, 0), create)

    @routes.post("/get_info")
    async def get_info(request: types.GetInfoRequest) -> dict[str, Any]:
        run = training.get(request.model_id).run
        folder = service.bases.folder(run.base_model)
        data = {"arch": folder.architecture, "model_name": folder.name, "tokenizer_id": str(folder.path)}
        about = {"is_lora": True, "lora_rank": run.lora.rank, "model_name": folder.name, "model_data": data}
        return {"type": "get_info", "model_id": run.id, **about}

    @routes.post("/unload_model")
    async def unload(request: types.UnloadModelRequest) -> dict[str, Any]:
        def job() -> dict[str, Any]:
            training.drop(request.model_id)
            return {"type": "unload_model", "model_id": request.model_id}

        return promise(request.model_id, None, job)

    @routes.post("/forward_backward")
    async def forward_backward(request: Request) -> dict[str, Any]:
        message = parse_training(await request.body())
        return promise(message.model_id, message.seq_id, partial(training.forward_backward, message))

    @routes.post("/optim_step")
    async def optim_step(request: types.OptimStepRequest) -> dict[str, Any]:
        def job() -> dict[str, Any]:
            told = request.optim_params
            if not isinstance(told, types.AdamParams):
                raise Refused(f"this service has the optimiser {OPTIMIZER} only: give AdamParams")
            return {"metrics": training.step(request.model_id, AdamSettings(**told.model_dump()))}

        return promise(request.model_id, request.seq_id, job)

    return routes


def _check_optimizer(config: Any) -> None:
    if config.type != OPTIMIZER:
        raise Refused(f"this service has no optimiser {config.type!r}, only {OPTIMIZER}")


def _texts(metadata: dict[str, Any] | None) -> dict[str, str] | None:
    return None if metadata is None else {key: str(value) for key, value in metadata.items()}
