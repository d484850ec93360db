"""Comparisons say no more than the numbers do; stored predictions score like the router that made them."""

from __future__ import annotations

import json
import math
import random
from itertools import product
from pathlib import Path

import attrs
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
    Taxonomy,
    compare,
    evaluate,
    marketing,
    read_scenarios,
)
from memory_routing.comparison import compare_scored, mcnemar_test, permutation_test
from memory_routing.confusion import confusion
from memory_routing.errors import DatasetError
from memory_routing.predictions import read_predictions, score_predictions
from memory_routing.reliability import reliability
from memory_routing.report import Failure, ScenarioResult
from memory_routing.stored import read_report

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
        assert (found.difference.low, found.difference.high) == pytest.approx(
            (-turned.difference.high, -turned.difference.low), abs=1e-9
        )
        assert -1 <= found.difference.low <= found.difference.value <= found.difference.high <= 1
        assert found.proven == turned.proven
        if found.proven:
            assert found.p < 0.05
            assert found.difference.low > 0 or found.difference.high < 0
    same = compare(one, one)
    assert not any(found.proven for found in same.differences.values())
    assert all(found.p == 1 and found.detectable is None for found in same.differences.values())
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


@pytest.mark.parametrize(
    ("wins", "losses", "n"), [(1, 0, 1), (3, 0, 3), (4, 0, 200), (5, 0, 40), (7, 1, 40), (9, 2, 40), (14, 5, 40)]
)
def test_too_few_cases_prove_nothing(wins: int, losses: int, n: int) -> None:
    tied = n - wins - losses
    first = [BRAND] * wins + [TOOLS] * losses + [BRAND] * tied
    second = [TOOLS] * wins + [BRAND] * losses + [BRAND] * tied
    found = compare(report("a", first, [BRAND] * n), report("b", second, [BRAND] * n))
    for difference in found.differences.values():
        assert (difference.wins, difference.losses, difference.proven) == (wins, losses, False)
        assert difference.p == pytest.approx(mcnemar_test(wins, losses))
        assert difference.p > 0.05
    assert "beats" not in str(found)
    if n < 10:
        assert all(d.difference.low < 0 < d.difference.high for d in found.differences.values())
        assert "would probably" not in str(found)


def test_the_sentence_names_the_test() -> None:
    gold = [BRAND] * 40
    told = compare(report("a", gold, gold), report("b", [TOOLS] * 40, gold)).sentences()
    assert "permutation p = " in told[0]
    assert "McNemar p = " in told[1]
    assert "McNemar p = " in told[2]


def test_mcnemars_test_is_the_exact_one() -> None:
    assert mcnemar_test(0, 0) == 1
    assert mcnemar_test(5, 5) == 1
    assert mcnemar_test(6, 0) == pytest.approx(2 / 64)
    assert mcnemar_test(20, 3) == pytest.approx(0.00048828, rel=1e-4)
    assert mcnemar_test(3, 20) == mcnemar_test(20, 3)


@given(st.lists(st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 1 / 3, 0.4, 1.0]), max_size=9), st.randoms())
def test_the_permutation_test_tries_every_sign(gaps: list[float], rng: random.Random) -> None:
    sums = [math.fsum(s * g for s, g in zip(signs, gaps, strict=True)) for signs in product((-1, 1), repeat=len(gaps))]
    expected = sum(abs(total) >= abs(math.fsum(gaps)) - 1e-6 for total in sums) / len(sums)
    assert permutation_test(gaps) == pytest.approx(expected)
    assert permutation_test([-gap for gap in gaps]) == permutation_test(gaps)
    assert permutation_test(rng.sample(gaps, len(gaps))) == permutation_test(gaps)


def test_many_gaps_are_drawn_and_agree_with_the_exact_test() -> None:
    for wins, losses in ((30, 14), (17, 13), (60, 20)):
        gaps = [1.0] * wins + [-1.0] * losses
        assert permutation_test(gaps) == permutation_test(gaps)
        # Where every gap is of one size, the test of the mean is McNemar's.
        assert permutation_test(gaps) == pytest.approx(mcnemar_test(wins, losses), abs=0.005)
    assert permutation_test([1.0] * 200) > 0


def test_what_one_of_them_could_not_decide_is_left_out_and_told() -> None:
    gold = [BRAND] * 40
    whole, part = report("whole", gold, gold), report("part", gold, gold)
    failed = Report("part", MARKETING, part.results[1:], failures=(Failure(part.results[0].scenario, "503"),))
    for found in (compare(whole, failed), compare(failed, whole)):
        assert found.scenarios == 39
        assert "n = 39, 1 without a decision by part left out" in str(found)
    assert compare(whole, failed).to_dict()["left_out"] == {"first": 0, "second": 1}
    assert compare(failed, failed).left_out == {"first": 1, "second": 1}
    one, other = whole.results[:1], whole.results[1:2]
    first = Report("a", MARKETING, one, failures=(Failure(other[0].scenario, "503"),))
    second = Report("b", MARKETING, other, failures=(Failure(one[0].scenario, "503"),))
    with pytest.raises(ValueError, match="no scenario that both have decided"):
        compare(first, second)


def test_scores_of_stored_reports_are_compared_alike(tmp_path: Path) -> None:
    gold = [BRAND] * 30
    whole, part = report("whole", gold, gold), report("part", [TOOLS] * 30, gold)
    failed = Report("part", MARKETING, part.results[1:], failures=(Failure(part.results[0].scenario, "503"),))
    stored = [read_report(found.to_dict(), "file") for found in (whole, failed)]
    assert stored[1].failures[0].accepted == (("company.brand_core",),)
    scored = ([(result.hash, result) for result in found.results or ()] for found in stored)
    found = compare_scored(("whole", "part"), *scored, failed=(stored[0].failed, stored[1].failed))
    assert found == compare(whole, failed)


def test_reports_that_were_scored_by_other_rules_are_not_compared() -> None:
    one = report("a", [BRAND], [BRAND])
    scenario = one.results[0].scenario
    other = attrs.evolve(scenario, accepted=(BRAND, TOOLS))
    two = Report("b", MARKETING, (ScenarioResult(other, decided(TOOLS)),))
    with pytest.raises(ValueError, match="accept different labels in 1 of 1 scenarios"):
        compare(one, two)
    # The order in which they are accepted matters to no score.
    turned = attrs.evolve(scenario, accepted=(TOOLS, BRAND))
    assert compare(two, Report("c", MARKETING, (ScenarioResult(turned, decided(TOOLS)),))).scenarios == 1
    taxonomy = Taxonomy("other", "1", MARKETING.categories)
    with pytest.raises(ValueError, match="different taxonomies"):
        compare(one, Report("d", taxonomy, one.results))


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
    assert exact.scores == sum(found.right.n for found in exact.bins) == 3 * n
    # Over those that are counted alone: here the ones that are wrong with certainty.
    counted = rng.random((n, 3)) < 0.3
    some = reliability((right ^ counted).astype(float), right, counted)
    assert some.scores == counted.sum()
    assert some.ece.n == counted.any(axis=1).sum()
    assert some.ece.value == 1 if some.scores else math.isnan(some.ece.value)


def test_the_embedded_router_is_calibrated_and_timed() -> None:
    found = evaluate(Router.load(), marketing.benchmark()[:30], timed=True)
    assert found.reliability["all"].ece.value < 0.1
    said = found.reliability["said"]
    assert said.scores == sum(len(result.predicted) for result in found.results)
    # What is plainly absent flatters the error over all categories.
    assert said.ece.value > found.reliability["all"].ece.value
    assert found.to_dict()["reliability"]["all"]["scores"] == 30 * 12
    assert found.timing is not None
    plain = found.to_dict()
    assert 0 < plain["timing"]["p50"]["value"] <= plain["timing"]["p95"]["value"] <= plain["timing"]["p99"]["value"]
    assert plain["timing"]["per_second"] > 0
    assert set(plain["rewards"]) == {"total", "f1", "horizon", "scope", "efficiency"}
    assert plain["failures"] == []
    # Always right in 30 scenarios is not always right.
    efficiency = found.rewards["efficiency"]
    assert efficiency.low < efficiency.value == efficiency.high == 1


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
        ('{"detailed_results": {}}', "detailed_results: expected an object with a list"),
        ('{"detailed_results": {"m": 5}}', "detailed_results.m: expected a list"),
        ('{"detailed_results": {"m": []}, "summaries": [1]}', "summaries: expected an object"),
        ('{"detailed_results": {"m": []}, "summaries": {"m": "x"}}', "summaries: expected an object"),
        (
            '{"detailed_results": {"m": [], "k": []}, "summaries": {"m": {"name": "k"}}}',
            "summaries.k.name: 'k' is the name of another model too",
        ),
        ('{"id": "a", "predicted": 5}', "prediction 1 of p: expected a list"),
        ('{"id": null, "error": "line 3: not JSON"}', "id is missing: give the scenario's in 'id' or 'scenario_id'"),
        (
            '{"id": "a", "predicted": ["none"], "decision": {"scores": {"user.role_context": 0.5}}}',
            "give every category",
        ),
        (json.dumps({"id": "a", "categories": ["none"], "scores": dict.fromkeys(MARKETING.names, 1.5)}), "has 1.5"),
        ('{"id": "a", "predicted": [], "decision": 5}', "prediction 1 of p: expected an object"),
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


def test_what_was_not_decided_is_a_failure(tmp_path: Path) -> None:
    items = [Scenario(Conversation.of(f"talk {i}"), (BRAND,), id=str(i)) for i in range(3)]
    rows = [
        {"id": 0, "categories": ["company.brand_core"]},
        {"id": "1", "error": "250,001 characters"},
        {"scenario_id": "2", "categories": ["none"], "malformed": "no label in it"},
    ]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = score_predictions(read_predictions(tmp_path / "lines.jsonl", MARKETING)["lines"], items, "lines")
    assert [(failure.scenario.id, failure.reason) for failure in report.failures] == [("1", "250,001 characters")]
    assert [result.exact for result in report.results] == [True, False]
    assert report.to_dict()["malformed"] == 1
    # And the same once more from the report that is written of it.
    report.write(tmp_path / "report.json")
    ((name, again),) = read_predictions(tmp_path / "report.json", MARKETING).items()
    assert score_predictions(again, items, name).to_dict() == report.to_dict()
    with pytest.raises(DatasetError, match="none of 1 scenarios is decided; the first: 250,001 characters"):
        score_predictions(again, items[1:2], "lines")


def test_lines_of_classify_keep_scores_and_evidence(tmp_path: Path) -> None:
    router, items = Router.load(), marketing.benchmark()[:5]
    decided = [router.classify(item.conversation).to_dict() for item in items]
    lines = [json.dumps({"id": item.id, **decision}) for item, decision in zip(items, decided, strict=True)]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ((name, decisions),) = read_predictions(tmp_path / "lines.jsonl", MARKETING).items()
    kept, routed = score_predictions(decisions, items, name).to_dict(), evaluate(router, items).to_dict()
    for key in ("summary", "categories", "reliability"):
        assert kept[key] == routed[key]


def test_predictions_that_fit_no_scenario_are_told() -> None:
    item = Scenario(Conversation.of("one turn"), (BRAND,), id="a")
    with pytest.raises(DatasetError, match="2 scenarios have the id 'a'"):
        score_predictions({"a": decided(BRAND)}, [item, item], "p")
    for turn in (1, -1):
        label = ScoredLabel(MARKETING["company.brand_core"], None, (turn,))
        with pytest.raises(DatasetError, match=f"names turn {turn} as evidence .* turns 0 to 0"):
            score_predictions({"a": Decision(MARKETING, (label,))}, [item], "p")


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
