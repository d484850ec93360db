"""Adapters as files: what PEFT and the cookbook read, and what training goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from memory_routing.errors import MissingExtraError
from memory_routing.server.folders import ModelFolder
from memory_routing.server.lora import LoraShape
from memory_routing.server.refusal import Refused

__all__ = ["adapter_files", "encrypted", "moments_file", "read_tensors"]

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
MOMENTS: Final = "optimizer.safetensors"
_AGE: Final = ".age"
_MOST_RECIPIENTS: Final = 10


def adapter_files(weights: Mapping[str, Tensor], shape: LoraShape, folder: ModelFolder) -> dict[str, bytes]:
    """The files of an adapter in PEFT's format."""
    config = shape.config(folder).to_dict() | {"inference_mode": True, "base_model_name_or_path": folder.name}
    text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
    return {WEIGHTS: save(dict(weights)), CONFIG: (text + "\n").encode()}


def moments_file(moments: Mapping[str, Tensor]) -> dict[str, bytes]:
    """The file with the state of an optimiser."""
    return {MOMENTS: save(dict(moments))}


def read_tensors(files: Mapping[str, Path], name: str) -> dict[str, Tensor]:
    """The tensors in one file of a checkpoint. Raises `Refused` where it is missing or damaged."""
    try:
        return load(files[name].read_bytes())
    except KeyError:
        raise Refused(f"this checkpoint has no {name}: load one that save_state wrote") from None
    except (OSError, SafetensorError) as error:
        raise Refused(f"the checkpoint's {name} is damaged ({type(error).__name__}): load another one") from None


def encrypted(files: Mapping[str, bytes], recipients: Sequence[str]) -> dict[str, bytes]:
    """Every file encrypted with age to some recipients. Raises `Refused` for a recipient that is no key."""
    try:
        import pyrage
    except ImportError:
        raise MissingExtraError("an encrypted export", "pyrage", "server") from None
    if len(recipients) > _MOST_RECIPIENTS:
        raise Refused(f"{len(recipients)} age recipients: give at most {_MOST_RECIPIENTS}")
    keys = [_key(pyrage, recipient) for recipient in recipients]
    return {name + _AGE: bytes(pyrage.encrypt(data, keys)) for name, data in files.items()}


def _key(pyrage: Any, recipient: str) -> Any:
    kind = pyrage.ssh if recipient.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(recipient)
    except pyrage.RecipientError:
        raise Refused(f"{recipient[:80]!r} is no age recipient: give an age1… key or an SSH public key") from None


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else sorted(value)
