"""Imports point down, the core knows no vendor, and the public surface is the one meant."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import memory_routing

PACKAGE = Path(memory_routing.__file__).parent

# From the bottom up; a module may import from its own layer and from those before it.
LAYERS = [
    ["errors", "frozen", "background"],
    ["wire", "files", "progress", "intervals", "labels", "conversation", "runs", "drawing"],
    ["taxonomy"],
    ["decision", "example"],
    ["reward", "renderer", "router", "dataset", "teacher", "prompt", "answers"],
    ["datums", "advantages", "divergence", "watch"],
    [
        "trainer",
        "selection",
        "exported",
        "scenarios",
        "reward_lint",
        "reward_probe",
        "dataset_stats",
        "reliability",
        "confusion",
    ],
    ["duplicates", "marketing"],
    ["leakage"],
    ["report"],
    ["stored"],
    ["evaluation", "comparison", "predictions", "readiness"],
    ["pages"],
    ["embedded"],
    ["local", "tinker", "server"],
    ["transformers", "generation"],
    ["cohere"],
    ["published"],
    ["claims"],
    ["card"],
    ["hub"],
    ["cli"],
]
ROOT = {"__init__", "__main__"}
VENDORS = {
    "torch",
    "tinker",
    "tinker_cookbook",
    "cohere",
    "transformers",
    "onnx",
    "safetensors",
    "datasketch",
    "peft",
    "fastapi",
    "uvicorn",
    "filelock",
    "jinja2",
    "matplotlib",
    "httpx",
    "huggingface_hub",
}


def concept(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(module: Path) -> set[str]:
    """Concepts of this package that a module imports when it is itself imported."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            parts = name.split(".")
            if parts[0] == "memory_routing":
                found |= set(parts[1:2])
    return found


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda m: str(m.relative_to(PACKAGE)))
def test_imports_point_down(module: Path) -> None:
    place = {name: rank for rank, names in enumerate(LAYERS) for name in names}
    own = concept(module)
    if own in ROOT:
        return
    for name in imported(module) - {own}:
        if (own, name) in {("router", "embedded"), ("router", "hub"), ("labels", "taxonomy"), ("errors", "decision")}:
            continue  # Router.load's lazy import, and two that only a type checker follows
        assert place[name] <= place[own], f"{own} imports {name}, which stands above it"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_core_loads_no_vendor_and_no_runtime() -> None:
    loaded = set(json.loads(run("import memory_routing, sys, json; print(json.dumps([*sys.modules]))")))
    tops = {name.split(".")[0] for name in loaded}
    assert not tops & (VENDORS | {"onnxruntime", "tokenizers", "huggingface_hub", "typer", "rich", "scipy"})


def test_the_surface_is_the_one_exported() -> None:
    public = {
        name
        for name, value in vars(memory_routing).items()
        if not name.startswith("_") and type(value).__name__ != "module"
    }
    assert public == set(memory_routing.__all__)
    assert memory_routing.__all__ == sorted(memory_routing.__all__, key=lambda n: (not n.isupper(), n))


@pytest.mark.parametrize("name", sorted(memory_routing.__all__))
def test_public_names_say_what_they_are(name: str) -> None:
    value = getattr(memory_routing, name)
    if isinstance(value, type):
        assert (value.__doc__ or "").strip()
        for method in vars(value).values():
            if callable(method) and not method.__name__.startswith("_") and hasattr(method, "__code__"):
                assert (method.__doc__ or "").strip(), f"{name}.{method.__name__}"


def test_modules_are_small() -> None:
    sizes = sorted(len(m.read_text(encoding="utf-8").splitlines()) for m in PACKAGE.rglob("*.py"))
    assert sizes[len(sizes) // 2] <= 150
    assert sizes[-1] <= 400
