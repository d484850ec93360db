"""Exported language models on one's own hardware (extra `transformers`)."""

from memory_routing.errors import MissingExtraError

try:
    import peft  # noqa: F401
    import tinker_cookbook  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
except ImportError as error:
    raise MissingExtraError("memory_routing.transformers", error.name or "transformers", "transformers") from None

from memory_routing.transformers.export import Exported, export
from memory_routing.transformers.router import TransformersRouter

__all__ = ["Exported", "TransformersRouter", "export"]
