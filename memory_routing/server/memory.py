"""What fits into memory, by counting numbers before they are made."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
import torch

from memory_routing.server.refusal import Refused

__all__ = ["TRAINER_BYTES", "WEIGHT_BYTES", "Budget"]

WEIGHT_BYTES: Final = 4
TRAINER_BYTES: Final = 4 * WEIGHT_BYTES
"""A number of a trainer's adapter: its weight, its gradient and two moments of Adam."""
_SHARE: Final = 0.8


class Budget:
    """Bytes that may be held on a device, and by whom they are. Activations come on top."""

    def __init__(self, device: torch.device, memory_gb: float | None = None) -> None:
        self.limit = int(memory_gb * 1e9) if memory_gb is not None else int(_SHARE * _size(device))
        self._held: dict[str, int] = {}

    @property
    def free(self) -> int:
        """Bytes that nobody holds."""
        return self.limit - sum(self._held.values())

    def take(self, owner: str, size: int, what: str) -> None:
        """Hold bytes under a name. Raises `Refused` where they are not there."""
        if size > self.free:
            raise Refused(
                f"{what} needs about {_gigabytes(size)}, and {_gigabytes(max(self.free, 0))} of "
                f"{_gigabytes(self.limit)} are free: close a training client that is not needed any more, lower the "
                "LoRA rank, or start the server with a larger --memory-gb"
            )
        self._held[owner] = size

    def give_back(self, owner: str) -> None:
        """Free what is held under a name, if anything is."""
        self._held.pop(owner, None)


def _size(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    total = int(psutil.virtual_memory().total)
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        # A container may be given less than its machine has, and says so here.
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(limit).read_text(encoding="ascii")))
    return total


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
