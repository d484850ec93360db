"""What a run will use and cost, before it starts."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from memory_routing.tinker.config import TinkerConfig
from memory_routing.tinker.cost import Prices, Tokens
from memory_routing.tinker.greedy import evaluation_tokens
from memory_routing.tinker.preparation import Item, Prepared

__all__ = ["Forecast", "forecast"]


@attrs.frozen
class Forecast:
    """Tokens and USD of each phase, if it runs to its end; USD is `None` where no prices are known.

    An upper bound but for answers longer than the right ones: no group is dropped, no prompt is cached.
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
    """Multiply the configuration out with the data's mean lengths."""
    n = len(train.items)
    prompt = sum(len(item.prompt) for item in train.items) / n
    answer = sum(len(item.target) for item in train.items) / n
    evaluation = evaluation_tokens(validation, round(answer))
    evaluations = 1 + -(-config.sft.steps // config.sft.every)
    learned = round(config.sft.steps * config.sft.batch * (prompt + answer))
    sft = Tokens(train=learned) + evaluation * evaluations
    rl = Tokens()
    if config.rl is not None:
        rollouts = config.rl.iterations * config.rl.groups * config.rl.group_size
        watched = min(1.0, config.rl.watched / (config.rl.groups * config.rl.group_size))
        whole = rollouts * (prompt + answer)
        rl = Tokens(
            prefill=round(rollouts * prompt + whole * watched),
            sample=round(rollouts * answer),
            train=round(whole * (1 + watched)),
        )
        rl += evaluation * -(-config.rl.iterations // config.rl.every)
    return Forecast(train.counts(), sft, rl, prices)
