"""Comparisons say no more than the numbers do; stored predictions score like the router that made them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_routing import (
    MARKETING,
    Conversation,
    Decision,
    LabelSet,
    Report,
    Router,
    Scenario,
    ScoredLabel,
    compare,
    evaluate,
    marketing,
    read_scenarios,
)
from memory_routing.comparison import sign_test
from memory_routing.confusion import confusion
from memory_routing.errors import DatasetError
from memory_routing.predictions import read_predictions, score_predictions
from memory_routing.reliability import reliability
from memory_routing.report import ScenarioResult

from .strategies import label_sets, scenarios

BRAND, TOOLS = MARKETING.labels("company.brand_core"), MARKETING.labels("company.tools_config")
CLASSES = (*MARKETING.names, "none")


def decided(labels: LabelSet) -> Decision:
    return Decision(MARKETING, tuple(map(ScoredLabel, labels.categories)))


def report(name: str, said: list[LabelSet], gold: list[LabelSet]) -> Report:
    items = [Scenario(Conversation.of(f"talk {i}"), (labels,), id=str(i)) for i, labels in enumerate(gold)]
    results = (ScenarioResult(item, decided(labels)) for item, labels in zip(items, said, strict=True))
    return Report(name, MARKETING, tuple(results))


@settings(max_examples=30)
@given(st.lists(st.tuples(label_sets(), label_sets(), label_sets()), min_size=1, max_size=12), st.randoms())
def test_a_comparison_turned_round_is_its_negative(
    rows: list[tuple[LabelSet, LabelSet, LabelSet]], rng: random.Random
) -> None:
    gold, a, b = map(list, zip(*rows, strict=True))
    one, other = report("a", a, gold), report("b", b, gold)
    there, back = compare(one, other), compare(other, one)
    for metric, found in there.differences.items():
        turned = back.differences[metric]
        assert found.difference.value == pytest.approx(-turned.difference.value)
        assert (found.wins, found.ties, found.losses) == (turned.losses, turned.ties, turned.wins)
        assert found.p == turned.p
        assert found.difference.value == pytest.approx(found.first - found.second)
        assert found.wins + found.ties + found.losses == len(rows)
        assert found.proven == (found.difference.low > 0 or found.difference.high < 0)
    same = compare(one, one)
    assert not any(found.proven for found in same.differences.values())
    assert all(found.p == 1 and found.detectable == 0 for found in same.differences.values())
    assert "beats" not in str(same)


def test_a_beats_b_only_where_the_interval_says_so() -> None:
    gold = [BRAND] * 40
    better = report("better", [BRAND] * 40, gold)
    worse = report("worse", [BRAND] * 20 + [TOOLS] * 20, gold)
    nearly = report("nearly", [BRAND] * 39 + [TOOLS], gold)
    assert "mean F1: better beats worse (1.000 against 0.500, difference +0.500" in str(compare(better, worse))
    # Whichever is named first, the sentence is the same.
    assert str(compare(worse, better)) == str(compare(better, worse))
    told = str(compare(better, nearly))
    assert "beats" not in told
    assert "no difference between better and nearly is shown" in told
    assert "would probably have been" in told


def test_the_sign_test_is_the_exact_one() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(5, 5) == 1
    assert sign_test(6, 0) == pytest.approx(2 / 64)
    # 20 discordant pairs for one and 3 for the other: McNemar's exact test.
    assert sign_test(20, 3) == pytest.approx(0.00048828, rel=1e-4)
    assert sign_test(3, 20) == sign_test(20, 3)


def test_reports_on_other_scenarios_are_not_compared() -> None:
    with pytest.raises(ValueError, match="1 of 2 are in the first alone, 0 of 1 in the second"):
        compare(report("a", [BRAND] * 2, [BRAND] * 2), report("b", [BRAND], [BRAND]))
    one = report("a", [BRAND], [BRAND])
    twice = Report("t", MARKETING, one.results * 2)
    with pytest.raises(ValueError, match="occur twice"):
        compare(twice, twice)


@given(st.lists(st.tuples(label_sets(), label_sets()), max_size=10))
def test_every_label_has_its_place_in_the_confusion(pairs: list[tuple[LabelSet, LabelSet]]) -> None:
    table = confusion(pairs, CLASSES)
    for name in MARKETING.names:
        assert math.fsum(table[name].values()) == pytest.approx(sum(name in gold for gold, _ in pairs))
        assert table[name][name] == sum(name in gold and name in said for gold, said in pairs)
    if all(gold == said for gold, said in pairs):
        assert all(count == 0 for row in table for column, count in table[row].items() if column != row)


def test_confusion_by_hand() -> None:
    table = confusion(
        [(BRAND, TOOLS), (BRAND, MARKETING.none), (MARKETING.none, TOOLS), (BRAND, BRAND | TOOLS)], CLASSES
    )
    assert table["company.brand_core"]["company.tools_config"] == 1
    assert table["company.brand_core"]["none"] == 1
    assert table["company.brand_core"]["company.brand_core"] == 1
    assert table["none"]["company.tools_config"] == 2


@given(st.integers(1, 60), st.integers(0, 999))
def test_scores_that_are_right_have_no_calibration_error(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    right = rng.random((n, 3)) < 0.5
    exact = reliability(right.astype(float), right)
    assert exact.ece.value == 0
    inverse = reliability((~right).astype(float), right)
    assert inverse.ece.value == 1
    half = reliability(np.full((n, 3), 0.5), right)
    assert half.ece.value == pytest.approx(abs(right.mean() - 0.5))
    assert sum(found.right.n for found in exact.bins) == 3 * n


def test_the_embedded_router_is_calibrated_and_timed() -> None:
    found = evaluate(Router.load(), marketing.benchmark()[:30], timed=True)
    assert found.reliability["all"].ece.value < 0.1
    assert found.timing is not None
    plain = found.to_dict()
    assert 0 < plain["timing"]["p50"]["value"] <= plain["timing"]["p95"]["value"] <= plain["timing"]["p99"]["value"]
    assert plain["timing"]["per_second"] > 0
    assert set(plain["rewards"]) == {"total", "f1", "horizon", "scope", "efficiency"}
    assert plain["failures"] == []


# Stored predictions


@settings(max_examples=20)
@given(st.lists(st.tuples(scenarios(), label_sets()), min_size=1, max_size=5))
def test_a_report_that_was_written_scores_the_same_when_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Scenario, LabelSet]]
) -> None:
    results = []
    for i, (scenario, labels) in enumerate(rows):
        own = Scenario(scenario.conversation, scenario.accepted, f"s{i}", scenario.evidence)
        results.append(ScenarioResult(own, decided(labels)))
    written = Report("r", MARKETING, tuple(results))
    path = tmp_path_factory.mktemp("report") / "report.json"
    written.write(path)
    ((name, decisions),) = read_predictions(path, MARKETING).items()
    again = score_predictions(decisions, [result.scenario for result in results], name)
    assert again.to_dict()["summary"] == written.to_dict()["summary"]
    assert name == "r"


def test_scores_and_evidence_survive(tmp_path: Path) -> None:
    found = evaluate(Router.load(), marketing.benchmark()[:10])
    found.write(tmp_path / "r.json")
    ((name, decisions),) = read_predictions(tmp_path / "r.json", MARKETING).items()
    again = score_predictions(decisions, marketing.benchmark()[:10], name).to_dict()
    kept = found.to_dict()
    for key in ("summary", "categories", "reliability", "rewards", "confusion"):
        assert again[key] == kept[key]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "expected a report"),
        ('{"id": "a"}', "give its labels"),
        ('{"predicted": ["none"]}', "id is missing"),
        ('{"id": "a", "predicted": ["none"]}\n{"id": "a", "predicted": ["none"]}', "'a' occurs twice"),
        ("nonsense", "neither a JSON document nor JSON lines"),
    ],
)
def test_files_that_are_no_predictions(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match="p.json") as caught:  # noqa: RUF043
        read_predictions(path, MARKETING)
    assert said in str(caught.value)


def test_a_prediction_that_is_no_label_set_is_malformed_and_one_that_is_missing_an_error(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "0", "categories": ["company.brand_core", "none"]}\n', encoding="utf-8")
    decisions = read_predictions(path, MARKETING)["p"]
    items = [Scenario(Conversation.of("x"), (BRAND,), id=str(i)) for i in range(2)]
    found = score_predictions(decisions, items[:1], "p")
    assert found.summary["f1"].value == 0
    assert found.to_dict()["malformed"] == 1
    with pytest.raises(DatasetError, match="no prediction for 1 of 2 scenarios, the first is '1'"):
        score_predictions(decisions, items, "p")


def test_the_published_predictions_give_the_published_numbers(published: Path) -> None:
    items = read_scenarios(published / "marketing_routing_benchmark.json", MARKETING)
    file = published / "final_benchmark_results.json"
    summaries = json.loads(file.read_text(encoding="utf-8"))["summaries"].values()
    reports = [score_predictions(d, items, name) for name, d in read_predictions(file, MARKETING).items()]
    for found, told in zip(reports, summaries, strict=True):
        assert found.router == told["name"]
        pairs = [("f1", "avg_f1"), ("exact", "exact_match"), ("any_match", "any_match")]
        for ours, theirs in pairs:
            assert found.summary[ours].value == pytest.approx(told[theirs], abs=1e-12)
        for difficulty, group in told["by_difficulty"].items():
            score = found.groups["difficulty"][difficulty]
            assert score.f1.n == group["count"]
            assert score.f1.value == pytest.approx(group["f1"], abs=1e-12)
            assert score.exact.value == pytest.approx(group["exact_match"], abs=1e-12)
            assert score.any_match.value == pytest.approx(group["any_match"], abs=1e-12)
    small, large = reports
    between = compare(small, large)
    f1, exact = between.differences["f1"], between.differences["exact"]
    assert (f1.proven, exact.proven) == (False, True)
    assert (f1.wins, f1.ties, f1.losses) == (21, 12, 17)
    assert exact.p == pytest.approx(0.0005, abs=1e-4)
    assert f"exact match: {small.router} beats {large.router}" in str(between)
    assert "mean F1: no difference" in str(between)
