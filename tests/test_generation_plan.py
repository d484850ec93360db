"""Plans: what is asked for adds up exactly, and the same arguments give the same briefs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the extras 'data' and 'report' are not installed")

from memory_routing import MARKETING, Brief, Taxonomy
from memory_routing.errors import GenerationError
from memory_routing.generation import GenerationConfig, Plan, Pools, forecast, plan
from memory_routing.generation.plan import TURNS, WORDS_A_LABEL, WORDS_A_TURN

from .strategies import label_sets, taxonomies
from .teachers import FakeTeacher

SUPPORT = Taxonomy.load(Path(__file__).parents[1] / "examples" / "support_taxonomy.toml")


@settings(max_examples=40)
@given(st.integers(13, 400), st.floats(0, 0.6), st.integers(0, 5))
def test_every_category_is_asked_for_equally_often_and_none_twice_as_often(n: int, multi: float, seed: int) -> None:
    found = plan(MARKETING, n, multi=multi, seed=seed)
    assert len(found) == n
    counts = dict(found.balance)
    none = counts.pop("none")
    assert max(counts.values()) - min(counts.values()) <= 1
    assert abs(none - 2 * sum(counts.values()) / len(counts)) <= 2 + 0.02 * n
    sizes = Counter(len(brief.labels) for brief in found if not brief.labels.is_none)
    assert sizes[2] + sizes[3] == round(multi * (n - none))
    assert sum(counts.values()) == sum(size * count for size, count in sizes.items())


@settings(max_examples=40)
@given(st.data())
def test_targets_are_met_exactly(data: st.DataObject) -> None:
    n = data.draw(st.integers(60, 300))
    names = data.draw(st.lists(st.sampled_from([*MARKETING.names, "none"]), unique=True, max_size=5))
    targets = {name: data.draw(st.integers(0, n // 8)) for name in names}
    found = plan(MARKETING, n, targets=targets)
    assert len(found) == n
    assert {name: found.balance[name] for name in targets} == targets
    free = [count for name, count in found.balance.items() if name not in targets and name != "none"]
    assert max(free) - min(free) <= 1


@pytest.mark.parametrize("multi", [0.9, 1.0])
def test_even_where_all_have_several_labels_the_counts_add_up(multi: float) -> None:
    for n in range(14, 200, 3):
        counts = plan(MARKETING, n, multi=multi).balance
        counts.pop("none")
        assert max(counts.values()) - min(counts.values()) <= 1


def test_what_takes_an_exchange_is_asked_of_longer_conversations() -> None:
    pools = Pools.load(None, MARKETING)
    for brief in plan(MARKETING, 600):
        if brief.turns < 3 and brief.distractor is not None:
            starts = [way.partition("{subject}")[0] for way in pools.exchanges]
            assert not brief.distractor.startswith(tuple(starts))


def test_pools_of_another_taxonomy_are_refused() -> None:
    with pytest.raises(GenerationError, match="the pools are for another taxonomy"):
        plan(SUPPORT, 10, pools=Pools.load(None, MARKETING))


@settings(max_examples=25)
@given(taxonomies(), st.integers(1, 60), st.integers(0, 3))
def test_any_taxonomy_can_be_planned(taxonomy: Taxonomy, n: int, seed: int) -> None:
    found = plan(taxonomy, n, seed=seed)
    assert len(found) == n
    assert found.hash == plan(taxonomy, n, seed=seed).hash
    assert len({brief.hash for brief in found}) == n


def test_the_same_plan_in_every_process_and_another_for_another_seed() -> None:
    code = (
        "from memory_routing import MARKETING\n"
        "from memory_routing.generation import plan\n"
        "print(plan(MARKETING, 60).hash)"
    )
    for seed in ("0", "7"):
        told = {**os.environ, "PYTHONHASHSEED": seed}
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=told)
        assert out.stdout.strip() == plan(MARKETING, 60).hash
    assert plan(MARKETING, 60, seed=1).hash != plan(MARKETING, 60).hash


def test_briefs_are_dealt_evenly() -> None:
    found, pools = plan(MARKETING, 600), Pools.load(None, MARKETING)
    for field, pool in (("industry", pools.industries), ("role", pools.roles), ("tone", pools.tones)):
        counts = Counter(getattr(brief, field) for brief in found)
        assert set(counts) == set(pool)
        assert max(counts.values()) - min(counts.values()) <= 1, field
    assert set(Counter(brief.turns for brief in found).values()) == {600 // len(TURNS)}
    assert [brief.number for brief in found] == list(range(600))
    for brief in found:
        assert brief.words in {brief.turns * words for words in WORDS_A_TURN} | {WORDS_A_LABEL * len(brief.labels)}
        assert brief.opening in pools.openings


def test_none_always_looks_like_something_and_a_share_of_the_others_does() -> None:
    found = plan(MARKETING, 400, distractors=0.3)
    pools = Pools.load(None, MARKETING)
    kinds = Counter(brief.distractor in pools.errands for brief in found if brief.labels.is_none)
    assert kinds[False] > 2 * kinds[True] > 0
    labelled = [brief for brief in found if not brief.labels.is_none]
    assert sum(brief.distractor is not None for brief in labelled) == pytest.approx(0.3 * len(labelled), abs=2)
    for brief in labelled:
        for category in brief.labels.categories:
            assert category.description not in (brief.distractor or "")


def test_pairs_come_from_the_pools() -> None:
    pools = Pools.load(None, MARKETING)
    allowed = {frozenset(pair) for pair in pools.pairs}
    pairs = [frozenset(brief.labels.names) for brief in plan(MARKETING, 600, multi=0.4) if len(brief.labels) == 2]
    assert len(pairs) > 100
    assert sum(pair in allowed for pair in pairs) > 0.95 * len(pairs)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n": 0}, "at least one"),
        ({"targets": {"company.brand": 3}}, "no category"),
        ({"targets": {"none": 101}}, "101 of 100"),
        ({"targets": {"none": 80, "company.brand_core": 30}}, "30 with company.brand_core, but 80 of 100 with none"),
        ({"targets": dict.fromkeys(MARKETING.names, 2)}, "add up to 24 labels"),
        ({"targets": dict.fromkeys(MARKETING.names, 50)}, "add up to 600 labels"),
        ({"targets": dict.fromkeys(MARKETING.names[1:], 0) | {"none": 0}, "multi": 0.5}, "leave 155 conversations"),
        ({"multi": 1.5}, "between 0 and 1"),
        ({"distractors": -0.1}, "between 0 and 1"),
        ({"none_weight": -1.0}, "number from 0"),
        ({"none_weight": float("inf")}, "number from 0"),
        ({"turns": range(1, 500)}, "from 1 to 40"),
        ({"turns": ()}, "turns are whole numbers"),
        ({"turns": (0, 1)}, "turns are whole numbers"),
    ],
)
def test_what_does_not_add_up_is_refused(arguments: dict[str, object], said: str) -> None:
    told: dict[str, object] = {"n": 100, **arguments}
    with pytest.raises(GenerationError, match=said):
        plan(MARKETING, **told)  # type: ignore[arg-type]


def test_pools_fall_back_key_by_key(tmp_path: Path) -> None:
    file = tmp_path / "pools.toml"
    file.write_text('industries = ["toy shop"]\n', encoding="utf-8")
    own, general = Pools.load(file, SUPPORT), Pools.load(None, SUPPORT)
    assert own.industries == ("toy shop",)
    assert own.tones == general.tones
    assert len(general.pairs) == 15
    assert Pools.load(None, MARKETING).roles != general.roles
    assert {brief.industry for brief in plan(SUPPORT, 20, pools=own)} == {"toy shop"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("industries = []", "industries is empty"),
        ('tones = ["dry", "dry"]', "tones names something twice"),
        ('lookalikes = ["the user asks"]', "lacks {subject}"),
        ('pairs = [["customer.open_issue", "billing"]]', "'billing' is no category"),
        ('pairs = [["customer.open_issue"]]', "a pair is two categories"),
        ('colours = ["red"]', "colours"),
        ("industries = [", "pools.toml"),
        ("industries = 3", "expected a list"),
    ],
)
def test_bad_pools_name_the_file_and_the_mistake(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "pools.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(GenerationError, match=r"pools\.toml") as caught:
        Pools.load(file, SUPPORT)
    assert said in str(caught.value)


@given(label_sets(), st.integers(1, 10), st.integers(0, 5))
def test_a_brief_is_known_by_everything_that_it_asks(labels: object, turns: int, number: int) -> None:
    brief = Brief(labels, "shop", "owner", "planning", "dry", turns, 50, number=number)  # type: ignore[arg-type]
    assert brief.hash == attrs.evolve(brief).hash
    others: dict[str, Any] = {"turns": turns + 1, "tone": "warm", "number": number + 1, "opening": "x"}
    for field, other in others.items():
        assert attrs.evolve(brief, **{field: other}).hash != brief.hash


@settings(max_examples=20)
@given(st.integers(1, 30), st.floats(0.2, 1.0))
def test_a_forecast_grows_as_the_yield_falls(n: int, kept: float) -> None:
    teacher, found = FakeTeacher(MARKETING), plan(MARKETING, n)
    whole, less = forecast(teacher, found, kept=1.0), forecast(teacher, found, kept=kept)
    assert whole.conversations == n
    assert less.calls >= whole.calls
    costs = [whole.usd, less.usd, less.usd_at_most]
    assert costs == sorted(costs, key=lambda usd: usd or 0.0)


def test_a_forecast_knows_the_pace() -> None:
    teacher, found = FakeTeacher(MARKETING), plan(MARKETING, 50)
    slow = forecast(teacher, found, GenerationConfig(per_minute=10))
    assert slow.seconds == pytest.approx(60 * slow.calls / 10)
    with pytest.raises(ValueError, match="yield"):
        forecast(teacher, found, kept=0)


def test_a_plan_can_be_cut() -> None:
    found = plan(MARKETING, 30)
    assert isinstance(found[:10], Plan)
    assert [brief.number for brief in found[:10]] == list(range(10))
