"""Base models of several architectures under the local Tinker service, without its HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

for package in ("torch", "tinker", "fastapi", "peft", "transformers"):
    pytest.importorskip(package, reason="the extra 'server' is not installed")

import torch
import transformers

from memory_routing.errors import ModelError
from memory_routing.server.base import Base
from memory_routing.server.choosing import Choice
from memory_routing.server.datums import training_datum
from memory_routing.server.folders import ModelFolder
from memory_routing.server.lora import LoraShape
from memory_routing.server.losses import LOSSES
from memory_routing.server.passes import micro_batches
from memory_routing.server.refusal import Refused
from memory_routing.server.sampling import SamplingTask, sample
from memory_routing.server.stops import Stops
from memory_routing.server.trainers import AdamSettings, ModelTrainer

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")

SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LOSS = LOSSES["cross_entropy"]
ADAM = AdamSettings(1e-2, 0.9, 0.95, 1e-8, 0.0, 0.0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def written(folder: Path, architecture: str, **changed: Any) -> ModelFolder:
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**SMALL, **changed)
    getattr(transformers, f"{architecture}ForCausalLM")(config).save_pretrained(folder)
    return ModelFolder.open("some/model", folder)


@pytest.mark.parametrize(
    ("architecture", "changed", "apart"),
    [
        ("Qwen2", {"tie_word_embeddings": True}, True),
        ("Qwen3", {}, True),
        ("Mistral", {"sliding_window": 8}, True),
        ("Gemma2", {"final_logit_softcapping": 5.0, "sliding_window": 8}, False),
    ],
)
def test_training_and_sampling_agree(
    tmp_path: Path, architecture: str, changed: dict[str, Any], apart: bool
) -> None:  # fmt: skip
    folder = written(tmp_path, architecture, **changed)
    base = Base(folder, torch.device("cpu"), torch.float32)
    assert base._apart == apart, "logits that a model scales or caps come from the model itself"
    trainer = ModelTrainer(base, LoraShape(4), seed=0)
    prompt = [5, 6, 7, 8, 9]

    def datum(tokens: list[int]) -> Any:
        inputs = {"target_tokens": np.array(tokens[1:])}
        return training_datum(0, np.array(tokens[:-1]), inputs, "cross_entropy", LOSS, 100, 64)

    losses = []
    for _ in range(4):
        losses.append(trainer.forward_backward([datum([*prompt, 11, 12]), datum([3, 4])], LOSS, {}, 64).loss)
        trainer.step(ADAM)
    assert losses[-1] < losses[0]
    base.adapters.use(trainer.adapter)
    task = SamplingTask(tuple(prompt), 3, 12, Choice(), Stops(), seed=1, prompt_logprobs=True)
    samples = sample(base, task)
    assert samples.prompt_logprobs is not None
    for sequence in samples.sequences:
        (found,) = trainer.forward([datum([*prompt, *sequence.tokens])], LOSS, {}, 64).logprobs
        np.testing.assert_allclose(found[4:, 0], sequence.logprobs, atol=1e-4)
        np.testing.assert_allclose(found[:4, 0], samples.prompt_logprobs[1:], atol=1e-4)
    base.adapters.use(None)
    plain = sample(base, task).prompt_logprobs
    trainer.close()
    assert plain is not None
    assert not np.allclose(plain[1:], samples.prompt_logprobs[1:], atol=1e-3), "the base model is as it was"


def test_adapters_are_on_the_layers_that_are_asked_for(tmp_path: Path) -> None:
    folder = written(tmp_path, "Qwen3Moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
    layers = {
        flag: LoraShape(2, **{name: name == flag for name in ("train_attn", "train_mlp", "train_unembed")})
        for flag in ("train_attn", "train_unembed")
    }
    assert {name.rpartition(".")[2] for name in layers["train_attn"].layers(folder)} == {
        "q_proj", "k_proj", "v_proj", "o_proj",
    }  # fmt: skip
    assert layers["train_unembed"].layers(folder) == ["lm_head"]
    assert not [name for name in LoraShape(2).layers(folder) if name.endswith(".gate")], "routers stay as they are"


def test_a_model_without_such_layers_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    folder = ModelFolder.open("some/gpt2", tmp_path)
    with pytest.raises(Refused, match=r"some/gpt2 \(gpt2\) has no linear layer for train_attn=True"):
        LoraShape(2, train_unembed=False).layers(folder)
    assert LoraShape(2).layers(folder) == ["lm_head"]


def test_what_is_no_language_model(tmp_path: Path) -> None:
    transformers.ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="holds no language model"):
        ModelFolder.open("some/vit", tmp_path)


def test_micro_batches_hold_every_datum_once_and_no_more_tokens_than_told() -> None:
    lengths = [3, 90, 7, 7, 40, 1, 200]
    batches = list(micro_batches(lengths, 100))
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 100
    assert len(list(micro_batches(lengths, 10**6))) == 1
