"""LoRA adapters: where they go, how large they are, and the many of them that share one base model."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from memory_routing.server.folders import ModelFolder
from memory_routing.server.refusal import Refused

__all__ = ["ALPHA", "Adapters", "LoraShape", "seed_of"]

ALPHA: Final = 32
_LARGEST_RANK: Final = 1024
_ATTENTION: Final = ("attn", "attention")
_MLP: Final = ("mlp", "ffn", "feed_forward", "moe", "experts")
_ROUTERS: Final = ("gate", "router", "shared_expert_gate")
"""Layers that choose among experts, which are not adapted."""


@attrs.frozen
class LoraShape:
    """Rank of an adapter and the layers it is on."""

    rank: int
    train_attn: bool = True
    train_mlp: bool = True
    train_unembed: bool = True

    def layers(self, folder: ModelFolder) -> list[str]:
        """Names of the linear layers that are adapted. Raises `Refused` for a bad rank and where there are none."""
        if not 1 <= self.rank <= _LARGEST_RANK:
            raise Refused(f"the LoRA rank is {self.rank}: choose one from 1 to {_LARGEST_RANK}")
        found = [name for name in folder.linear if self._adapts(name, folder)]
        if not found:
            raise Refused(
                f"{folder.name} ({folder.architecture}) has no linear layer for train_attn={self.train_attn}, "
                f"train_mlp={self.train_mlp}, train_unembed={self.train_unembed}: turn on another of them"
            )
        return found

    def parameters(self, folder: ModelFolder) -> int:
        """How many numbers such an adapter has."""
        return sum(self.rank * sum(folder.linear[name]) for name in self.layers(folder))

    def config(self, folder: ModelFolder) -> LoraConfig:
        """The adapter as PEFT is told of it, with the last parts of the layers' names where those are clear."""
        layers = self.layers(folder)
        last = {name.rpartition(".")[2] for name in layers}
        clear = all(name in layers for name in folder.linear if name.rpartition(".")[2] in last)
        return LoraConfig(
            r=self.rank,
            lora_alpha=ALPHA,
            lora_dropout=0.0,
            target_modules=sorted(last if clear else layers),
            task_type="CAUSAL_LM",
        )

    def _adapts(self, name: str, folder: ModelFolder) -> bool:
        if name == folder.head:
            return self.train_unembed
        *path, last = name.lower().split(".")
        if any(word in part for part in path for word in _ATTENTION):
            return self.train_attn
        return self.train_mlp and last not in _ROUTERS and any(word in part for part in path for word in _MLP)


def seed_of(model_id: str) -> int:
    """A seed for a model whose client gave none."""
    return int.from_bytes(hashlib.sha256(model_id.encode()).digest()[:4], "big")


class Adapters:
    """Adapters on one base model, of which at most one is in force.

    They are named by what `add` returns; their weights are `float32` and called as in PEFT's files.
    """

    def __init__(self, model: nn.Module, folder: ModelFolder) -> None:
        self._model, self._folder = model, folder
        self._peft: PeftModel | None = None
        self._numbers = itertools.count()
        self._parameters: dict[str, dict[str, nn.Parameter]] = {}

    def add(self, shape: LoraShape, seed: int) -> str:
        """A new adapter that changes nothing yet; its first factors depend on shape and seed alone."""
        name = f"adapter{next(self._numbers)}"
        config = shape.config(self._folder)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # Tied embeddings matter to those who merge an adapter, which is not done here.
            warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
            torch.manual_seed(seed)
            if self._peft is None:
                self._peft = get_peft_model(self._model, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
        found = {part: value for part, value in self._peft.named_parameters() if f".{name}." in part}
        self._parameters[name] = {part.replace(f".{name}.", "."): value for part, value in found.items()}
        return name

    def drop(self, name: str) -> None:
        """Forget an adapter."""
        self.use(None)
        del self._parameters[name]
        if self._peft is not None:
            self._peft.delete_adapter(name)

    def use(self, name: str | None, *, training: bool = False) -> None:
        """Put an adapter in force, or with `None` the base model as it is."""
        if self._peft is not None:
            tuner: Any = self._peft.base_model
            tuner.set_adapter([] if name is None else [name], inference_mode=not training)

    def parameters(self, name: str) -> Mapping[str, nn.Parameter]:
        """The weights of an adapter."""
        return self._parameters[name]

    def read(self, name: str) -> dict[str, Tensor]:
        """A copy of an adapter's weights."""
        return {part: value.detach().cpu().clone() for part, value in self._parameters[name].items()}

    def write(self, name: str, weights: Mapping[str, Tensor]) -> None:
        """Set an adapter's weights. Raises `Refused` where the names or sizes are those of another adapter."""
        own = self._parameters[name]
        if _sizes(own.items()) != _sizes(weights.items()):
            raise Refused("these weights are those of another model or LoRA configuration")
        with torch.no_grad():
            for part, value in own.items():
                value.copy_(weights[part])


def _sizes(weights: Iterable[tuple[str, Tensor]]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights}
