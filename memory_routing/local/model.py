"""The network: token states pool to turns, label by label; turns pool to the conversation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memory_routing.local.batches import Batch
from memory_routing.local.encoder import Encoder

__all__ = ["TurnModel", "conversation_logits"]

MASKED = -1e4
"""Stands for minus infinity where an infinite gradient would follow."""


class TurnModel(nn.Module):
    """Encoder and two linear heads: how much a token counts for a label, and what it says of it.

    `embedded.scoring` pools the same outputs in numpy. It takes the parts of a divided turn one by one, and training,
    which sees few of them, takes them together.
    """

    def __init__(self, encoder: Encoder, categories: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.attention = nn.Linear(encoder.width, categories, bias=False)
        self.value = nn.Linear(encoder.width, categories)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.attention.weight, std=0.02)
        # Every label starts out unlikely, as most are.
        nn.init.zeros_(self.value.weight)
        nn.init.constant_(self.value.bias, -2.5)

    def forward(self, batch: Batch) -> Tensor:
        """Logits `(B, turns, C)`; masked where a turn is absent or is context only."""
        states = self.encoder(batch.ids, batch.mask)
        attention = self.attention(states).float()
        values = self.value(self.dropout(states)).float()
        windows, length, categories = values.shape
        # Every conversation's tokens in a row, whichever windows they came in.
        slots = torch.where(batch.turns >= 0, batch.conversations[:, None] * batch.slots + batch.turns, batch.spare)
        slots = slots.reshape(windows * length, 1).expand(-1, categories)
        attention, values = attention.reshape(-1, categories), values.reshape(-1, categories)
        top = torch.full((batch.spare + 1, categories), MASKED)
        top = top.scatter_reduce(0, slots, attention.detach(), "amax").gather(0, slots)
        weights = torch.exp(attention - top)
        empty = torch.zeros(batch.spare + 1, categories)
        total = empty.scatter_add(0, slots, weights * values)
        pooled = total / empty.scatter_add(0, slots, weights).clamp(min=1e-30)
        pooled = pooled[:-1].view(-1, batch.slots, categories)
        return torch.where(batch.evidential[:, :, None], pooled, MASKED)


def conversation_logits(turns: Tensor) -> Tensor:
    """Log-sum-exp over the turns: logits `(B, C)` from `(B, turns, C)`."""
    return turns.logsumexp(dim=1)
