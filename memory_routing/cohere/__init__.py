"""Cohere's models as a teacher and as a router (extra `cohere`)."""

from memory_routing.errors import MissingExtraError

try:
    import cohere  # noqa: F401

    import memory_routing.generation  # noqa: F401
except MissingExtraError:
    raise MissingExtraError("memory_routing.cohere", "what generates data", "cohere") from None
except ImportError as error:
    raise MissingExtraError("memory_routing.cohere", error.name or "cohere", "cohere") from None

from memory_routing.cohere.router import CohereRouter
from memory_routing.cohere.teacher import MODEL, PRICES, CohereTeacher

__all__ = ["MODEL", "PRICES", "CohereRouter", "CohereTeacher"]
