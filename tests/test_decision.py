from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given

from memory_routing import MARKETING, Decision, Horizon, LabelSet, ScoredLabel

from .strategies import label_sets

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
