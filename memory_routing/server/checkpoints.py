"""The store: checkpoints on disk, each whole or not there at all.

    <store>/runs/<run>/run.json
    <store>/runs/<run>/<kind>/<name>/checkpoint.json and files/
    <store>/snapshots/<sampler>/           weights of unnamed samplers, gone with their process
    <store>/lock                           held by the process that serves the store

A checkpoint is written beside its place under a name that begins with a dot and renamed when it is on disk. Nothing
is pickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import attrs
import cattrs

from memory_routing.errors import TrainingError
from memory_routing.files import parse_json, write_whole
from memory_routing.server.lora import LoraShape
from memory_routing.server.paths import CheckpointPath, Kind, run_folder
from memory_routing.server.refusal import Refused

__all__ = ["Checkpoint", "Run", "Store"]

T = TypeVar("T")

_RUN: Final = "run.json"
_ABOUT: Final = "checkpoint.json"
_FILES: Final = "files"
_OLD: Final = ".old"
_LONGEST_LIFE: Final = 10 * 366 * 24 * 3600


@attrs.frozen
class Run:
    """A training run that has a checkpoint."""

    id: str
    base_model: str
    lora: LoraShape
    created: str
    user_metadata: dict[str, str] | None = None


@attrs.frozen
class Checkpoint:
    """What is known of a checkpoint beside its files. Times are ISO 8601 in UTC."""

    base_model: str
    lora: LoraShape
    created: str
    optimizer: str | None = None
    """Name of the optimiser whose state is kept; `None` for weights alone."""
    expires: str | None = None
    user_metadata: dict[str, str] | None = None


class Store:
    """Checkpoints under one folder. Opening it clears away what a killed process left unfinished."""

    def __init__(self, folder: Path) -> None:
        self.runs, self.snapshots = folder / "runs", folder / "snapshots"
        self.runs.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder / "lock")
        shutil.rmtree(self.snapshots, ignore_errors=True)
        self.snapshots.mkdir()
        for left in [*self.runs.glob("*/*/.*"), *self.runs.glob("*/.*")]:
            _clear(left)

    def close(self) -> None:
        """Let another process have the store."""
        self._lock.close()

    def path(self, path: CheckpointPath) -> Path:
        """Folder of a checkpoint, whether it is there or not."""
        return self.runs / run_folder(path.run) / path.kind.value / path.name

    def about(self, path: CheckpointPath) -> Checkpoint:
        """What is known of a checkpoint. Raises `Refused` for one that is not there."""
        with contextlib.suppress(FileNotFoundError):
            about = _structure(self.path(path) / _ABOUT, Checkpoint)
            if about.expires is None or datetime.fromisoformat(about.expires) > now():
                return about
        others = ", ".join(sorted(str(other) for other, _ in self.checkpoints(path.run))[:20])
        raise Refused(f"there is no checkpoint {path}: this run has {others or 'none'}")

    def files(self, path: CheckpointPath) -> dict[str, Path]:
        """The files of a checkpoint by name. Raises `Refused` for one that is not there."""
        self.about(path)
        return {file.name: file for file in sorted((self.path(path) / _FILES).iterdir())}

    def save(self, run: Run, path: CheckpointPath, about: Checkpoint, files: Mapping[str, bytes], *,
             overwrite: bool = False) -> None:  # fmt: skip
        """Keep a checkpoint. Raises `Refused` where one of that name is there and may not be overwritten."""
        place = self.path(path)
        if not overwrite and self._is_there(path):
            raise Refused(f"the checkpoint {path} already exists: save under another name, or with overwrite=True")
        described = self.runs / run_folder(run.id) / _RUN
        if not described.exists():
            write_whole(described, _bytes(run))
        write_folder(place, {_ABOUT: _bytes(about), **{f"{_FILES}/{name}": data for name, data in files.items()}})

    def set_life(self, path: CheckpointPath, seconds: int | None) -> None:
        """Let a checkpoint expire so many seconds from now, or never."""
        about = attrs.evolve(self.about(path), expires=expiry(seconds))
        write_whole(self.path(path) / _ABOUT, _bytes(about))

    def delete(self, path: CheckpointPath) -> None:
        """Remove a checkpoint. Raises `Refused` for one that is not there."""
        self.about(path)
        _remove(self.path(path))

    def expire(self) -> None:
        """Remove every checkpoint whose time has come."""
        for run in self.all_runs():
            for path, about in list(self.checkpoints(run.id, expired=True)):
                if about.expires is not None and datetime.fromisoformat(about.expires) <= now():
                    _remove(self.path(path))

    def run(self, run: str) -> Run:
        """A training run. Raises `Refused` for one without a checkpoint."""
        with contextlib.suppress(FileNotFoundError):
            return _structure(self.runs / run_folder(run) / _RUN, Run)
        raise Refused(f"there is no training run {run} with a checkpoint")

    def all_runs(self) -> list[Run]:
        """Every training run, the latest first."""
        found = [_structure(file, Run) for file in self.runs.glob(f"*/{_RUN}")]
        return sorted(found, key=lambda run: run.created, reverse=True)

    def checkpoints(self, run: str, *, expired: bool = False) -> Iterator[tuple[CheckpointPath, Checkpoint]]:
        """The checkpoints of a run, those that have expired only where they are asked for."""
        for kind in Kind:
            for file in sorted((self.runs / run_folder(run) / kind.value).glob(f"[!.]*/{_ABOUT}")):
                path = CheckpointPath(run, kind, file.parent.name)
                about = _structure(file, Checkpoint)
                if expired or about.expires is None or datetime.fromisoformat(about.expires) > now():
                    yield path, about

    def size(self, path: CheckpointPath) -> int:
        """Bytes of a checkpoint's files."""
        return sum(file.stat().st_size for file in self.files(path).values())

    def _is_there(self, path: CheckpointPath) -> bool:
        with contextlib.suppress(Refused):
            self.about(path)
            return True
        return False


def now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


def expiry(seconds: int | None) -> str | None:
    """When something ends that lasts so long. Raises `Refused` for a span without a meaning."""
    if seconds is None:
        return None
    if not 0 < seconds <= _LONGEST_LIFE:
        raise Refused(f"ttl_seconds is {seconds}: choose more than 0 and at most ten years, or none for ever")
    return (now() + timedelta(seconds=seconds)).isoformat()


def write_folder(place: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder with these files in place of what was there, whole or not at all."""
    temporary = place.parent / f".{place.name}.{uuid.uuid4().hex}"
    for name, data in files.items():
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        with (temporary / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    if place.exists():
        old = place.parent / f".{place.name}.{uuid.uuid4().hex}{_OLD}"
        place.rename(old)
        temporary.rename(place)
        shutil.rmtree(old)
    else:
        temporary.rename(place)
    with contextlib.suppress(OSError):  # not every system opens folders
        handle = os.open(place.parent, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _lock(path: Path) -> IO[bytes]:
    """An open file that marks the store as in use until it is closed, at the latest by the end of the process."""
    file = path.open("wb")
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise TrainingError(
                f"another server uses the store {path.parent}: stop it, or name another folder with --store"
            ) from None
    return file


def _clear(left: Path) -> None:
    """Undo what was half done: put back what was about to be replaced, and remove the rest."""
    if left.is_file():
        left.unlink()
        return
    place = left.parent / left.name[1:].rsplit(".", 2 if left.name.endswith(_OLD) else 1)[0]
    if left.name.endswith(_OLD) and not place.exists():
        left.rename(place)
    else:
        shutil.rmtree(left, ignore_errors=True)


def _remove(place: Path) -> None:
    # Out of sight at once, so that nobody finds half of it.
    gone = place.parent / f".{place.name}.{uuid.uuid4().hex}"
    place.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _bytes(value: Any) -> bytes:
    return (json.dumps(cattrs.unstructure(value), indent=1) + "\n").encode()


def _structure(file: Path, kind: type[T]) -> T:
    data = file.read_bytes()
    try:
        return cattrs.structure(parse_json(data), kind)
    except (ValueError, TypeError, KeyError, AttributeError, cattrs.BaseValidationError):
        raise Refused(f"{file.name} of {file.parent.name} is damaged: delete that folder from the store") from None
