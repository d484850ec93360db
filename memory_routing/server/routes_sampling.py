"""Endpoints of samplers."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
from fastapi import APIRouter
from tinker import types

from memory_routing.server.choosing import Choice
from memory_routing.server.datums import check_tokens
from memory_routing.server.refusal import Refused
from memory_routing.server.sampling import SamplingTask
from memory_routing.server.service import Service
from memory_routing.server.stops import Stops
from memory_routing.server.wire import write_samples

__all__ = ["sampling_routes"]

_MOST_SAMPLES = 10_000
_MOST_TOP = 100


def sampling_routes(service: Service) -> APIRouter:
    """The endpoints on a service."""
    routes, samplers = APIRouter(), service.samplers

    @routes.post("/create_sampling_session")
    async def create_sampling_session(request: types.CreateSamplingSessionRequest) -> dict[str, Any]:
        session = service.sessions.get(request.session_id)
        name = f"{session.id}:sample:{request.sampling_session_seq_id}"
        samplers.open(name, session.id, request.base_model, request.model_path)
        if name not in session.samplers:
            session.samplers.append(name)
        return {"type": "create_sampling_session", "sampling_session_id": name}

    @routes.get("/samplers/{name}")
    async def get_sampler(name: str) -> dict[str, Any]:
        sampler = samplers.get(name)
        path = None if sampler.path is None else str(sampler.path)
        return {"sampler_id": sampler.id, "base_model": sampler.base_model, "model_path": path}

    @routes.post("/asample")
    async def asample(request: types.SampleRequest) -> dict[str, Any]:
        name = request.sampling_session_id
        if name is None:
            raise Refused("the request has no sampling_session_id: create a SamplingClient with the tinker SDK")
        sampler = samplers.get(name)
        service.sessions.get(sampler.session)
        if not 1 <= request.num_samples <= _MOST_SAMPLES:
            raise Refused(f"num_samples is {request.num_samples}: ask for 1 to {_MOST_SAMPLES}")
        ids = {"sample_sequence_ids": [uuid.uuid4().hex for _ in range(request.num_samples)]}

        def job() -> bytes:
            return write_samples(samplers.sample(name, _task(service, sampler.base_model, request)))

        key = object() if request.seq_id is None else ("sampler", name, request.seq_id)
        return service.promise(sampler.session, key, job, ids)

    return routes


def _task(service: Service, base_model: str, request: types.SampleRequest) -> SamplingTask:
    """What a request asks for. Raises `Refused` for what cannot be asked."""
    folder = service.bases.folder(base_model)
    prompt = _prompt(request.prompt)
    check_tokens("the prompt", np.array(prompt, dtype=np.int64), folder.vocabulary, folder.context)
    told = request.sampling_params
    # The last token that is sampled need not be read.
    room = folder.context - len(prompt) + 1
    most = room if told.max_tokens is None else told.max_tokens
    if most < 1:
        raise Refused(f"max_tokens is {most}: ask for 1 or more")
    if most > room:
        raise Refused(
            f"the prompt has {len(prompt)} tokens and max_tokens is {most}, but the model's context takes "
            f"{folder.context}"
        )
    top = (request.topk_prompt_logprobs, request.topk_sample_logprobs)
    if not all(0 <= k <= min(_MOST_TOP, folder.vocabulary) for k in top):
        raise Refused(f"the likeliest {max(top)} tokens are asked for: ask for at most {_MOST_TOP}")
    scored = request.prompt_logprobs_last_n
    if scored is not None and not 1 <= scored < max(2, len(prompt)):
        raise Refused(f"prompt_logprobs_last_n is {scored}, but the prompt has {len(prompt)} tokens")
    if request.target_prompt_logprobs is not None or request.prompt_alt_tokens_k or request.record_stability_info:
        raise Refused(
            "this service has no target_prompt_logprobs, no prompt_alt_tokens_k and no record_stability_info: "
            "leave them out"
        )
    return SamplingTask(
        prompt=tuple(prompt),
        number=request.num_samples,
        max_tokens=most,
        choice=Choice(told.temperature, told.top_k, told.top_p),
        stops=_stops(service, base_model, told.stop),
        seed=service.samplers.seed() if told.seed is None else told.seed % 2**63,
        prompt_logprobs=bool(request.prompt_logprobs),
        scored=scored,
        prompt_top=top[0],
        sample_top=top[1],
    )


def _prompt(prompt: types.ModelInput) -> list[int]:
    try:
        return [int(token) for token in prompt.to_ints()]
    except ValueError:
        raise Refused("the prompt holds a chunk that is no text, and this service reads only text") from None


def _stops(service: Service, base_model: str, told: Any) -> Stops:
    """`None` stands for the model's own end of text, an empty list for nothing."""
    if told is None:
        return Stops(service.bases.folder(base_model).eos)
    parts: list[Any] = [told] if isinstance(told, str) else list(told)
    if all(isinstance(part, int) for part in parts):
        return Stops(frozenset(parts))
    if not all(isinstance(part, str) and part for part in parts):
        raise Refused("stop takes tokens, or texts that are not empty, and no mixture of them")
    tokenizer = service.bases.get(base_model).tokenizer

    def decode(tokens: Any) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    return Stops(texts=tuple(parts), decode=decode)
