"""A base model in memory, shared by every trainer and sampler of it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer

from memory_routing.server.folders import ModelFolder
from memory_routing.server.lora import Adapters

__all__ = ["Base"]

_LOGITS: Final = 2**27
"""Numbers in the largest block of logits: half a gigabyte."""


class Base:
    """The frozen weights of a folder on a device, the adapters on them, and the network in two parts.

    The parts are apart so that logits, which are the largest thing in the pass, are made in blocks and only
    for the positions that need them.
    """

    def __init__(self, folder: ModelFolder, device: torch.device, dtype: torch.dtype) -> None:
        self.folder, self.device = folder, device
        model: Any = AutoModelForCausalLM.from_pretrained(folder.path, dtype=dtype, local_files_only=True)
        # Evaluation mode throughout: dropout would make the policy that is trained another than that which samples.
        self._model: Any = model.to(device).eval().requires_grad_(False)
        self._body: Any = self._model.base_model
        self._apart = self._is_body_and_head()
        self.adapters = Adapters(self._model, folder)

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The folder's tokenizer."""
        return AutoTokenizer.from_pretrained(self.folder.path, local_files_only=True)

    def states(self, ids: Tensor, mask: Tensor | None = None, cache: Any = None) -> tuple[Tensor, Any]:
        """States `(B, T, H)` of tokens `(B, T)` that follow those in the cache, and the cache with them."""
        network = self._body if self._apart else self._model
        caching = mask is None
        out = network(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=caching)
        states: Tensor = out.last_hidden_state if self._apart else out.logits
        return states, out.past_key_values if caching else None

    def logits(self, states: Tensor) -> Tensor:
        """Logits `(n, V)` in `float32` of states `(n, H)`."""
        # Looked up each time, for an adapter replaces the layer.
        return (self._model.get_output_embeddings()(states) if self._apart else states).float()

    def blocks(self, states: Tensor) -> Iterator[slice]:
        """Ranges of positions whose logits fit in memory together."""
        size = max(256, _LOGITS // self.folder.vocabulary)
        return (slice(start, start + size) for start in range(0, len(states), size))

    def logprobs(self, states: Tensor, targets: Tensor) -> Tensor:
        """Log-probabilities `(n, K)` of target tokens `(n, K)` after states `(n, H)`; differentiable."""
        parts = []
        blocks = list(self.blocks(states))
        for block in blocks:
            if len(blocks) > 1 and torch.is_grad_enabled():
                # Block by block in the backward pass too: logits are made again rather than kept.
                part = checkpoint(self._gather, states[block], targets[block], use_reentrant=False)
            else:
                part = self._gather(states[block], targets[block])
            parts.append(part)
        return torch.cat(parts) if parts else torch.zeros(targets.shape, device=self.device)

    def _gather(self, states: Tensor, targets: Tensor) -> Tensor:
        return self.logits(states).log_softmax(dim=-1).gather(-1, targets)

    def _is_body_and_head(self) -> bool:
        """Whether the logits are the head's output as it is; some models scale or cap them."""
        ids = torch.arange(min(8, self.folder.vocabulary), device=self.device)[None]
        head: nn.Module = self._model.get_output_embeddings()
        with torch.no_grad():
            whole = self._model(input_ids=ids, use_cache=False).logits
            states = self._body(input_ids=ids, use_cache=False).last_hidden_state
            return states.shape[-1] == getattr(head, "in_features", None) and torch.equal(head(states), whole)
