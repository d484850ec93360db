"""Settings that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Shared machines stall now and then: no deadlines.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("tests"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "tests"))

_SHARED = Path(os.environ.get("MEMORY_ROUTING_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def published() -> Path:
    """Folder with the original project's files, which are not ours to ship."""
    folder = _SHARED / "published"
    if not folder.is_dir():
        pytest.skip("the original project's published files are not at hand (MEMORY_ROUTING_SHARED_DATA)")
    return folder
