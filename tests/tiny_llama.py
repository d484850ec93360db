"""A Llama small enough to train on one core, with a tokenizer trained on the packaged data."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from memory_routing import MARKETING, marketing
from memory_routing.prompt import system_prompt, user_prompt
from memory_routing.tinker import CookbookRenderer
from memory_routing.tinker.preparation import Order, prepare

from . import tiny

NAME = "test/tiny-llama"
BEGIN, END, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>"
_HEADERS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


@functools.cache
def tokenizer(vocabulary: int = 2048) -> PreTrainedTokenizerFast:
    """Byte-level, so that it writes every text, with the special tokens of Llama 3."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    texts = [system_prompt(MARKETING), system_prompt(tiny.TAXONOMY)]
    texts += [user_prompt(example.conversation) for example in marketing.dataset("train").examples[:1500]]
    texts += [user_prompt(example.conversation) for example in tiny.dataset(200, 0)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BEGIN, END, PAD, *_HEADERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=BEGIN, eos_token=END, pad_token=PAD)


def write(folder: Path, *, width: int = 64, layers: int = 2, seed: int = 0) -> Path:
    """A model folder as Hugging Face lays it out, with random weights."""
    tokens = tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def pretrain(folder: Path, *, steps: int = 200, batch: int = 32) -> Path:
    """Write a model and train all its weights on another mapping from words to labels than the one to be learned.

    It knows the form of prompts and answers and where to look, so that a few steps show whether training works.
    """
    write(folder)
    renderer = CookbookRenderer(tiny.TAXONOMY, tokenizer(), "role_colon")
    names = tiny.TAXONOMY.names
    turned = dict(zip(names, (*names[1:], names[0]), strict=True))
    items = prepare(tiny.dataset(3000, 7), renderer, "pretraining").items
    order = Order(len(items), batch, "pretraining")
    model = LlamaForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 20)
        batched = [items[i] for i in order(step)]
        answers = [renderer.target(tiny.TAXONOMY.labels(*(turned[name] for name in item.labels))) for item in batched]
        rows = [torch.tensor([*item.prompt, *answer]) for item, answer in zip(batched, answers, strict=True)]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        place = torch.arange(ids.shape[1])
        own = torch.stack(
            [(place >= len(row) - len(a)) & (place < len(row)) for row, a in zip(rows, answers, strict=True)]
        )
        states = model.model(ids[:, :-1]).last_hidden_state[own[:, 1:]]
        loss = torch.nn.functional.cross_entropy(model.lm_head(states), ids[:, 1:][own[:, 1:]])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder
