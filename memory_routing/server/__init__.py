"""A local Tinker service (extra `server`): the protocol of the `tinker` SDK on one's own machine."""

from memory_routing.errors import MissingExtraError

try:
    import fastapi  # noqa: F401
    import peft  # noqa: F401
    import safetensors  # noqa: F401
    import tinker  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise MissingExtraError("the local Tinker service", error.name or "fastapi", "server") from None

from memory_routing.server.app import create_app
from memory_routing.server.config import ServerConfig
from memory_routing.server.serving import serve

__all__ = ["ServerConfig", "create_app", "serve"]
