"""What a run costs: tokens by kind, their price, a forecast and a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
from attrs.validators import ge

__all__ = ["PRICES", "Prices", "Tokens"]


@attrs.frozen
class Prices:
    """USD for a million tokens of each kind."""

    prefill: float = attrs.field(validator=ge(0.0))
    sample: float = attrs.field(validator=ge(0.0))
    train: float = attrs.field(validator=ge(0.0))


PRICES: Final[Mapping[str, Prices]] = {
    "meta-llama/Llama-3.1-8B": Prices(0.13, 0.40, 0.40),
    "meta-llama/Llama-3.1-8B-Instruct": Prices(0.13, 0.40, 0.40),
    "Qwen/Qwen3-4B-Instruct-2507": Prices(0.07, 0.22, 0.22),
    "Qwen/Qwen3-8B": Prices(0.13, 0.40, 0.40),
    "Qwen/Qwen3-8B-Base": Prices(0.13, 0.40, 0.40),
}
"""Tinker's prices as published in January 2026 (thinkingmachines.ai/tinker). They change: name your own."""


@attrs.frozen
class Tokens:
    """Tokens by the kinds that are billed. Every figure is an upper bound: caches make prefill cheaper."""

    prefill: int = 0
    """Of prompts, once for each sample of a prompt."""
    sample: int = 0
    train: int = 0
    """Of forward and backward passes, and of forward passes alone."""

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prefill + other.prefill, self.sample + other.sample, self.train + other.train)

    def __mul__(self, times: int) -> Tokens:
        return Tokens(self.prefill * times, self.sample * times, self.train * times)

    def usd(self, prices: Prices) -> float:
        """Their price."""
        return (self.prefill * prices.prefill + self.sample * prices.sample + self.train * prices.train) / 1e6
