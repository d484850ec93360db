"""What of a benchmark the training data give away is found, counted once, and needs no extra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from memory_routing import (
    MARKETING,
    Annotation,
    Conversation,
    Dataset,
    Example,
    Router,
    Scenario,
    evaluate,
    read_scenarios,
)
from memory_routing.duplicates import FEWEST, find_leaks, jaccard, shingles
from memory_routing.leakage import check_leakage
from memory_routing.stored import Leaks

TEXT = "our newsletter goes out every tuesday at nine and nobody may send it without a second pair of eyes"
LONG = f"before i forget it, {TEXT}, and the printer on floor three is out of paper again, the lift does not stop there"
OTHER = "nothing of the sort was ever said here, not by me and not by anyone else in this place"


def data(*texts: str, group: str | None = None) -> Dataset:
    extra = {} if group is None else {"group": group}
    annotation = Annotation(MARKETING.none)
    items = (Example(Conversation.of(text), annotation, f"e{i}", extra) for i, text in enumerate(texts))
    return Dataset(MARKETING, tuple(items))


def scenarios(*texts: str, group: str | None = None) -> list[Scenario]:
    return [Scenario(Conversation.of(t), (MARKETING.none,), f"s{i}", group=group) for i, t in enumerate(texts)]


def test_leaks() -> None:
    found = find_leaks(data(TEXT, "something else is written in this place"), scenarios(OTHER, TEXT))
    assert [(pair.first, pair.second) for pair in found.exact] == [(0, 1)]
    assert found.near == ()


texts = st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=14).map(" ".join)


@given(st.lists(texts, min_size=1, max_size=6), st.lists(texts, min_size=1, max_size=6), st.floats(0.05, 1))
def test_all_that_is_near_is_found(train: list[str], test: list[str], similarity: float) -> None:
    found = find_leaks(data(*train), scenarios(*test), similarity)
    expected = set()
    for i, a in enumerate(train):
        for j, b in enumerate(test):
            one, other = (shingles(Conversation.of(text)) for text in (a, b))
            inside = len(one & other) >= FEWEST and len(one & other) / len(other) >= max(0.8, similarity)
            if jaccard(one, other) >= similarity or inside:
                expected.add((i, j))
    assert {(pair.first, pair.second) for pair in (*found.exact, *found.near)} == expected
    assert all(0 < pair.similarity <= 1 for pair in (*found.exact, *found.near))


def test_a_scenario_inside_a_longer_conversation_is_near() -> None:
    assert jaccard(shingles(Conversation.of(TEXT)), shingles(Conversation.of(LONG))) < 0.5
    found = check_leakage(data(OTHER, LONG), scenarios(TEXT, "ok thanks"))
    assert [(pair.first, pair.second, pair.similarity) for pair in found.near] == [(1, 0, 1.0)]
    # A short phrase that stands in a longer text is no leak.
    assert check_leakage(data("ok thanks a lot for all of it, see you on monday"), scenarios("ok thanks a lot")).clean


def test_each_scenario_is_counted_once() -> None:
    near = TEXT.replace("tuesday", "friday")
    found = check_leakage(data(near, TEXT, near + "!", TEXT), scenarios(TEXT, OTHER))
    assert ([pair.second for pair in found.exact], found.near) == ([0], ())
    assert found.exact[0].first == 1
    found = check_leakage(data(near, near + "!"), scenarios(TEXT))
    assert len(found.near) == 1
    assert "1 nearly the same" in str(found)
    stored = Leaks(found.train, found.scenarios, found.exact, found.near, found.groups, found.data)
    assert str(stored) == str(found)


def test_shared_groups_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    row = {"id": "a", "conversation": OTHER, "expected": ["none"], "metadata": {"group": 7}}
    (tmp_path / "bench.json").write_text(json.dumps([row]), encoding="utf-8")
    items = read_scenarios(tmp_path / "bench.json", MARKETING)
    assert items[0].group == "7"
    assert check_leakage(data(TEXT, group="7"), items).groups == ("7",)
    assert check_leakage(data(TEXT, group="8"), items).clean


def test_a_report_says_what_was_learned_from() -> None:
    asked = scenarios(TEXT, OTHER)
    report = evaluate(Router.load(), asked, train=data(TEXT))
    assert report.leakage == check_leakage(data(TEXT), asked)
    assert len(report.leakage.exact) == 1
    assert evaluate(Router.load(), asked).leakage is None


def test_the_check_needs_no_extra() -> None:
    code = (
        "import sys; sys.modules['datasketch'] = None\n"
        "from memory_routing import marketing\n"
        "from memory_routing.leakage import check_leakage\n"
        "print(check_leakage(marketing.dataset('validation'), marketing.benchmark()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no leakage: 200 scenarios" in done.stdout
