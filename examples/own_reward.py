"""A taxonomy of one's own, a reward of one's own, and what the lint says of it before any training."""

from collections.abc import Mapping
from pathlib import Path

from memory_routing import LabelSet, RewardFn, RoutingReward, Taxonomy, lint_reward

SUPPORT = Taxonomy.load(Path(__file__).parent / "support_taxonomy.toml")


class IssueFirst(RewardFn):
    """Whether there is an open issue weighs as much as all other categories together."""

    weights: Mapping[str, float] = {"issue": 0.5, "others": 0.5}

    def components(self, predicted: LabelSet, gold: LabelSet) -> Mapping[str, float]:
        """Whether open issues agree, and the share of the other categories that do."""
        issue = "customer.open_issue"
        others = [name for name in SUPPORT.names if name != issue]
        agree = sum((name in predicted) == (name in gold) for name in others)
        return {"issue": float((issue in predicted) == (issue in gold)), "others": agree / len(others)}


def main() -> None:
    gold = SUPPORT.labels("customer.open_issue", "customer.product_setup")
    for answer in ("customer.open_issue", "none", "customer.open_issue, billing"):
        predicted = SUPPORT.read(answer)
        print(f"{answer!r}: {IssueFirst()(predicted, gold).total:.2f}, {RoutingReward()(predicted, gold).total:.2f}")
    print(lint_reward(IssueFirst(), SUPPORT))


if __name__ == "__main__":
    main()
