"""From answers to decisions: what is cut keeps its whole labels, and shares of probability are probabilities."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing import MARKETING, LabelSet, Malformed, Usage
from memory_routing.answers import answer_decision, marginals, neighbours

from .strategies import label_sets


def decide(answer: LabelSet | Malformed, *, complete: bool = True) -> tuple[str, ...]:
    decision = answer_decision(MARKETING, answer, complete=complete, router="r", raw="", usage=Usage(1))
    assert (decision.malformed is None) == isinstance(answer, LabelSet)
    return decision.categories


@given(label_sets())
def test_a_label_set_is_decided_as_it_is(labels: LabelSet) -> None:
    assert decide(labels) == labels.names


def test_a_malformed_answer_stores_nothing_and_a_cut_one_its_whole_labels() -> None:
    text = "company.brand_core, user.role_context, company.strat"
    assert decide(Malformed(text, "unknown label")) == ()
    assert decide(Malformed(text, "cut by length"), complete=False) == ("company.brand_core", "user.role_context")
    assert decide(Malformed("company.brand_core", "cut by length"), complete=False) == ("company.brand_core",)
    assert decide(Malformed("a long story about", "cut by length"), complete=False) == ()


@given(label_sets())
def test_neighbours_are_one_label_away_single_or_none_and_come_once(labels: LabelSet) -> None:
    found = neighbours(labels)
    assert found[0] == labels
    assert len({other.names for other in found}) == len(found)
    assert MARKETING.none in found
    for name in MARKETING.names:
        assert MARKETING.labels(name) in found
        assert sum((name in other) != (name in labels) for other in found) >= 1
    assert all(len(other) <= 1 or len((other - labels) | (labels - other)) <= 1 for other in found)


@given(label_sets(), st.data())
def test_marginals_are_probabilities_and_shifts_of_all_logprobs_change_nothing(
    labels: LabelSet, data: st.DataObject
) -> None:
    candidates = neighbours(labels)
    logprobs = data.draw(st.lists(st.floats(-50, 0), min_size=len(candidates), max_size=len(candidates)))
    found = marginals(candidates, logprobs)
    assert set(found) == set(MARKETING.names)
    assert all(0 <= share <= 1 for share in found.values())
    assert found == pytest.approx(marginals(candidates, [value - 700 for value in logprobs]), abs=1e-9)


def test_marginals_in_full() -> None:
    a, b = MARKETING.names[:2]
    candidates = [MARKETING.labels(a), MARKETING.labels(a, b), MARKETING.none]
    found = marginals(candidates, [math.log(0.2), math.log(0.1), math.log(0.1)])
    assert found[a] == pytest.approx(0.75)
    assert found[b] == pytest.approx(0.25)
    assert found[MARKETING.names[2]] == 0
