from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing import (
    MARKETING,
    Conversation,
    ConversationLike,
    DatasetError,
    Decision,
    LabelSet,
    Malformed,
    Report,
    Router,
    RouterError,
    Scenario,
    ScoredLabel,
    Taxonomy,
    TaxonomyError,
    evaluate,
    read_scenarios,
)
from memory_routing.intervals import bootstrap, mean, share

from .strategies import label_sets, scenarios


class Scripted(Router):
    """Answers what it was told to, in order."""

    def __init__(
        self, answers: Sequence[LabelSet | Malformed], evidence: Sequence[dict[str, tuple[int, ...]]] = ()
    ) -> None:
        self.taxonomy = MARKETING
        self.answers = answers
        self.evidence = evidence

    def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
        return [self._decide(i, answer) for i, answer in enumerate(self.answers)]

    def _decide(self, i: int, answer: LabelSet | Malformed) -> Decision:
        if isinstance(answer, Malformed):
            return Decision(MARKETING, (), malformed=answer)
        said = self.evidence[i] if self.evidence else {}
        return Decision(MARKETING, tuple(ScoredLabel(c, None, said.get(c.name)) for c in answer.categories), router="s")


def scenario(*names: str, text: str = "a", **extra: object) -> Scenario:
    return Scenario(Conversation.of(text), (MARKETING.labels(*names),), **extra)  # type: ignore[arg-type]


@given(st.lists(scenarios(), min_size=1, max_size=8))
def test_gold_is_perfect(items: list[Scenario]) -> None:
    report = evaluate(Scripted([s.gold for s in items], [dict(s.evidence or {}) for s in items]), items)
    for name, estimate in report.summary.items():
        if name.startswith("evidence"):
            continue
        # However good, few scenarios leave room for doubt.
        assert estimate == share(len(items), len(items))
    evidence = report.summary["evidence_f1"]
    assert evidence.value == 1.0 if any(s.evidence for s in items) else evidence.n == 0
    for score in report.categories.values():
        assert score.f1 == share(score.support, score.support) if score.support else score.f1.n == 0


@given(st.lists(st.tuples(scenarios(), label_sets()), min_size=1, max_size=8), st.randoms())
def test_scores_are_bounded_and_do_not_depend_on_order(
    pairs: list[tuple[Scenario, LabelSet]], rng: random.Random
) -> None:
    report = evaluate(Scripted([y for _, y in pairs]), [s for s, _ in pairs])
    shuffled = list(pairs)
    rng.shuffle(shuffled)
    again = evaluate(Scripted([y for _, y in shuffled]), [s for s, _ in shuffled])
    for name, estimate in report.summary.items():
        if estimate.n:
            assert 0 <= estimate.low <= estimate.value + 1e-9
            assert estimate.value - 1e-9 <= estimate.high <= 1
            assert again.summary[name].value == pytest.approx(estimate.value)
    assert sum(s.support for s in report.categories.values()) == sum(max(1, len(r.gold)) for r in report.results)
    json.dumps(report.to_dict(), allow_nan=False)


def test_malformed_earns_nothing_where_none_is_right() -> None:
    report = evaluate(Scripted([Malformed("?", "unknown")]), [scenario()])
    assert report.summary["f1"].value == report.summary["exact"].value == report.summary["any_match"].value == 0
    assert report.categories["none"].recall.value == 0
    assert math.isnan(report.categories["none"].precision.value)


def test_labels_of_an_answer_that_was_cut_off_earn_nothing_anywhere() -> None:
    brand = "company.brand_core"
    cut = Decision(
        MARKETING, (ScoredLabel(MARKETING[brand], None, (0,)),), malformed=Malformed(f"{brand}, user.ro", "cut")
    )

    class Cut(Scripted):
        def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
            return [cut]

    report = evaluate(Cut([]), [scenario(brand, evidence={brand: [0]})])
    value = {name: estimate.value for name, estimate in report.summary.items()}
    # Nothing was named that could be right or wrong.
    assert math.isnan(value.pop("evidence_precision"))
    assert value == dict.fromkeys(value, 0.0)
    assert report.categories[brand].recall.value == 0


def test_a_router_that_names_no_turns_has_no_evidence_score() -> None:
    brand = "company.brand_core"
    report = evaluate(Scripted([MARKETING.labels(brand)]), [scenario(brand, evidence={brand: [0]})])
    # Scripted names no turns unless it is given some.
    assert report.summary["evidence_f1"].n == 0


def test_scenarios_of_another_taxonomy_are_refused_before_any_is_routed() -> None:
    other = Taxonomy("other", "1", MARKETING.categories)
    router = Scripted([MARKETING.none])
    router.classify_batch = None  # type: ignore[method-assign, assignment]
    with pytest.raises(TaxonomyError, match=r"scenario 1 .*another taxonomy"):
        evaluate(router, [scenario(), Scenario(Conversation.of("a"), (other.none,))])


def test_the_closest_accepted_set_counts() -> None:
    both = Scenario(Conversation.of("a"), (MARKETING.labels("company.brand_core"), MARKETING.none))
    report = evaluate(Scripted([MARKETING.none]), [both])
    assert report.summary["exact"].value == 1


def test_numbers_by_hand() -> None:
    brand, role = "company.brand_core", "user.role_context"
    items = [
        scenario(brand, difficulty="easy", evidence={brand: [0]}),
        scenario(brand, role, difficulty="hard", evidence={brand: [0], role: [0]}),
        scenario(difficulty="hard", evidence={}),
    ]
    answers = [MARKETING.labels(brand), MARKETING.labels(brand), MARKETING.labels(role)]
    report = evaluate(Scripted(answers, [{brand: (0,)}, {brand: (0,)}, {role: (0,)}]), items)
    value = {name: estimate.value for name, estimate in report.summary.items()}
    assert value == pytest.approx(
        {
            "f1": (1 + 2 / 3) / 3,
            "exact": 1 / 3,
            "any_match": 2 / 3,
            "precision": 2 / 3,
            "recall": 1.5 / 3,
            "macro_f1": (1 + 0 + 0) / 3,
            "micro_f1": 4 / 7,
            "evidence_f1": 4 / 6,
            "evidence_precision": 2 / 3,
            "evidence_recall": 2 / 3,
            "scope": 1 / 3,
            "horizon": 2 / 3,
        }
    )
    assert {name: (g.f1.n, g.exact.value) for name, g in report.groups["difficulty"].items()} == {
        "easy": (1, 1.0),
        "hard": (2, 0.0),
    }
    assert list(report.groups["labels"]) == ["0", "1", "2"]


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    report = evaluate(Scripted([MARKETING.none]), [scenario()])
    report.write(tmp_path / "report.json")
    plain = json.loads((tmp_path / "report.json").read_text())
    assert plain["summary"]["f1"]["n"] == plain["scenarios"] == len(plain["results"]) == 1
    assert plain["categories"]["company.brand_core"]["precision"]["value"] is None


class Moody(Scripted):
    """Fails on the calls that are numbered here; each call but the batch is for one conversation."""

    def __init__(self, bad: Sequence[int], decided: Sequence[int] = (), batch_fails: bool = False) -> None:
        super().__init__([])
        self.bad, self.decided, self.batch_fails, self.calls = bad, decided, batch_fails, -1

    def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
        self.calls += 1
        made = [Decision(MARKETING, ()) for _ in conversations]
        if self.calls == 0 and self.batch_fails:
            raise RouterError("broke off", {i: made[i] for i in self.decided})
        if self.calls in self.bad:
            raise RouterError("down")
        return made


def test_a_failure_against_the_clock_loses_no_decision() -> None:
    items = [scenario(text=f"talk {i}") for i in range(4)]
    # Call 0 is the batch, 1 the one that is not counted, 3 the second scenario.
    report = evaluate(Moody(bad=[1, 3]), items, timed=True)
    assert (len(report.results), report.failures) == (4, ())
    assert report.timing is not None
    assert len(report.timing.seconds) == 3
    assert report.timing.quantiles["p50"].n == 3
    assert report.timing.to_dict()["batch"] == 4
    assert evaluate(Moody(bad=range(1, 9)), items, timed=True).timing is None


def test_what_was_decided_is_timed_where_some_failed() -> None:
    items = [scenario(text=f"talk {i}", difficulty="hard", domain="d") for i in range(4)]
    report = evaluate(Moody(bad=[1], decided=[0, 1, 2], batch_fails=True), items, timed=True)
    assert [failure.scenario for failure in report.failures] == [items[3]]
    assert report.timing is not None
    assert (len(report.timing.seconds), report.timing.batch) == (3, 3)
    told = report.to_dict()["failures"][0]
    assert (told["accepted"], told["difficulty"], told["domain"]) == ([["none"]], "hard", "d")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_router_that_miscounts_is_named(count: int) -> None:
    with pytest.raises(RouterError, match=f"Scripted gave {count} decisions for 2 conversations"):
        evaluate(Scripted([MARKETING.none] * count), [scenario(text="a"), scenario(text="b")])


def test_no_scenarios_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one scenario"):
        evaluate(Scripted([]), [])


# The original project's stored predictions, and what it published of them.
PUBLISHED = {
    "rl_model": (0.68, 0.60, 0.72, {"easy": 0.857, "medium": 0.654, "hard": 0.5}),
    "cohere": (0.612, 0.26, 0.82, {"easy": 0.481, "medium": 0.641, "hard": 0.72}),
}


@pytest.mark.parametrize("model", list(PUBLISHED))
def test_published_numbers_are_reproduced(published: Path, model: str) -> None:
    items = read_scenarios(published / "marketing_routing_benchmark.json", MARKETING)
    stored = json.loads((published / "final_benchmark_results.json").read_text())["detailed_results"][model]
    said = {row["id"]: MARKETING.read(", ".join(row["predicted"])) for row in stored}
    report: Report = evaluate(Scripted([said[s.id] for s in items]), items)
    f1, exact, any_match, difficulty = PUBLISHED[model]
    assert report.summary["f1"].value == pytest.approx(f1, abs=1e-9)
    assert report.summary["exact"].value == pytest.approx(exact)
    assert report.summary["any_match"].value == pytest.approx(any_match)
    assert {k: round(g.f1.value, 3) for k, g in report.groups["difficulty"].items()} == difficulty
    assert {k: g.f1.n for k, g in report.groups["domain"].items()} == {
        "brand": 8,
        "strategy": 8,
        "perf": 8,
        "tools": 6,
        "user": 10,
        "priority": 6,
        "knowledge": 4,
    }


def test_wilson_interval() -> None:
    # Brown, Cai and DasGupta (2001) and the original audit: 30 of 50 is 46 % to 72 %.
    estimate = share(30, 50)
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (0.462, 0.724)
    assert (share(0, 10).low, share(10, 10).high) == (0.0, 1.0)
    assert math.isnan(share(0, 0).value)
    assert str(share(0, 0)) == "– (n=0)"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_mean_lies_in_its_interval(values: list[float]) -> None:
    estimate = mean(values)
    assert estimate.n == len(values)
    assert min(values) - 1e-9 <= estimate.low <= estimate.high <= max(values) + 1e-9
    assert mean(values) == estimate


def test_the_draws_are_the_same_for_every_statistic() -> None:
    values = [0.0, 0.5, 1.0, 1.0, 0.25]
    draws = np.random.default_rng(0).multinomial(5, np.full(5, 1 / 5), size=2000) @ np.array(values) / 5
    for estimate in (mean(values), mean(values)):
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


def test_scores_of_some_categories_alone_tell_nothing_of_calibration() -> None:
    class Partial(Scripted):
        def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
            return [Decision(MARKETING, (), {"company.brand_core": 0.5}) for _ in conversations]

    assert evaluate(Partial([]), [scenario()]).reliability == {}


def test_the_bootstrap_agrees_with_theory() -> None:
    values = [0.0, 1.0] * 200
    estimate = mean(values)
    assert estimate.value == 0.5
    # Normal approximation: half-width 1.96 · 0.5 / 20.
    assert estimate.high - estimate.low == pytest.approx(2 * 0.049, rel=0.1)
    assert bootstrap(np.zeros((0, 1)), lambda sums: sums[..., 0]).n == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no scenarios"),
        ("", "no scenarios"),
        ('{"scenarios": 3}', "expected a list of scenarios"),
        ('[{"id": "a", "conversation": "x"}]', "scenario 1 (a): no labels"),
        (
            '[{"id": "a", "conversation": "x", "expected": ["bogus"]}]',
            "scenario 1 (a): categories: unknown label 'bogus'",
        ),
        ('{"id": "a", "conversation": "x", "expected": ["none"]}\n{"id"', "line 2: not JSON"),
        ('[{"id": "a", "conversation": [], "expected": ["none"]}]', "scenario 1 (a): no turns"),
        ('[{"id": "a",\n "conversation": "x"\n "expected": ["none"]}]', "not JSON: Expecting ',' delimiter at line 3"),
        ('[{"conversation": "x", "expected": ["none"], "categories": ["user.role_context"]}]', "in several places"),
        ('[{"conversation": "x", "expected": ["none"], "accepted": [["user.role_context"]]}]', "not among those"),
        ('[{"conversation": "x", "labels": ["none"]}]', "labels"),
        (
            '[{"conversation": "x", "labels": {"categories": ["none"], "evidence": {"user.role_context": [0]}}}]',
            "no label",
        ),
        (
            '{"id": "a", "conversation": "x", "expected": ["none"]}\n'
            '{"id": "a", "conversation": "y", "expected": ["none"]}',
            "line 2 (a): the same id as line 1",
        ),
        (
            '{"conversation": "x", "expected": ["none"]}\n{"conversation": "x", "expected": ["none"]}',
            "line 2: the same conversation, and no id, as line 1",
        ),
        ("[" * 100_000, "nested too deeply"),
        ('{"id": ' + "9" * 5000 + "}", "digits"),
        ('[{"conversation": "x", "expected": ["none"], "weight": NaN}]', "NaN"),
    ],
)
def test_bad_benchmarks_are_refused_by_place(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "bench.json"
    file.write_text(content)
    with pytest.raises(DatasetError) as error:
        read_scenarios(file, MARKETING)
    assert message in str(error.value)
    assert str(file) in str(error.value)


def test_forms_of_a_benchmark(tmp_path: Path) -> None:
    rows = [
        {
            "id": "brand_1",
            "conversation": "USER: a",
            "expected_categories": ["company.brand_core"],
            "difficulty": "easy",
        },
        {"id": "2024-11", "conversation": "a", "accepted": [["none"], ["company.brand_core"]]},
        {"conversation": "b 1", "expected": ["none"]},
    ]
    forms = {
        "list.json": json.dumps(rows),
        "object.json": json.dumps({"name": "b", "scenarios": rows}),
        "lines.jsonl": "\n".join(map(json.dumps, rows)),
    }
    for name, content in forms.items():
        (tmp_path / name).write_text(content)
        first, second, third = read_scenarios(tmp_path / name, MARKETING)
        assert (first.domain, first.difficulty, str(first.gold)) == ("brand", "easy", "company.brand_core")
        # A number before a number is no domain, and a hash is none either.
        assert (second.domain, [str(y) for y in second.accepted]) == (None, ["none", "company.brand_core"])
        assert (third.domain, third.id) == (None, Conversation.of("b 1").hash)
