from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given

from memory_routing import (
    MARKETING,
    Category,
    Decision,
    Example,
    Horizon,
    LabelSet,
    RoutingReward,
    ScoredLabel,
    TaxonomyError,
)

from .strategies import examples, label_sets

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def decide(*names: str) -> Decision:
    return Decision(MARKETING, tuple(ScoredLabel(MARKETING[name], 0.75, (0,)) for name in names))


@given(label_sets())
def test_a_decision_says_what_its_labels_say(labels: LabelSet) -> None:
    decision = decide(*labels)
    assert decision.label_set == labels
    assert decision.categories == labels.names
    assert decision.store is not labels.is_none
    assert decision.scope == labels.scope
    assert str(decision) == MARKETING.write(labels)
    wire = json.loads(json.dumps(decision.to_dict()))
    assert wire["categories"] == (list(labels) or ["none"])
    assert set(decision.expires_at(NOW)) == set(labels)


@given(examples(), label_sets())
def test_values_can_be_copied_and_sent_to_other_processes(example: Example, labels: LabelSet) -> None:
    decision = Decision(MARKETING, tuple(ScoredLabel(MARKETING[n], 0.5, (0,)) for n in labels), scores={"a": 0.5})
    for value in (decision, example, RoutingReward()(labels, labels)):
        for copied in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
            assert copied == value
    with pytest.raises(TypeError):
        decision.scores["a"] = 1.0  # type: ignore[index]


def test_an_impossible_decision_is_refused() -> None:
    role, brand = ScoredLabel(MARKETING["user.role_context"]), ScoredLabel(MARKETING["company.brand_core"])
    for labels in ([role, brand], [brand, brand]):
        with pytest.raises(TaxonomyError, match="out of order or named twice"):
            Decision(MARKETING, labels)
    assert Decision(MARKETING, [brand, role]).labels == (brand, role)
    foreign = Category("company.brand_core", "another", Horizon.SHORT)
    with pytest.raises(TaxonomyError, match="not that of taxonomy marketing"):
        Decision(MARKETING, (ScoredLabel(foreign),))
    with pytest.raises(TaxonomyError, match="no category of taxonomy"):
        Decision(MARKETING, (ScoredLabel(Category("a.b", "c", Horizon.SHORT)),))


def test_horizon_is_that_of_the_label_that_lives_longest() -> None:
    assert decide().horizon is None
    assert decide("user.session_history").horizon is Horizon.SHORT
    assert decide("company.tools_config", "user.role_context").horizon is Horizon.MEDIUM
    # No end is the longest; brand_core comes before interaction_preferences, which has no end either.
    assert decide("company.brand_core", "user.interaction_preferences").horizon is Horizon.LONG
    assert decide("company.business_priorities", "user.interaction_preferences").horizon is Horizon.EVOLVING


def test_expiry() -> None:
    expiry = decide("company.brand_core", "company.business_priorities", "user.session_history").expires_at(NOW)
    assert expiry == {
        "company.brand_core": None,
        "company.business_priorities": datetime(2026, 4, 1, tzinfo=UTC),
        "user.session_history": datetime(2026, 1, 15, tzinfo=UTC),
    }


def test_wire_form() -> None:
    assert decide("user.role_context").to_dict() == {
        "categories": ["user.role_context"],
        "store": True,
        "scope": "user",
        "horizon": "medium",
        "labels": [
            {
                "category": "user.role_context",
                "score": 0.75,
                "evidence": [0],
                "horizon": "medium",
                "lifetime_days": 365,
            }
        ],
        "scores": None,
        "router": "",
        "malformed": None,
    }
