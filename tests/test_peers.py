"""The protocol that every peer of the benchmark follows, and the results that were kept of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from memory_routing import MARKETING
from memory_routing.predictions import read_predictions

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the protocol reads memory where Linux tells it")
@pytest.mark.parametrize(("name", "answer"), [("always none", "none"), ("commonest single label", "user.role_context")])
def test_a_peer_trains_predicts_and_tells_its_time(tmp_path: Path, name: str, answer: str) -> None:
    sets = [["user.role_context"], ["user.role_context"], ["company.brand_core"], []]
    rows = [{"id": str(i), "text": f"text {i}", "labels": labels} for i, labels in enumerate(sets)]
    for part in ("train", "validation", "scenarios"):
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "names.json").write_text(json.dumps(list(MARKETING.names)), encoding="utf-8")
    command = [sys.executable, str(PEERS / "constant.py"), str(tmp_path), str(tmp_path)]
    subprocess.run(command, env={**os.environ, "PEER": name}, check=True)
    ((_, decided),) = read_predictions(tmp_path / "predictions.jsonl", MARKETING).items()
    assert {key: str(decision) for key, decision in decided.items()} == {str(i): answer for i in range(4)}
    measured = json.loads((tmp_path / "measured.json").read_text(encoding="utf-8"))
    assert 0 < measured["p50_ms"] <= measured["p95_ms"]
    assert measured["memory_mb"] > 1


def test_the_threshold_is_the_best_of_the_validation_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PEERS))
    import protocol

    names = ["a", "b"]
    validation = protocol.Rows(["", "", ""], [["a"], ["b"], []])
    assert protocol.best_threshold([[0.5, 0.3], [0.3, 0.5], [0.3, 0.3]], validation, names) == pytest.approx(0.5)
    assert protocol.best_threshold([[0.9, 0.8], [0.8, 0.9], [0.8, 0.8]], validation, names) == pytest.approx(0.82)
    assert protocol.over(0.4, [[0.5, 0.3]], names) == [["a"]]


def test_every_row_that_was_kept_has_its_n_and_interval() -> None:
    rows = json.loads((ROOT / "docs/results/peers.json").read_text(encoding="utf-8"))["rows"]
    assert {"embedded router", "always none", "n-grams and logistic regression"} <= set(rows)
    for row in rows.values():
        for quality in row["quality"].values():
            for estimate in quality.values():
                assert estimate["low"] - 1e-9 <= estimate["value"] <= estimate["high"] + 1e-9
                assert estimate["n"] in (50, 200)
