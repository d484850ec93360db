"""Folders with a base model, as Hugging Face lays them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from memory_routing.errors import ModelError

__all__ = ["ModelFolder"]

_WEIGHTS = ("*.safetensors", "*.bin")


@attrs.frozen(eq=False)
class ModelFolder:
    """What a folder says of its model before any weight is read."""

    name: str
    """As clients name it."""
    path: Path
    architecture: str
    vocabulary: int
    context: int
    """Tokens that the model can read at once."""
    eos: frozenset[int]
    """Tokens that end an answer."""
    linear: dict[str, tuple[int, int]]
    """Every linear layer with its inputs and outputs, by its name in the model."""
    head: str | None
    """Name of the layer that gives the logits."""
    parameters: int

    @classmethod
    def open(cls, name: str, path: Path) -> ModelFolder:
        """Read the configuration. Raises `ModelError` for a folder without a causal language model."""
        try:
            config: Any = AutoConfig.from_pretrained(path, local_files_only=True)
            with torch.device("meta"):
                model: Any = AutoModelForCausalLM.from_config(config)
        except (OSError, ValueError, KeyError, AttributeError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{path} holds no language model that transformers can load ({reason}): "
                "give the folder of a downloaded model, with its config.json"
            ) from None
        if not any(file for pattern in _WEIGHTS for file in path.glob(pattern)):
            raise ModelError(f"{path} has a config.json but no weights: download *.safetensors into it as well")
        text = config.get_text_config()
        head = model.get_output_embeddings()
        layers = {part: layer for part, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        return cls(
            name=name,
            path=path,
            architecture=str(config.model_type),
            vocabulary=int(model.get_input_embeddings().num_embeddings),
            context=int(getattr(text, "max_position_embeddings", None) or 2048),
            eos=_eos(path, text),
            linear={part: (layer.in_features, layer.out_features) for part, layer in layers.items()},
            head=next((part for part, layer in layers.items() if layer is head), None),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
        )


def _eos(path: Path, config: Any) -> frozenset[int]:
    found: Any = config.eos_token_id
    if (path / "generation_config.json").exists():
        told: Any = GenerationConfig.from_pretrained(path, local_files_only=True)
        found = told.eos_token_id if told.eos_token_id is not None else found
    if found is None:
        return frozenset()
    return frozenset(found) if isinstance(found, list) else frozenset([found])
