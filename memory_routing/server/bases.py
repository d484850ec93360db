"""The base models that are served, each read from disk when it is first needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from memory_routing.errors import TrainingError
from memory_routing.server.base import Base
from memory_routing.server.folders import ModelFolder
from memory_routing.server.memory import Budget
from memory_routing.server.refusal import Refused

__all__ = ["Bases", "choose_device"]

_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(device: str | None) -> torch.device:
    """The device of a name, or the best one there is. Raises `TrainingError` for one that is not there."""
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TrainingError(f"the device {device} cannot be used here: {str(error).splitlines()[0]}") from None
    if chosen.type == "cuda":
        # The same sums in the same order each time.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return chosen


class Bases:
    """Base models by the names that clients use. Raises `ModelError` for a folder that holds none."""

    def __init__(
        self, folders: Mapping[str, Path], device: torch.device, dtype: str | None, memory_gb: float | None
    ) -> None:
        self.folders = {name: ModelFolder.open(name, path) for name, path in folders.items()}
        self.device = device
        self.dtype = dtype or ("bfloat16" if device.type == "cuda" else "float32")
        self.budget = Budget(device, memory_gb)
        self._loaded: dict[str, Base] = {}

    def folder(self, name: str) -> ModelFolder:
        """A model's folder. Raises `Refused` for a model that is not served."""
        folder = self.folders.get(name)
        if folder is None:
            raise Refused(f"the base model {name[:200]!r} is not served here, only {', '.join(self.folders)}")
        return folder

    def get(self, name: str) -> Base:
        """A model in memory. Raises `Refused` where it is not served or does not fit."""
        if name not in self._loaded:
            folder, dtype = self.folder(name), _DTYPES[self.dtype]
            self.budget.take(f"base {name}", folder.parameters * dtype.itemsize, f"the base model {name}")
            try:
                self._loaded[name] = Base(folder, self.device, dtype)
            except BaseException:
                self.budget.give_back(f"base {name}")
                raise
        return self._loaded[name]
