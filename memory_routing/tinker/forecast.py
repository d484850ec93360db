"""What a run will use and cost, before it starts."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from memory_routing.tinker.config import TinkerConfig
from memory_routing.tinker.cost import Prices, Tokens
from memory_routing.tinker.greedy import evaluation_tokens
from memory_routing.tinker.preparation import Item, Order, Prepared, spaced
from memory_routing.tinker.reinforcement import HANDOVER

__all__ = ["Forecast", "forecast"]


@attrs.frozen
class Forecast:
    """Tokens and USD of each phase at most; USD is `None` where no prices are known.

    As if no group were dropped, no prompt cached, and every sampled answer as long as it may be.
    """

    data: dict[str, float]
    """Conversations and tokens of the training data."""
    sft: Tokens
    rl: Tokens
    prices: Prices | None

    @property
    def total(self) -> Tokens:
        """Of both phases."""
        return self.sft + self.rl

    @property
    def usd(self) -> float | None:
        """Price of both phases."""
        return None if self.prices is None else self.total.usd(self.prices)


def forecast(config: TinkerConfig, train: Prepared, validation: Sequence[Item], prices: Prices | None) -> Forecast:
    """Add up the very batches that a run of this configuration will take."""
    answer, evaluation = config.max_tokens, evaluation_tokens(validation, config.max_tokens)
    picked = _picked(train.items, config.sft.steps, config.sft.batch, f"{config.seed}/sft")
    sft = Tokens(train=sum(map(len, picked))) + evaluation * (1 + -(-config.sft.steps // config.sft.every))
    rl = Tokens()
    if config.rl is not None:
        iterations, groups, size = config.rl.iterations, config.rl.groups, config.rl.group_size
        picked = _picked(train.items, iterations, groups, f"{config.seed}/rl")
        prompts = sum(len(item.prompt) for item in picked) * size
        watched = iterations * min(config.rl.watched, groups * size)
        compared = watched * (max(len(item.prompt) for item in picked) + answer)
        answers = len(picked) * size * answer
        rl = Tokens(prompts + compared, answers + watched, prompts + answers + compared)
        rl += evaluation_tokens(spaced(validation, HANDOVER), answer)
        rl += evaluation * -(-iterations // config.rl.every)
    return Forecast(train.counts(), sft, rl, prices)


def _picked(items: Sequence[Item], steps: int, size: int, seed: str) -> list[Item]:
    order = Order(len(items), size, seed)
    return [items[index] for step in range(steps) for index in order(step)]
