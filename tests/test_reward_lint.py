from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from memory_routing import MARKETING, LabelSet, RewardFn, RoutingReward, lint_reward
from memory_routing.reward import set_f1


class F1(RewardFn):
    weights: Mapping[str, float] = {"f1": 1.0}

    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        return {"f1": set_f1(predicted, gold)}


class Unbounded(F1):
    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        return {"f1": 1.0 if predicted == gold else 1.5}


class Stingy(F1):
    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        return {"f1": 0.9 * set_f1(predicted, gold)}


class Overflowing(F1):
    """Sound up to three labels."""

    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        return {"f1": set_f1(predicted, gold) - 0.3 * max(0, len(predicted) - len(gold) - 3)}


class UnfairToMany(F1):
    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        return {"f1": set_f1(predicted, gold) * (0.5 if len(gold) == 4 else 1.0)}


class Forgetful(F1):
    calls = 0

    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        self.calls += 1
        return {"f1": 1.0 if predicted == gold else self.calls % 2}


class HashSeeded(F1):
    """The original system's mistake: the commonest horizon over a set, ties in the order of hashes."""

    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        if predicted == gold:
            return {"f1": 1.0}
        horizons = [list({c.horizon.value for c in y.categories}) for y in (predicted, gold)]
        first, second = (Counter(names).most_common(1)[:1] for names in horizons)
        return {"f1": float(first == second)}


def test_the_routing_reward_is_sound() -> None:
    lint = lint_reward(RoutingReward(), MARKETING)
    assert lint.ok
    assert lint.skipped == ()
    added, dropped = lint.findings
    assert 0 < added.count < added.tried
    assert 0 < dropped.count < dropped.tried
    assert "changes" in str(added.worst)
    assert lint.policies["gold"].value == 1.0
    assert list(lint.policies) == ["always none", "always company.brand_core", "all labels", "gold plus one", "gold"]
    assert all(policy.value < 0.9 for name, policy in lint.policies.items() if name != "gold")


def test_a_plain_f1_has_no_findings() -> None:
    lint = lint_reward(F1(), MARKETING)
    assert lint.ok
    assert [finding.count for finding in lint.findings] == [0, 0]
    assert [finding.worst for finding in lint.findings] == [None, None]


@pytest.mark.parametrize(
    ("reward", "error"),
    [
        (Unbounded(), r"component f1 is 1\.5, outside \[0, 1\]"),
        (Stingy(), r"reward\(gold, gold\) is 0\.9, not 1, for gold = none"),
        (Overflowing(), r"component f1 is -\S+, outside \[0, 1\]"),
        (Forgetful(), "depends on the order of calls"),
        (HashSeeded(), "depends on the hash seed"),
    ],
)
def test_breaches_are_errors(reward: RewardFn, error: str) -> None:
    lint = lint_reward(reward, MARKETING)
    assert not lint.ok
    assert any(__import__("re").search(error, line) for line in lint.errors)
    assert "error: " in str(lint)


def test_gold_that_is_given_is_checked_too() -> None:
    many = MARKETING.labels(*MARKETING.names[:4])
    assert lint_reward(UnfairToMany(), MARKETING, [many]).errors[0].startswith("reward(gold, gold) is 0.5, not 1")


def test_policies_are_those_of_the_data_given() -> None:
    gold = [MARKETING.none] * 3 + [MARKETING.labels("user.role_context")]
    policies = lint_reward(F1(), MARKETING, gold).policies
    assert policies["always none"].value == 0.75
    assert policies["always user.role_context"].value == 0.25
    assert policies["all labels"].n == 4


SCRIPT = """
from memory_routing import MARKETING, RewardFn, lint_reward
from memory_routing.reward import set_f1

class Mine(RewardFn):
    weights = {"f1": 1.0}
    def components(self, predicted, gold):
        return {"f1": set_f1(predicted, gold)}

if __name__ == "__main__":
    print(lint_reward(Mine(), MARKETING))
"""


def test_a_reward_of_a_script_is_checked_under_other_hash_seeds_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("no errors")
    assert "skipped" not in done.stdout


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    script = SCRIPT.replace('if __name__ == "__main__":', "if True:") + '    open("ran", "a").write("once ")\n'
    (tmp_path / "mine.py").write_text(script)
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (tmp_path / "ran").read_text() == "once "
    assert "would run as a whole again; move the reward function to a module" in done.stdout.replace("\n", " ")


def test_what_cannot_be_checked_is_said() -> None:
    class Local(F1):
        pass

    assert "cannot be pickled" in lint_reward(Local(), MARKETING).skipped[0]
