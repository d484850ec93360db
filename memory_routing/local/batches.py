"""Examples as padded tensors, in batches of similar length."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from memory_routing.embedded.encoding import ConversationEncoder, Window
from memory_routing.example import Example

__all__ = ["Batch", "Encoded", "collate", "encode", "mask_words", "shuffled_batches"]

_POOL = 8
"""Batches that are drawn together and sorted by length, so that little is padded."""


@attrs.frozen(eq=False)
class Encoded:
    """An example as windows and targets: `labels` `(C,)`, `evidence` `(turns, C)`, `evidential` `(turns,)`."""

    windows: tuple[Window, ...]
    labels: Tensor
    evidence: Tensor
    evidential: Tensor

    @property
    def tokens(self) -> int:
        """Length over all windows."""
        return sum(len(window.ids) for window in self.windows)


@attrs.frozen(eq=False)
class Batch:
    """Some examples, padded.

    `ids`, `mask` and `turns` are `(W, T)` over all windows, `conversations` `(W,)` says whose window it is;
    `evidential` `(B, turns)`, `labels` `(B, C)` and `evidence` `(B, turns, C)` are the conversations'.
    """

    ids: Tensor
    mask: Tensor
    turns: Tensor
    conversations: Tensor
    evidential: Tensor
    labels: Tensor
    evidence: Tensor

    @property
    def slots(self) -> int:
        """Turns of the longest conversation."""
        return self.evidential.shape[1]

    @property
    def spare(self) -> int:
        """The slot for tokens that belong to no turn."""
        return self.evidential.numel()


def encode(example: Example, encoder: ConversationEncoder) -> Encoded:
    """An example as the network reads it. Evidence is required."""
    names = example.labels.taxonomy.names
    labels = torch.zeros(len(names))
    evidence = torch.zeros(len(example.conversation), len(names))
    for name, turns in (example.annotation.evidence or {}).items():
        column = names.index(name)
        labels[column] = 1
        evidence[list(turns), column] = 1
    evidential = torch.tensor([not turn.is_context for turn in example.conversation.turns])
    return Encoded(tuple(encoder.windows(example.conversation)), labels, evidence, evidential)


def collate(items: Sequence[Encoded]) -> Batch:
    """Pad some examples to one batch."""
    owned = [(i, window) for i, item in enumerate(items) for window in item.windows]
    length = max(len(window.ids) for _, window in owned)
    ids = np.zeros((len(owned), length), dtype=np.int64)
    turns = np.full((len(owned), length), -1, dtype=np.int64)
    mask = np.zeros((len(owned), length), dtype=bool)
    for row, (_, window) in enumerate(owned):
        size = len(window.ids)
        ids[row, :size], turns[row, :size], mask[row, :size] = window.ids, window.turns, True
    pad = torch.nn.utils.rnn.pad_sequence
    return Batch(
        ids=torch.from_numpy(ids),
        mask=torch.from_numpy(mask),
        turns=torch.from_numpy(turns),
        conversations=torch.tensor([i for i, _ in owned]),
        evidential=pad([item.evidential for item in items], batch_first=True),
        labels=torch.stack([item.labels for item in items]),
        evidence=pad([item.evidence for item in items], batch_first=True),
    )


def mask_words(batch: Batch, share: float, mask: int, kept: Tensor) -> Batch:
    """The batch with about this share of its tokens replaced by the token `mask`, except the tokens `kept` `(K,)`."""
    hidden = (torch.rand(batch.ids.shape) < share) & batch.mask & ~torch.isin(batch.ids, kept)
    return attrs.evolve(batch, ids=batch.ids.masked_fill(hidden, mask))


def shuffled_batches(items: Sequence[Encoded], size: int, draw: random.Random) -> Iterator[Batch]:
    """Every item once, in batches of similar length and in random order."""
    order = list(items)
    draw.shuffle(order)
    batches: list[list[Encoded]] = []
    for start in range(0, len(order), size * _POOL):
        pool = sorted(order[start : start + size * _POOL], key=lambda item: item.tokens)
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    draw.shuffle(batches)
    return map(collate, batches)
