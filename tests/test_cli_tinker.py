"""Training, forecasting and exporting from the command line, as people do it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tinker_cookbook", reason="the extra 'tinker' is not installed")
pytest.importorskip("fastapi", reason="the extra 'server' is not installed")

from memory_routing.transformers import TransformersRouter

from . import tiny, tiny_llama

SETTINGS = f"""
base_model = "{tiny_llama.NAME}"
rank = 4
renderer = "role_colon"
max_tokens = 8
validation = 4
[sft]
steps = 2
batch = 4
learning_rate = 1e-3
[rl]
iterations = 1
groups = 2
group_size = 2
[rl.watch]
halt_after = {{sampler = 1}}
"""


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TINKER_TELEMETRY": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "memory_routing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def data(tmp_path: Path) -> list[str | Path]:
    """What names the data and the settings on the command line."""
    tiny.dataset(20, 1).write(tmp_path / "train.jsonl")
    tiny.dataset(8, 2).write(tmp_path / "validation.jsonl")
    (tmp_path / "taxonomy.toml").write_text(tiny.TAXONOMY.to_toml())
    (tmp_path / "run.toml").write_text(SETTINGS)
    named: list[str | Path] = ["--taxonomy", tmp_path / "taxonomy.toml", "--config", tmp_path / "run.toml"]
    return [*named, "--train", tmp_path / "train.jsonl", "--validation", tmp_path / "validation.jsonl"]


@pytest.mark.slow
def test_forecast_train_and_export(llama: Path, service: str, tmp_path: Path, data: list[str | Path]) -> None:
    run, out = tmp_path / "run", tmp_path / "model"
    known: list[str | Path] = ["--tokenizer", llama, "--prices", "1,2,3"]
    ahead = call("train", "tinker", "--out", run, *data, *known, "--dry-run")
    assert ahead.returncode == 0, ahead.stderr
    found = json.loads(ahead.stdout)
    assert found["data"]["conversations"] == 20
    assert found["usd"] > 0
    assert found["sft"]["train"] > 0
    assert not run.exists()

    done = call("train", "tinker", "--out", run, *data, *known, "--base-url", service)
    assert done.returncode == 0, done.stderr
    assert "reward" in json.loads(done.stdout)["metrics"]
    assert {path.name for path in run.iterdir()} == {
        "config.json",
        "taxonomy.toml",
        "metrics.jsonl",
        "samples.jsonl",
        "checkpoints.jsonl",
        "spent.json",
    }

    exported = call("export", run, "--out", out, "--base", llama, "--base-url", service, "--at", "sft:2")
    assert exported.returncode == 0, exported.stderr
    assert TransformersRouter(json.loads(exported.stdout)["merged"]).classify("frost again").malformed is None

    unknown = call("export", run, "--out", out, "--at", "sft:7")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "has no checkpoint sft:7; it has sft:2, rl:1" in unknown.stderr


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, data: list[str | Path]) -> None:
    train: list[str | Path] = ["train", "tinker", "--out", tmp_path / "x"]
    export: list[str | Path] = ["export", tmp_path, "--out", tmp_path / "x"]
    cases: list[tuple[list[str | Path], str]] = [
        ([*train, "--prices", "1,2"], "--prices takes 3 numbers"),
        ([*train, "--validation", tmp_path / "a"], "--validation needs --train"),
        ([*train, *data, "--budget", "1"], "a budget needs prices"),
        ([*train, *data, "--learning-rate", "0"], "'learning_rate' must be > 0"),
        ([*train, "--prices", "nan,1,1"], "--prices takes 3 numbers"),
        ([*train, "--wandb-project", "x"], "--wandb-project needs wandb"),
        (export, "has no checkpoint: is it a run folder?"),
        ([*export, "--dtype", "int4"], "--dtype is float32 or bfloat16"),
    ]
    for arguments, said in cases:
        found = call(*arguments)
        assert found.returncode == 2
        assert said in found.stderr
        assert len(found.stderr.splitlines()) == 1
        assert "Traceback" not in found.stderr
