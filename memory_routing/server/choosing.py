"""How the next token is chosen from the logits."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from memory_routing.server.refusal import Refused

__all__ = ["Choice"]


@attrs.frozen
class Choice:
    """Temperature, and which of the likeliest tokens may be drawn. Raises `Refused` for values without a meaning.

    Temperature 0 takes the likeliest token.
    """

    temperature: float = 1.0
    top_k: int = -1
    """How many tokens may be drawn; -1 or 0 for all."""
    top_p: float = 1.0
    """Of the tokens in the order of their probability, those that make up so much of it may be drawn."""

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise Refused(f"temperature is {self.temperature}: choose 0 or more")
        if self.top_k < -1:
            raise Refused(f"top_k is {self.top_k}: choose -1 for no limit, or 1 and more")
        if not 0 < self.top_p <= 1:
            raise Refused(f"top_p is {self.top_p}: choose more than 0 and at most 1")

    def logprobs(self, logits: Tensor) -> Tensor:
        """Logarithms `(n, V)` of the distribution that is drawn from; at temperature 0 the model's own."""
        if self.temperature == 0:
            return logits.log_softmax(dim=-1)
        scaled = logits / self.temperature
        if 0 < self.top_k < scaled.shape[-1]:
            values, tokens = scaled.topk(self.top_k, dim=-1)
            scaled = torch.full_like(scaled, -torch.inf).scatter(-1, tokens, values)
        if self.top_p < 1:
            scaled = self._nucleus(scaled)
        return scaled.log_softmax(dim=-1)

    def draw(self, logprobs: Tensor, generator: torch.Generator) -> Tensor:
        """A token `(n,)` for each row of logarithms."""
        if self.temperature == 0:
            return logprobs.argmax(dim=-1)
        # The first of several exponential clocks to ring, each as fast as its token is probable, is a fair draw.
        clocks = torch.empty_like(logprobs).exponential_(generator=generator).clamp_min_(1e-30)
        return (logprobs.exp() / clocks).argmax(dim=-1)

    def _nucleus(self, scaled: Tensor) -> Tensor:
        ordered, tokens = scaled.sort(dim=-1, descending=True, stable=True)
        # On the CPU, where sums in order are the same each time.
        shares = ordered.softmax(dim=-1).double().cpu()
        before = (shares.cumsum(dim=-1) - shares).to(scaled.device)
        before[:, 0] = 0
        kept = ordered.masked_fill(before >= self.top_p, -torch.inf)
        return torch.full_like(scaled, -torch.inf).scatter(-1, tokens, kept)
