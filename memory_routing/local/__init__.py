"""Training on one's own machine (extra `train`)."""

from memory_routing.errors import MissingExtraError

try:
    import onnx  # noqa: F401
    import safetensors  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError("memory_routing.local", error.name or "torch", "train") from None

from memory_routing.local.config import LocalConfig
from memory_routing.local.trainer import LocalTrainer

__all__ = ["LocalConfig", "LocalTrainer"]
