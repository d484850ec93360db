"""What the service is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
from attrs.validators import ge, gt, in_, optional

from memory_routing.frozen import FrozenMapping

__all__ = ["ServerConfig"]


def _folders(value: Mapping[str, Path]) -> Mapping[str, Path]:
    return FrozenMapping({name: Path(folder).resolve() for name, folder in value.items()})


@attrs.frozen
class ServerConfig:
    """Settings of a local service: which models it serves, from where, and with what."""

    models: Mapping[str, Path] = attrs.field(converter=_folders)
    """Folders of models by the names that clients use."""
    store: Path
    """Folder of the checkpoints; made if it is not there."""
    device: str | None = None
    """As torch names it; left out, `cuda` where there is a GPU and `cpu` elsewhere."""
    dtype: str | None = attrs.field(default=None, validator=optional(in_(["float32", "bfloat16"])))
    """Of the base weights; left out, `bfloat16` on a GPU and `float32` elsewhere. Adapters are always `float32`."""
    memory_gb: float | None = attrs.field(default=None, validator=optional(gt(0.0)))
    """For weights, gradients and moments, not for activations; left out, 80 % of what the device has."""
    batch_tokens: int = attrs.field(default=4096, validator=ge(1))
    """Tokens, padding counted, that go through the network at once in training."""
    samplers: int = attrs.field(default=4, validator=ge(1))
    """Sets of sampler weights of one base model that stay loaded; older ones come back from the store."""
    idle_seconds: float = attrs.field(default=600.0, validator=gt(0.0))
    """A session without a sign of life for so long gives its memory back."""
    poll_seconds: float = attrs.field(default=30.0, validator=gt(0.0))
    """How long a question for a result is held before the client asks again; the SDK waits for 45 seconds."""
