"""The resumable state of a training run, as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, optim

from memory_routing.errors import TrainingError
from memory_routing.files import write_whole

__all__ = ["load_state", "save_state"]


def save_state(path: Path, modules: Mapping[str, nn.Module], optimizer: optim.Optimizer, epoch: int) -> None:
    """Write the weights of some modules and the optimiser's moments after an epoch, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{part}": value for part, value in module.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in moments.items()}
    tensors = {name: value.detach().contiguous() for name, value in tensors.items()}
    write_whole(path, save(tensors, metadata={"epoch": str(epoch)}))


def load_state(path: Path, modules: Mapping[str, nn.Module], optimizer: optim.Optimizer) -> int:
    """Restore what `save_state` wrote and return the epoch. Raises `TrainingError` for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            epoch = int(file.metadata()["epoch"])
    except SafetensorError as error:
        raise TrainingError(f"{path}: damaged ({error}); delete the run folder and start again") from None
    for name, module in modules.items():
        module.load_state_dict(_part(tensors, f"{name}/"))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimizer/").items():
        number, _, moment = name.partition("/")
        moments.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return epoch


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def copy_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average a step towards the weights."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
