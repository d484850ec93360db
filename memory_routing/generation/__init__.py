"""Generating a labelled dataset with a teacher (extras `data` and `report`)."""

from memory_routing.errors import MissingExtraError

try:
    import datasketch  # noqa: F401
    import filelock  # noqa: F401
    import jinja2  # noqa: F401
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise MissingExtraError("memory_routing.generation", error.name or "a package", "data,report") from None

from memory_routing.generation.answers import Answer, Message, Request
from memory_routing.generation.calls import Calls, Prices
from memory_routing.generation.chat import ChatTeacher
from memory_routing.generation.config import Gate, GenerationConfig
from memory_routing.generation.forecast import Forecast, forecast
from memory_routing.generation.plan import Plan, plan
from memory_routing.generation.pools import Pools
from memory_routing.generation.report import GenerationReport
from memory_routing.generation.run import Generation, generate_dataset

__all__ = [
    "Answer",
    "Calls",
    "ChatTeacher",
    "Forecast",
    "Gate",
    "Generation",
    "GenerationConfig",
    "GenerationReport",
    "Message",
    "Plan",
    "Pools",
    "Prices",
    "Request",
    "forecast",
    "generate_dataset",
    "plan",
]
