"""The embedded router: routing in the process, with the shipped model or your own."""

from memory_routing.embedded.folder import Manifest
from memory_routing.embedded.router import MAX_CHARACTERS, EmbeddedRouter

__all__ = ["MAX_CHARACTERS", "EmbeddedRouter", "Manifest"]
