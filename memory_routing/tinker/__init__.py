"""Training and routing on Tinker, or on a service of one's own that speaks its protocol (extra `tinker`)."""

from memory_routing.errors import MissingExtraError

try:
    import tinker  # noqa: F401
    import tinker_cookbook  # noqa: F401
except ImportError as error:
    raise MissingExtraError("memory_routing.tinker", error.name or "tinker", "tinker") from None

from memory_routing.tinker.config import Adam, ReinforcementConfig, SupervisedConfig, TinkerConfig, read_config
from memory_routing.tinker.cost import PRICES, Prices, Tokens
from memory_routing.tinker.renderer import CookbookRenderer
from memory_routing.tinker.router import TinkerRouter
from memory_routing.tinker.trainer import TinkerTrainer

__all__ = [
    "PRICES",
    "Adam",
    "CookbookRenderer",
    "Prices",
    "ReinforcementConfig",
    "SupervisedConfig",
    "TinkerConfig",
    "TinkerRouter",
    "TinkerTrainer",
    "Tokens",
    "read_config",
]
