"""Endpoints of checkpoints: what there is, how long it stays, and the files of exports."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import FileResponse

from memory_routing.server.checkpoints import Checkpoint, Run, now
from memory_routing.server.paths import CheckpointPath, Kind
from memory_routing.server.refusal import Refused
from memory_routing.server.service import Service
from memory_routing.server.training import OPTIMIZER

__all__ = ["checkpoint_routes"]

_TYPES = {Kind.TRAINING: "training", Kind.SAMPLER: "sampler", Kind.EXTERNAL: "external"}
_ONE = "/training_runs/{run}/checkpoints/{kind}/{name}"


def checkpoint_routes(service: Service) -> APIRouter:
    """The endpoints on a service. They read small files, each in a thread of its own."""
    routes, store = APIRouter(), service.store

    def described(path: CheckpointPath, about: Checkpoint) -> dict[str, Any]:
        return {
            "checkpoint_id": path.id,
            "checkpoint_type": _TYPES[path.kind],
            "time": about.created,
            "tinker_path": str(path),
            "size_bytes": store.size(path),
            "user_metadata": about.user_metadata,
            "expires_at": about.expires,
        }

    def of_run(run: Run) -> list[dict[str, Any]]:
        found = [described(path, about) for path, about in store.checkpoints(run.id)]
        return sorted(found, key=lambda one: one["time"])

    def run_described(run: Run) -> dict[str, Any]:
        found = of_run(run)
        last = {
            kind: ([None, *(one for one in found if one["checkpoint_type"] == kind)])[-1] for kind in _TYPES.values()
        }
        return {
            "training_run_id": run.id,
            "base_model": run.base_model,
            "model_owner": "local",
            "is_lora": True,
            "lora_rank": run.lora.rank,
            "last_request_time": found[-1]["time"] if found else run.created,
            "last_checkpoint": last["training"],
            "last_sampler_checkpoint": last["sampler"],
            "user_metadata": run.user_metadata,
        }

    @routes.post("/weights_info")
    def weights_info(tinker_path: str = Body(embed=True)) -> dict[str, Any]:
        about = store.about(CheckpointPath.parse(tinker_path))
        lora = about.lora
        trained = {"train_attn": lora.train_attn, "train_mlp": lora.train_mlp, "train_unembed": lora.train_unembed}
        optimizer = {"optimizer_config": {"type": OPTIMIZER}}
        return {"base_model": about.base_model, "is_lora": True, "lora_rank": lora.rank, **trained, **optimizer}

    @routes.get("/training_runs")
    def training_runs(limit: int = 20, offset: int = 0) -> dict[str, Any]:
        runs = store.all_runs()
        page = [run_described(run) for run in runs[offset : offset + limit]]
        return {"training_runs": page, "cursor": {"offset": offset, "limit": limit, "total_count": len(runs)}}

    @routes.get("/training_runs/{run}")
    def training_run(run: str) -> dict[str, Any]:
        return run_described(store.run(run))

    @routes.get("/training_runs/{run}/checkpoints")
    def run_checkpoints(run: str) -> dict[str, Any]:
        return {"checkpoints": of_run(store.run(run))}

    @routes.get("/checkpoints")
    def checkpoints(limit: int = 100, offset: int = 0) -> dict[str, Any]:
        found = [one for run in store.all_runs() for one in of_run(run)]
        found.sort(key=lambda one: one["time"], reverse=True)
        cursor = {"offset": offset, "limit": limit, "total_count": len(found)}
        return {"checkpoints": found[offset : offset + limit], "cursor": cursor}

    @routes.put(f"{_ONE}/ttl")
    def set_ttl(run: str, kind: str, name: str, ttl_seconds: int | None = Body(embed=True)) -> dict[str, Any]:
        store.set_life(_path(run, kind, name), ttl_seconds)
        return {}

    @routes.delete(_ONE, status_code=204)
    def delete(run: str, kind: str, name: str) -> None:
        store.delete(_path(run, kind, name))

    @routes.get(f"{_ONE}/external_weights_urls")
    def external_weights_urls(request: Request, run: str, kind: str, name: str) -> dict[str, Any]:
        path = _path(run, kind, name)
        if path.kind is not Kind.EXTERNAL:
            raise Refused(f"{path} is no export: save_weights_external makes one")
        urls = {
            file: str(request.url_for("external_file", run=path.run, name=path.name, file=file))
            for file in store.files(path)
        }
        return {"urls": urls, "expires": (now() + timedelta(hours=1)).isoformat()}

    @routes.get("/external_files/{run}/{name}/{file}", name="external_file")
    def external_file(run: str, name: str, file: str) -> FileResponse:
        found = store.files(CheckpointPath(run, Kind.EXTERNAL, name)).get(file)
        if found is None:
            raise Refused(f"this export has no file {file[:200]!r}")
        return FileResponse(found)

    return routes


def _path(run: str, kind: str, name: str) -> CheckpointPath:
    return CheckpointPath.parse(f"tinker://{run}/{kind}/{name}")
