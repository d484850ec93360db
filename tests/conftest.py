"""Settings that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small language model that has learned something."""
    for package in ("torch", "transformers", "tinker_cookbook"):
        pytest.importorskip(package, reason="the extra 'tinker' or 'transformers' is not installed")
    import torch

    from . import tiny_llama

    torch.set_num_threads(1)
    return tiny_llama.pretrain(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def service(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a local Tinker service that serves it, in a process of its own."""
    pytest.importorskip("fastapi", reason="the extra 'server' is not installed")
    from . import tiny_llama
    from .service import running

    with running(tiny_llama.NAME, llama, tmp_path_factory.mktemp("store")) as process:
        yield process.url
