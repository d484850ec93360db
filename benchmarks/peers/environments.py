"""An environment for each peer, and a run of the peer in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs

from memory_routing import MARKETING, Decision
from memory_routing.files import file_hash, write_whole
from memory_routing.predictions import Undecided, read_predictions

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OURS, TORCH = "memory-routing", "torch==2.13.0"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
Decisions = Mapping[str, Decision | Undecided]
"""What was said of each scenario, by its id."""


@attrs.frozen
class Peer:
    """A script and what its environment needs; without packages it runs in ours."""

    name: str
    script: str
    packages: tuple[str, ...] = ()


def run(peer: Peer, data: Path, work: Path, encoder: Path | None) -> tuple[dict[str, Any], Decisions]:
    """What a peer measured of itself, and its decisions."""
    place = work.absolute() / peer.script
    python = Path(sys.executable)
    installed: dict[str, Any] = {}
    if peer.packages:
        python, installed = environment(place / "env", peer.packages)
    out = place / "out"
    out.mkdir(parents=True, exist_ok=True)
    told = {**os.environ, **ONE_THREAD, **OFFLINE, "PEER": peer.name}
    # What an environment lacks is not found elsewhere.
    told.pop("PYTHONPATH", None)
    if TORCH in peer.packages:
        from memory_routing.local.encoder import find_encoder

        told["PEER_ENCODER"] = str(encoder or find_encoder())
    command = [str(python), str(HERE / f"{peer.script}.py"), str(data.absolute()), str(out)]
    # There, whatever a peer leaves behind.
    subprocess.run(command, env=told, check=True, cwd=out)
    measured = json.loads((out / "measured.json").read_text(encoding="utf-8"))
    ((_, decided),) = read_predictions(out / "predictions.jsonl", MARKETING).items()
    return {**measured, **installed, "machine": machine()}, decided


def environment(folder: Path, packages: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """The interpreter of an environment with these packages, with their versions and size.

    It is made anew unless a file that is written last says it is whole: these packages, this source of ours.
    """
    python, marker = folder / "bin" / "python", folder / "whole.json"
    asked = [f"{package} {source()}" if package == OURS else package for package in packages]
    if not marker.exists() or json.loads(marker.read_text(encoding="utf-8"))["asked"] != asked:
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip"]
        wanted = [str(ROOT) if package == OURS else package for package in packages]
        subprocess.run([*pip, "install", "--quiet", *wanted], check=True)
        mark(folder, asked)
    installed = json.loads(marker.read_text(encoding="utf-8"))["installed"]
    names = {re.split("[<>=]", package)[0] for package in packages}
    site = next(folder.glob("lib/python*/site-packages"))
    files = [file for file in site.rglob("*") if file.is_file() and not {"pip", "setuptools"} & set(file.parts)]
    return python, {
        "versions": {name: version for name, version in installed.items() if name in names},
        "install_mb": sum(file.stat().st_size for file in files) / 1e6,
    }


def mark(folder: Path, asked: list[str]) -> None:
    """Say that an environment is whole, and what it holds."""
    command = [str(folder / "bin" / "python"), "-m", "pip", "list", "--format", "json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    installed = {package["name"]: package["version"] for package in found}
    write_whole(folder / "whole.json", json.dumps({"asked": asked, "installed": installed}, indent=1).encode())


def source() -> str:
    """A hash of what our package is built from."""
    files = sorted(file for file in (ROOT / "memory_routing").rglob("*") if file.is_file() and file.suffix != ".pyc")
    told = [f"{file.relative_to(ROOT)} {file_hash(file)}" for file in [*files, ROOT / "pyproject.toml"]]
    return sha256("\n".join(told).encode()).hexdigest()


def machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    processor = cpu.partition("model name")[2].partition("\n")[0].strip("\t :") or "unknown"
    return {"processor": processor, "threads": 1, "python": sys.version.split()[0]}
