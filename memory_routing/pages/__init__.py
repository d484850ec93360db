"""The page of reports and training runs, and its charts (extra `report`)."""

from memory_routing.errors import MissingExtraError

try:
    import jinja2  # noqa: F401
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise MissingExtraError("memory_routing.pages", error.name or "a package", "report") from None

from memory_routing.pages.page import Page, stale_charts
from memory_routing.pages.sources import Run, Sources, read_sources
from memory_routing.stored import StoredReport

__all__ = ["Page", "Run", "Sources", "StoredReport", "read_sources", "stale_charts"]
