"""The deployment gate: verdicts, how sure they are, thresholds as configuration, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing import (
    MARKETING,
    Conversation,
    Decision,
    Report,
    Router,
    Scenario,
    evaluate,
    marketing,
    read_scenarios,
)
from memory_routing.decision import ScoredLabel
from memory_routing.errors import ThresholdsError
from memory_routing.leakage import Leakage
from memory_routing.readiness import Bar, Thresholds, Verdict, read_thresholds, readiness
from memory_routing.report import Failure, ScenarioResult

ORDER = [Verdict.NOT_READY, Verdict.CONDITIONAL, Verdict.READY]
SHARES = st.floats(0, 1)
BY_VALUES = Thresholds(certain=False)
"""The gate of the original project."""


def report(right: int, wrong: int, failed: int = 0) -> Report:
    """So many scenarios with the right label, with a wrong one, and without a decision."""
    brand, tools = MARKETING.categories[0], MARKETING.categories[4]
    scenarios = [
        Scenario(Conversation.of(f"Number {i}."), (MARKETING.labels(brand.name),), str(i))
        for i in range(right + wrong + failed)
    ]
    results = [
        ScenarioResult(scenario, Decision(MARKETING, (ScoredLabel(brand if i < right else tools),), router="test"))
        for i, scenario in enumerate(scenarios[: right + wrong])
    ]
    failures = [Failure(scenario, "the service was down") for scenario in scenarios[right + wrong :]]
    return Report("test", MARKETING, tuple(results), failures=tuple(failures))


@pytest.mark.parametrize(
    ("right", "wrong", "verdict"),
    [
        (9, 1, Verdict.READY),
        (10, 0, Verdict.READY),
        (8, 2, Verdict.CONDITIONAL),
        (89, 11, Verdict.CONDITIONAL),
        (79, 21, Verdict.NOT_READY),
        (0, 5, Verdict.NOT_READY),
    ],
)
def test_the_bars_are_those_of_the_original_project_and_included(right: int, wrong: int, verdict: Verdict) -> None:
    assert readiness(report(right, wrong), BY_VALUES).verdict is verdict


@pytest.mark.parametrize(
    ("any_match", "f1", "verdict"),
    [
        (0.90, 0.80, Verdict.READY),
        (0.90, 0.79, Verdict.CONDITIONAL),
        (0.89, 0.80, Verdict.CONDITIONAL),
        (0.80, 0.70, Verdict.CONDITIONAL),
        (1.00, 0.69, Verdict.NOT_READY),
        (0.79, 1.00, Verdict.NOT_READY),
    ],
)
def test_both_numbers_have_to_reach_the_bar(any_match: float, f1: float, verdict: Verdict) -> None:
    assert Thresholds().verdict(any_match, f1) is verdict


@given(SHARES, SHARES, SHARES, SHARES)
def test_better_numbers_never_make_a_worse_verdict(a: float, b: float, c: float, d: float) -> None:
    gate = Thresholds()
    low, high = gate.verdict(min(a, b), min(c, d)), gate.verdict(max(a, b), max(c, d))
    assert ORDER.index(low) <= ORDER.index(high)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_verdict_lies_between_those_of_the_interval(right: int, wrong: int) -> None:
    if not right + wrong:
        return
    found, plain = readiness(report(right, wrong)), readiness(report(right, wrong), BY_VALUES)
    assert ORDER.index(found.worst) <= ORDER.index(found.by_values) <= ORDER.index(found.best)
    assert (found.verdict, plain.verdict) == (found.worst, found.by_values)
    assert found.certain is (found.worst is found.best)
    assert found.any_match.n == found.f1.n == right + wrong


def test_few_scenarios_do_not_settle_it() -> None:
    few, many = readiness(report(8, 0)), readiness(report(400, 0))
    assert few.by_values is many.by_values is many.verdict is Verdict.READY
    assert few.verdict is Verdict.NOT_READY
    assert not few.certain
    assert "NOT READY: any match" in str(few)
    assert "READY by the values, not certain: n = 8" in str(few)
    assert many.certain
    by_values = readiness(report(8, 0), BY_VALUES)
    assert by_values.verdict is Verdict.READY
    assert "8 scenarios do not settle it" in by_values.certainty


@pytest.mark.parametrize("n", [1, 2, 10, 34])
def test_few_right_answers_are_never_ready(n: int) -> None:
    assert readiness(report(n, 0)).verdict is not Verdict.READY
    assert readiness(report(35, 0)).verdict is Verdict.READY


def test_scenarios_that_were_trained_on_show_nothing() -> None:
    leaky = Leakage(900, 400, (), (), ("g",))
    found = readiness(attrs.evolve(report(400, 0), leakage=leaky))
    assert (found.verdict, found.worst) == (Verdict.NOT_READY, Verdict.READY)
    assert "READY by the values, which show nothing: the training data give scenarios away" in str(found)
    assert readiness(attrs.evolve(report(400, 0), leakage=leaky), BY_VALUES).verdict is Verdict.READY
    clean = Leakage(900, 400, (), (), ())
    assert readiness(attrs.evolve(report(400, 0), leakage=clean)).verdict is Verdict.READY


def test_a_scenario_without_a_decision_counts_as_missed() -> None:
    found = readiness(report(9, 0, failed=1))
    assert (found.any_match.value, found.any_match.n, found.undecided) == (0.9, 10, 1)
    assert found.f1.value == pytest.approx(0.9)
    assert readiness(report(8, 0, failed=2)).by_values is Verdict.CONDITIONAL


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scenarios"):
        readiness(report(0, 0))


def test_thresholds_are_configuration(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text("certain = false\n[ready]\nany_match = 1\nf1 = 0.95\n")
    gate = read_thresholds(path)
    assert gate == Thresholds(ready=Bar(1.0, 0.95), certain=False)
    assert readiness(report(9, 1), gate).verdict is Verdict.CONDITIONAL
    path.write_text("")
    assert read_thresholds(path) == Thresholds()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[ready]\nany_match = 0.9\n", "f1"),
        ("[ready]\nany_match = 90\nf1 = 0.8\n", "any_match"),
        ("[ready]\nany_match = nan\nf1 = 0.8\n", "any_match"),
        ("[ready]\nany_match = '0.9'\nf1 = 0.8\n", "expected a number"),
        ("[conditional]\nany_match = 0.5\nf1 = 0.9\n", "higher than that of 'ready'"),
        ("[ready]\nany_match = 0.5\nf1 = 0.5\n", r"give \[conditional\] too"),
        ("certain = 1\n", "expected true or false"),
        ("[redy]\n", "redy"),
        ("ready", "gate.toml"),
    ],
)
def test_thresholds_that_cannot_be(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(ThresholdsError, match=reason) as caught:
        read_thresholds(path)
    assert str(path) in str(caught.value)


def test_thresholds_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_bytes(b"# \xe9\n")
    with pytest.raises(ThresholdsError, match="not UTF-8 at byte 2; save it as UTF-8"):
        read_thresholds(path)


def test_what_is_said_is_json() -> None:
    found = readiness(report(8, 2))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (told["verdict"], told["by_values"]) == ("NOT READY", "CONDITIONAL")
    assert told["any_match"]["n"] == 10
    assert told["thresholds"] == {
        "ready": {"any_match": 0.9, "f1": 0.8},
        "conditional": {"any_match": 0.8, "f1": 0.7},
        "certain": True,
    }


def test_the_original_scenarios(published: Path) -> None:
    scenarios = read_scenarios(published / "deployment_scenarios.json", MARKETING)
    evaluated = evaluate(Router.load(), scenarios)
    found, plain = readiness(evaluated), readiness(evaluated, BY_VALUES)
    hits = sum(
        bool(set(result.decision.categories or ["none"]) & set(result.scenario.gold.names or ["none"]))
        for result in evaluated.results
    )
    assert (found.any_match.n, found.any_match.value) == (17, hits / 17)
    # The shipped model names a right label in 12 of the 17: not enough for either bar, and too few to settle it.
    assert hits < 0.8 * 17
    assert found.verdict is plain.verdict is Verdict.NOT_READY
    assert not found.certain


def ready(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memory_routing", "ready", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    """Scenarios that the shipped model gets right, enough of them."""
    path = tmp_path / "scenarios.json"
    rows: list[dict[str, Any]] = [
        {"id": f"s_{i}", "conversation": f"USER: ok thanks, number {i}", "expected": ["none"]} for i in range(40)
    ]
    path.write_text(json.dumps({"scenarios": rows}))
    return path


def test_the_command_says_ready(scenarios: Path) -> None:
    done = ready(str(scenarios))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "READY"
    assert told["any_match"]["value"] == 1
    assert told["leakage"]["clean"]
    assert done.stderr == ""


def test_the_command_is_not_content_with_one_scenario(scenarios: Path, tmp_path: Path) -> None:
    one = json.loads(scenarios.read_text())
    scenarios.write_text(json.dumps({"scenarios": one["scenarios"][:1]}))
    done = ready(str(scenarios))
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"], told["by_values"]) == (1, "NOT READY", "READY")
    assert told["certainty"] == "READY by the values, not certain: n = 1"
    (tmp_path / "gate.toml").write_text("certain = false\n")
    done = ready(str(scenarios), "--thresholds", str(tmp_path / "gate.toml"))
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "READY")


def test_the_command_is_not_content_with_training_data(tmp_path: Path) -> None:
    marketing.dataset("train")[:60].write(tmp_path / "seen.jsonl")
    done = ready(str(tmp_path / "seen.jsonl"))
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"]) == (1, "NOT READY")
    assert len(told["leakage"]["exact"]) == 60
    assert "give scenarios away" in told["certainty"]


def test_training_data_that_are_no_json_lines_are_told(scenarios: Path, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    done = ready(str(scenarios), "--train", str(tmp_path / "list.json"))
    assert done.returncode == 2
    assert "--train takes JSON lines, one example a line" in done.stderr
    assert "Dataset" not in done.stderr


def test_the_command_says_not_ready(scenarios: Path, tmp_path: Path) -> None:
    wrong = json.loads(scenarios.read_text())
    for row in wrong["scenarios"]:
        row["expected"] = ["user.role_context"]
    scenarios.write_text(json.dumps(wrong))
    done = ready(str(scenarios))
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "NOT READY"


def test_the_command_cannot_run(scenarios: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[ready]\nany_match = 2\nf1 = 1\n")
    for arguments in (["missing.json"], [str(scenarios), "--thresholds", str(bad)], [str(scenarios), "--model", "no"]):
        done = ready(*arguments)
        assert done.returncode == 2
        assert "error" in done.stderr
        assert "Traceback" not in done.stderr
