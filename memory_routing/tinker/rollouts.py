"""Sampled answers, what they earned, and the datums that learn from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from memory_routing.advantages import centred_advantages, is_constant
from memory_routing.datums import PolicyDatum
from memory_routing.labels import LabelSet, Malformed
from memory_routing.renderer import Renderer
from memory_routing.reward import Reward, RewardFn
from memory_routing.tinker.greedy import score
from memory_routing.tinker.preparation import Item
from memory_routing.tinker.service import Rollout

__all__ = ["Group", "Scored", "group_datums", "rollout_metrics", "scored"]


@attrs.frozen
class Scored:
    """A rollout, how it reads, and what it earned."""

    rollout: Rollout
    predicted: LabelSet | Malformed
    reward: Reward


@attrs.frozen
class Group:
    """The rollouts of one conversation."""

    item: Item
    members: tuple[Scored, ...]

    @property
    def rewards(self) -> list[float]:
        """What each member earned in all."""
        return [member.reward.total for member in self.members]

    def to_dict(self, text: Any) -> dict[str, Any]:
        """Plain data to look at; `text` makes tokens readable."""
        return {
            "id": self.item.id,
            "gold": str(self.item.labels),
            "rollouts": [
                {
                    "text": text(member.rollout.tokens),
                    "reward": member.reward.total,
                    "parts": dict(member.reward.components),
                    "complete": member.rollout.complete,
                    "malformed": member.predicted.reason if isinstance(member.predicted, Malformed) else None,
                }
                for member in self.members
            ],
        }


def scored(item: Item, rollouts: Sequence[Rollout], renderer: Renderer, reward: RewardFn) -> Group:
    """Read and reward the rollouts of a conversation."""
    members = []
    for rollout in rollouts:
        predicted = renderer.parse(rollout.tokens, complete=rollout.complete)
        members.append(Scored(rollout, predicted, reward(predicted, item.labels)))
    return Group(item, tuple(members))


def group_datums(group: Group, *, scale: bool = False) -> list[PolicyDatum]:
    """A datum for each rollout; none for a group of constant reward, which carries no gradient."""
    if is_constant(group.rewards):
        return []
    advantages = centred_advantages(group.rewards, scale=scale)
    return [
        PolicyDatum(group.item.prompt, member.rollout.tokens, member.rollout.logprobs, float(advantage))
        for member, advantage in zip(group.members, advantages, strict=True)
        if member.rollout.tokens
    ]


def rollout_metrics(groups: Sequence[Group], reward: RewardFn) -> dict[str, float]:
    """Means over all rollouts: rewards and their parts, entropy in nats a token, how answers end, how long they are."""
    members = [member for group in groups for member in group.members]
    gold = [group.item.labels for group in groups for _ in group.members]
    totals = [member.reward.total for member in members]
    logprobs = [logprob for member in members for logprob in member.rollout.logprobs]
    return {
        **score([member.predicted for member in members], gold, reward),
        "reward_std": float(np.std(totals)),
        "entropy": -math.fsum(logprobs) / len(logprobs),
        "complete": sum(member.rollout.complete for member in members) / len(members),
        "answer_tokens": len(logprobs) / len(members),
        "rollouts": len(members),
        "constant_groups": sum(is_constant(group.rewards) for group in groups) / len(groups),
    }
