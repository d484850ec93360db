from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from itertools import combinations

import pytest
from hypothesis import given

from memory_routing import MARKETING, LabelSet, Malformed, RewardFn, RoutingReward
from memory_routing.reward import set_f1

from .strategies import label_sets, taxonomies

REWARD = RoutingReward()


class Overlap(RewardFn):
    weights: Mapping[str, float] = {"f1": 1.0}

    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        return {"f1": set_f1(predicted, gold)}


@given(label_sets(), label_sets())
def test_bounds(predicted: LabelSet, gold: LabelSet) -> None:
    result = REWARD(predicted, gold)
    assert set(result.components) == {"f1", "horizon", "scope", "efficiency"}
    assert all(0 <= score <= 1 for score in result.components.values())
    assert 0 <= result.total <= 1
    assert (result.components["f1"] == 1) == (predicted == gold)


@given(taxonomies().flatmap(label_sets))
def test_gold_earns_exactly_one_in_any_taxonomy(labels: LabelSet) -> None:
    assert REWARD(labels, labels).total == 1.0


def test_gold_earns_exactly_one_for_every_label_set() -> None:
    for size in range(len(MARKETING) + 1):
        for names in combinations(MARKETING.names, size):
            labels = MARKETING.labels(*names)
            assert REWARD(labels, labels).total == 1.0


@pytest.mark.slow
def test_totals_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "from itertools import combinations; from memory_routing import MARKETING as m, RoutingReward;"
        "sets = [m.labels(*n) for k in range(3) for n in combinations(m.names, k)];"
        "print([RoutingReward()(a, b).total for a in sets for b in sets[:20]])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(20)
    }
    assert len(outputs) == 1


BRAND, ROLE, TOOLS = "company.brand_core", "user.role_context", "company.tools_config"
PRIORITIES, SESSION = "company.business_priorities", "user.session_history"


@pytest.mark.parametrize(
    ("predicted", "gold", "components"),
    [
        ([], [], (1, 1, 1, 1)),
        ([], [SESSION], (0, 0, 0, 1)),
        ([SESSION], [], (0, 0, 0, 1)),
        ([BRAND], [BRAND, TOOLS], (2 / 3, 1, 1, 1)),  # long and medium tie: long
        ([TOOLS], [BRAND], (0, 0.5, 1, 1)),
        ([PRIORITIES], [BRAND], (0, 0, 1, 1)),
        ([PRIORITIES], [TOOLS], (0, 0.5, 1, 1)),
        (["user.interaction_preferences"], ["company.performance_context"], (0, 1, 0, 1)),
        ([BRAND, ROLE], [BRAND], (2 / 3, 1, 0, 1)),
    ],
)
def test_components(predicted: list[str], gold: list[str], components: tuple[float, ...]) -> None:
    result = REWARD(MARKETING.labels(*predicted), MARKETING.labels(*gold)).components
    assert tuple(result.values()) == pytest.approx(components)


@pytest.mark.parametrize(
    ("predicted", "gold", "efficiency"),
    [(3, 1, 1), (4, 1, 0.7), (5, 1, 0.4), (6, 1, 0), (12, 3, 0), (4, 4, 1), (5, 4, 0.7), (7, 5, 0.4), (8, 5, 0)],
)
def test_efficiency(predicted: int, gold: int, efficiency: float) -> None:
    result = REWARD(MARKETING.labels(*MARKETING.names[:predicted]), MARKETING.labels(*MARKETING.names[:gold]))
    assert result.components["efficiency"] == efficiency


def test_malformed_is_punished_also_where_none_is_right() -> None:
    result = REWARD(Malformed("", "empty"), MARKETING.none)
    assert (result.total, dict(result.components)) == (-1.0, {})


def test_a_subclass_overrides_one_method() -> None:
    assert Overlap()(MARKETING.labels(BRAND), MARKETING.labels(BRAND, ROLE)).total == pytest.approx(2 / 3)
    assert Overlap()(Malformed("?", "unknown"), MARKETING.none).total == -1.0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"f1": 0.9}, "sum to 0.9"),
        ({"f1": 1.5, "x": -0.5}, "negative"),
        ({"f1": float("nan")}, "negative or no number"),
        ({}, "missing"),
        ({"f1": 0.5, "other": 0.5}, r"gave \['f1'\], but weights has \['f1', 'other'\]"),
    ],
)
def test_bad_weights_are_value_errors(weights: dict[str, float], message: str) -> None:
    reward = Overlap()
    reward.weights = weights
    with pytest.raises(ValueError, match=message):
        reward(MARKETING.none, MARKETING.none)
