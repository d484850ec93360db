"""A whole run of the Tinker trainer on this machine: base, supervised and reinforced, by equal greedy decoding.

Makes a small Llama, pre-trains it, serves it, trains it and scores what comes out on conversations held back. The
task `cues` is that of the tests, where one word decides; `packaged` has the packaged data, and a model that has read
nothing else. Results go to docs/results/language_model.json; tables.py and curves.py read them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from memory_routing import MARKETING, Checkpoint, Dataset, Scenario, Taxonomy, evaluate, marketing
from memory_routing.frozen import plain
from memory_routing.prompt import system_prompt, user_prompt
from memory_routing.runs import read_rows
from memory_routing.selection import best_supervised, released
from memory_routing.tinker import (
    ReinforcementConfig,
    SupervisedConfig,
    TinkerConfig,
    TinkerRouter,
    TinkerTrainer,
)
from memory_routing.tinker.preparation import Order
from memory_routing.watch import Watch

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import tiny, tiny_llama

NAME = "example/small-llama"
OUT = Path(__file__).parents[1] / "docs" / "results" / "language_model.json"
CURVES = [
    "loss",
    "validation/loss",
    "reward",
    "validation/reward",
    "kl/sampler/k3",
    "kl/step/k3",
    "kl/sft/k3",
    "entropy",
]


@attrs.frozen
class Task:
    """What is learned, and from what."""

    taxonomy: Taxonomy
    train: Dataset
    validation: Dataset
    scenarios: tuple[Scenario, ...]


def cues() -> Task:
    held = tuple(Scenario(e.conversation, (e.labels,), e.id) for e in tiny.dataset(200, 9))
    return Task(tiny.TAXONOMY, tiny.dataset(2000, 1), tiny.dataset(100, 2), held)


def packaged() -> Task:
    return Task(MARKETING, marketing.dataset("train"), marketing.dataset("validation"), marketing.benchmark())


def make_for_cues(folder: Path) -> dict[str, Any]:
    """The model of the tests, which comes with another mapping from words to labels."""
    started = time.perf_counter()
    model = LlamaForCausalLM.from_pretrained(tiny_llama.pretrain(folder))
    about = {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    return {**about, "pretraining": {"steps": 200, "batch": 32}, "pretraining_seconds": time.perf_counter() - started}


def make(folder: Path, *, width: int, layers: int, vocabulary: int, steps: int, batch: int) -> dict[str, Any]:
    """A tokenizer and a model, pre-trained to continue the packaged conversations."""
    texts = [user_prompt(example.conversation) for example in marketing.dataset("train")]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([*texts, *[system_prompt(MARKETING)] * 100], trainer)
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=special[0], eos_token=special[1], pad_token=special[2]
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    rows = [torch.tensor([tokens.bos_token_id, *ids]) for ids in tokens(texts, add_special_tokens=False)["input_ids"]]
    order, started, losses = Order(len(rows), batch, "pretraining"), time.perf_counter(), []
    for step in range(steps):
        ids = torch.nn.utils.rnn.pad_sequence([rows[i][:256] for i in order(step)], batch_first=True, padding_value=-1)
        logits = model(ids[:, :-1].clamp_min(0)).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=-1)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"pre-training {step} of {steps}: {loss.item():.3f}", flush=True)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "width": width,
        "layers": layers,
        "vocabulary": len(tokens),
        "pretraining": {"steps": steps, "batch": batch, "first_loss": losses[0], "last_loss": losses[-1]},
        "pretraining_seconds": time.perf_counter() - started,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["cues", "packaged"])
    parser.add_argument("work", type=Path, help="folder for model, checkpoints and run; a killed run goes on there")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--pretraining", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--group-size", type=int, default=32)
    parser.add_argument("--rl-learning-rate", type=float, default=2e-4)
    told = parser.parse_args()
    model, about = told.work / "model", told.work / "model.json"
    if not about.exists():
        sizes = {"width": told.width, "layers": told.layers, "vocabulary": told.vocabulary}
        about.parent.mkdir(parents=True, exist_ok=True)
        made = make_for_cues(model) if told.task == "cues" else make(model, **sizes, steps=told.pretraining, batch=16)
        about.write_text(json.dumps(made))
    config = TinkerConfig(
        base_model=NAME,
        renderer="role_colon",
        max_tokens=60,
        sft=SupervisedConfig(steps=told.steps, batch=told.batch, learning_rate=told.learning_rate),
        rl=ReinforcementConfig(
            iterations=told.iterations,
            groups=told.groups,
            group_size=told.group_size,
            learning_rate=told.rl_learning_rate,
            watch=Watch(halt_after={"sampler": 1}),
        ),
    )
    arguments = ["--model", f"{NAME}={model}", "--store", str(told.work / "store"), "--port", "0"]
    service = subprocess.Popen(
        [sys.executable, "-m", "memory_routing", "tinker-server", *arguments], stderr=subprocess.PIPE, text=True
    )
    assert service.stderr is not None
    try:
        line = service.stderr.readline()
        found = re.search(r"at (http://\S+) ", line)
        assert found, line
        results = run(told.work / "run", cues() if told.task == "cues" else packaged(), config, model, found[1])
        known = json.loads(OUT.read_text()) if OUT.exists() else {}
        known[told.task] = {"model": json.loads(about.read_text()), **results}
        OUT.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    finally:
        service.terminate()
        service.wait()


def run(folder: Path, task: Task, config: TinkerConfig, model: Path, url: str) -> dict[str, Any]:
    """Train, and score the three stages."""
    started = time.perf_counter()
    TinkerTrainer(config, base_url=url, tokenizer=model).fit(task.train, task.validation, folder)
    seconds = time.perf_counter() - started
    checkpoints = Checkpoint.read_all(folder)
    stages: dict[str, Checkpoint | str] = {
        "base": NAME,
        "SFT": best_supervised(checkpoints),
        "SFT + RL": released(checkpoints),
    }
    rows = read_rows(folder)
    base_reward = next(row["validation/reward"] for row in rows if "validation/reward" in row)
    table = {}
    for name, checkpoint in stages.items():
        renderer = config.renderer if isinstance(checkpoint, str) else None
        router = TinkerRouter(
            checkpoint, task.taxonomy, renderer=renderer, tokenizer=model, base_url=url, max_tokens=config.max_tokens
        )
        found = evaluate(router, task.scenarios)
        router.close()
        malformed = sum(result.decision.malformed is not None for result in found.results)
        table[name] = {
            "checkpoint": name if isinstance(checkpoint, str) else f"{checkpoint.phase} step {checkpoint.step}",
            **{key: found.summary[key].to_dict() for key in ("f1", "exact", "macro_f1")},
            "malformed": malformed / len(task.scenarios),
            "validation_reward": base_reward if isinstance(checkpoint, str) else checkpoint.metrics["reward"],
        }
    steps = [row for row in rows if "cpu_seconds" in row]
    constant = next(row for row in rows if "constant/reward" in row)
    return {
        "config": plain(config),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}",
        "training_seconds": seconds,
        "benchmark": {"scenarios": len(task.scenarios), "stages": table},
        "constant": {"answer": constant["constant/answer"], "reward": constant["constant/reward"]},
        "loop_cpu_share": sum(row["cpu_seconds"] for row in steps) / sum(row["seconds"] for row in steps),
        "curves": {
            f"{phase}/{name}": [[row["step"], row[name]] for row in rows if row["phase"] == phase and name in row]
            for phase in ("sft", "rl")
            for name in CURVES
        },
    }


if __name__ == "__main__":
    main()
