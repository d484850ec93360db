"""The protocol that every peer of the benchmark follows, the suite that runs them, and the results that were kept."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing import MARKETING, Decision, Malformed
from memory_routing.decision import ScoredLabel
from memory_routing.predictions import Undecided, read_predictions

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
RESULTS = ROOT / "docs/results/peers.json"
PUBLISHED = ROOT.parent / "shared/data/published"
on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read where Linux tells it")


def imported(name: str, folder: Path = PEERS) -> Any:
    """A script of the benchmarks as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return importlib.import_module(name)


suite, protocol, environments = (imported(name) for name in ("suite", "protocol", "environments"))
tables = imported("tables", PEERS.parent)


def run_peer(folder: Path, script: Path, peer: str) -> dict[str, Any]:
    """What a peer measures of itself on four texts."""
    sets = [["user.role_context"], ["user.role_context"], ["company.brand_core"], []]
    rows = [{"id": str(i), "text": f"text {i}", "labels": labels} for i, labels in enumerate(sets)]
    for part in ("train", "validation", "scenarios"):
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "names.json").write_text(json.dumps(list(MARKETING.names)), encoding="utf-8")
    told = {**os.environ, "PEER": peer, "PYTHONPATH": str(PEERS)}
    subprocess.run([sys.executable, str(script), str(folder), str(folder)], env=told, check=True)
    measured: dict[str, Any] = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    return measured


@on_linux
@pytest.mark.parametrize(("name", "answer"), [("always none", "none"), ("commonest single label", "user.role_context")])
def test_a_peer_trains_predicts_and_tells_its_time(tmp_path: Path, name: str, answer: str) -> None:
    measured = run_peer(tmp_path, PEERS / "constant.py", name)
    ((_, decided),) = read_predictions(tmp_path / "predictions.jsonl", MARKETING).items()
    assert {key: str(decision) for key, decision in decided.items()} == {str(i): answer for i in range(4)}
    assert 0 < measured["p50_ms"] <= measured["p95_ms"]
    assert 1 < measured["memory_mb"] <= measured["training_memory_mb"] + 1


@on_linux
def test_what_training_took_is_no_part_of_the_memory_of_prediction(tmp_path: Path) -> None:
    script = tmp_path / "hungry.py"
    script.write_text(
        "from protocol import main\n"
        "def fit(train, validation, names):\n"
        "    spent = bytearray(b'1') * 200_000_000\n"
        "    return lambda texts: [[] for _ in texts], {'spent': len(spent)}\n"
        "main(fit)\n",
        encoding="utf-8",
    )
    measured = run_peer(tmp_path, script, "hungry")
    assert measured["training_memory_mb"] > 190
    assert measured["memory_mb"] < 100


def test_the_threshold_is_the_best_of_the_validation_data() -> None:
    names = ["a", "b"]
    validation = protocol.Rows(["", "", ""], [["a"], ["b"], []])
    assert protocol.best_threshold([[0.5, 0.3], [0.3, 0.5], [0.3, 0.3]], validation, names) == pytest.approx(0.5)
    assert protocol.best_threshold([[0.9, 0.8], [0.8, 0.9], [0.8, 0.8]], validation, names) == pytest.approx(0.82)
    assert protocol.over(0.4, [[0.5, 0.3]], names) == [["a"]]


scores = st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=3, max_size=3)


@given(st.lists(scores, min_size=1, max_size=4), st.lists(st.sets(st.sampled_from("ab")), min_size=3, max_size=3))
def test_nothing_that_was_tried_is_better_than_what_is_chosen(offered: list[Any], gold: list[set[str]]) -> None:
    validation = protocol.Rows(["x", "y", "z"], [sorted(labels) for labels in gold])
    tried = [(lambda texts, table=table: table, {"number": number}) for number, table in enumerate(offered)]
    predict, notes = protocol.choose(tried, validation, "ab")
    best = max(protocol.mean_f1(step / 50, table, validation, "ab") for table in offered for step in range(1, 50))
    chosen = notes["chosen"]
    assert notes["validation_f1"] == best
    assert predict(validation.texts) == protocol.over(chosen["threshold"], offered[chosen["number"]], "ab")


def decided(*names: str) -> dict[str, Decision]:
    """The same decision for every scenario at hand."""
    labels = tuple(ScoredLabel(category) for category in MARKETING.labels(*names).categories)
    scenarios = [item for items in suite.benchmarks(PUBLISHED).values() for item in items]
    return {item.id: Decision(MARKETING, labels) for item in scenarios}


def test_a_peer_run_alone_leaves_the_others_and_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"fastText": "user.role_context", "embedded router": "company.brand_core", "always none": ""}
    machines = dict(zip(answers, ("old", "old", "new"), strict=True))

    def run(peer: Any, *_: Any) -> tuple[dict[str, Any], dict[str, Decision]]:
        return {"machine": machines[peer.name]}, decided(*filter(None, [answers[peer.name]]))

    few = {name: items[:20] for name, items in suite.benchmarks(PUBLISHED).items()}
    monkeypatch.setattr(suite, "benchmarks", lambda _: few)
    monkeypatch.setattr(suite, "run", run)
    monkeypatch.setattr(suite, "write_data", lambda *_: None)
    out = tmp_path / "peers.json"
    for name in answers:
        suite.main(["--only", name, "--work", str(tmp_path), "--out", str(out)])
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    peers = [name for name in rows if name in answers]
    # In the suite's order, whenever they were run; each with its own machine.
    assert peers == ["embedded router", "always none", "fastText"]
    assert {name: rows[name]["machine"] for name in peers} == machines
    assert "against" not in rows["embedded router"]
    parts = set(suite.benchmarks(PUBLISHED))
    assert set(rows["always none"]["against"]) == set(rows["fastText"]["against"]) == parts
    assert "beats" in rows["always none"]["against"]["packaged"]["f1"]["sentence"]
    before = out.read_bytes()
    suite.main(["--recompute", "--out", str(out)])
    assert out.read_bytes() == before


def test_a_comparison_goes_where_the_first_was_run_again_without_that_benchmark() -> None:
    first, other = suite.FIRST, "always none"
    packaged = {"packaged": suite.benchmarks(PUBLISHED)["packaged"]}
    decisions = {first: decided("company.brand_core"), other: decided()}
    stale: dict[str, Any] = {"quality": {"published": {"f1": {}}}, "against": {"published": {"f1": {}}}}
    assert set(suite.score({first: stale, other: stale}, decisions, packaged)[other]["against"]) == {
        "packaged",
        "published",
    }
    assert set(suite.score({first: {}, other: stale}, decisions, packaged)[other]["against"]) == {"packaged"}


def test_what_is_no_label_set_is_kept_as_such(tmp_path: Path) -> None:
    broken = Decision(MARKETING, (), malformed=Malformed("billing", "no such label"))
    rows = [suite.plain("1", broken), suite.plain("2", Undecided("no answer"))]
    file = tmp_path / "predictions.json"
    file.write_text(json.dumps({"detailed_results": {"a": rows}}), encoding="utf-8")
    read = read_predictions(file, MARKETING)["a"]
    assert isinstance(read["1"], Decision)
    assert read["1"].malformed is not None
    assert read["2"] == Undecided("no answer")


def test_an_environment_is_made_anew_unless_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    state = {"fails": True, "source": "one"}

    def create(folder: Path, **_: Any) -> None:
        made.append(folder)
        (folder / "lib/python3/site-packages").mkdir(parents=True, exist_ok=True)

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if state["fails"] and "install" in command:
            raise subprocess.CalledProcessError(1, command)
        return subprocess.CompletedProcess(command, 0, '[{"name": "spacy", "version": "3.8.1"}]')

    monkeypatch.setattr(environments.venv, "create", create)
    monkeypatch.setattr(environments.subprocess, "run", pip)
    monkeypatch.setattr(environments, "source", lambda: state["source"])
    with pytest.raises(subprocess.CalledProcessError):
        environments.environment(tmp_path, ["spacy>=3.8"])
    state["fails"] = False
    _, told = environments.environment(tmp_path, ["spacy>=3.8"])
    environments.environment(tmp_path, ["spacy>=3.8"])
    assert len(made) == 2
    assert told["versions"] == {"spacy": "3.8.1"}
    # Other packages, and ours with another source.
    environments.environment(tmp_path, [environments.OURS])
    state["source"] = "two"
    environments.environment(tmp_path, [environments.OURS])
    environments.environment(tmp_path, [environments.OURS])
    assert len(made) == 4


def test_what_our_package_is_built_from_has_a_hash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory_routing").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    before = environments.source()
    (tmp_path / "memory_routing/router.py").write_text("changed", encoding="utf-8")
    assert environments.source() != before


def test_every_peer_has_a_row_with_its_n_and_interval() -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    assert set(rows) >= {*(peer.name for peer in suite.PEERS), *suite.ORIGINAL.values()}
    for name, row in rows.items():
        for part, quality in row["quality"].items():
            for metric, estimate in quality.items():
                assert estimate["low"] - 1e-9 <= estimate["value"] <= estimate["high"] + 1e-9
                if metric != "f1_hard":
                    assert estimate["n"] == {"packaged": 200, "published": 50}[part]
            if name != suite.FIRST:
                assert set(row["against"][part]) == {"f1", "exact"}


def test_the_predictions_that_were_kept_give_the_numbers_that_were_kept() -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    decisions = dict(read_predictions(suite.predictions_beside(RESULTS), MARKETING))
    assert not {*suite.ORIGINAL.values()} & {*decisions}
    if (PUBLISHED / suite.STORED).exists():
        decisions |= suite.original(PUBLISHED / suite.STORED)
    again = suite.score({name: rows[name] for name in suite.ORIGINAL.values()}, decisions, suite.benchmarks(PUBLISHED))
    assert list(again) == list(rows)
    for name, row in again.items():
        for what in ("quality", "against"):
            for part, found in row.get(what, {}).items():
                # Where this fails for a new wording or test, `suite.py --recompute` writes them anew.
                assert rounded(found) == rounded(rows[name][what][part]), (name, what, part)


def rounded(value: Any) -> Any:
    """Without the last digits, in which machines may differ."""
    return json.loads(json.dumps(value), parse_float=lambda number: round(float(number), 9))


def test_the_table_names_the_machine_of_each_row_where_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    kept = tables.load
    monkeypatch.setattr(tables, "load", lambda name: {"rows": rows} if name == "peers.json" else kept(name))
    assert "one thread of" in tables.peers().splitlines()[0]
    rows["always none"]["machine"]["processor"] = "Other One"
    head, _, *lines = tables.peers().splitlines()
    assert "one thread |" in head
    assert [line.startswith("| always none") for line in lines if "Other One" in line] == [True]


def test_no_difference_is_told_as_readily_as_one() -> None:
    verdicts = {"a": (True, 0.1), "b": (False, 0.05), "c": (True, -0.2)}
    rows = {
        name: {"against": {"packaged": {"f1": {"proven": proven, "difference": {"value": value}}}}}
        for name, (proven, value) in verdicts.items()
    }
    told = tables.standing(rows, "packaged", "the benchmark")
    assert told.endswith(
        "F1 is shown higher than that of a; shown lower than that of c; not shown to differ from that of b."
    )
