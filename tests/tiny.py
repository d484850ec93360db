"""A base model small enough to train in seconds, and data that it can learn."""

from __future__ import annotations

import random

import torch

from memory_routing import Annotation, Category, Conversation, Dataset, Example, Horizon, Taxonomy, Turn
from memory_routing.conversation import ROLES
from memory_routing.embedded.encoding import SPECIAL_TOKENS
from memory_routing.local.encoder import Pretrained

TAXONOMY = Taxonomy(
    "weather",
    "1",
    (
        Category("sky.rain", "Rain", Horizon.SHORT),
        Category("sky.wind", "Wind", Horizon.MEDIUM),
        Category("ground.frost", "Frost", Horizon.LONG),
    ),
)
CUES = {
    "sky.rain": ["rain", "drizzle", "shower"],
    "sky.wind": ["wind", "gale", "breeze"],
    "ground.frost": ["frost", "ice"],
}
FILLER = "the a it was on in we saw some today here and there then again very quite little much more".split()  # noqa: SIM905
WIDTH, INNER, HEADS, LAYERS = 32, 64, 4, 2


def pretrained() -> Pretrained:
    """Random weights under the names of the real ones, from a fixed seed."""
    words = [*FILLER, *(word for cue in CUES.values() for word in cue), *ROLES, ".", *"abcdefghijklmnopqrstuvwxyz"]
    fixed = ["[PAD]", *SPECIAL_TOKENS[:3], "[MASK]", *(f"[unused{i}]" for i in range(len(ROLES)))]
    vocabulary = {token: place for place, token in enumerate(dict.fromkeys([*fixed, *words]))}
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return 0.1 * torch.randn(*shape, generator=generator)

    weights = {
        "embeddings.word_embeddings.weight": draw(len(vocabulary), WIDTH),
        "embeddings.position_embeddings.weight": draw(128, WIDTH),
        "embeddings.token_type_embeddings.weight": draw(2, WIDTH),
    }

    def linear(name: str, out: int, into: int) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = draw(out, into), draw(out)

    def norm(name: str) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = 1 + draw(WIDTH), draw(WIDTH)

    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{layer}.attention.{part}", WIDTH, WIDTH)
        linear(f"{layer}.intermediate.dense", INNER, WIDTH)
        linear(f"{layer}.output.dense", WIDTH, INNER)
        norm(f"{layer}.attention.output.LayerNorm")
        norm(f"{layer}.output.LayerNorm")
    return Pretrained(weights, vocabulary, HEADS, LAYERS)


def dataset(n: int, seed: int) -> Dataset:
    """Conversations in which a cue word in a user's turn is the whole truth."""
    rng = random.Random(seed)
    return Dataset(TAXONOMY, tuple(_example(rng, f"{seed}-{i}") for i in range(n)))


def _example(rng: random.Random, name: str) -> Example:
    turns: list[Turn] = []
    said: dict[str, list[int]] = {}
    for place in range(rng.randint(1, 4)):
        words = rng.choices(FILLER, k=rng.randint(3, 8))
        role = rng.choice(["user", "user", "user", "assistant", "memory"])
        if role == "user" and rng.random() < 0.5:
            category = rng.choice(TAXONOMY.names)
            words[rng.randrange(len(words))] = rng.choice(CUES[category])
            said.setdefault(category, []).append(place)
        turns.append(Turn(role, " ".join(words) + f" {name[-1]}."))
    annotation = Annotation(TAXONOMY.labels(*said), said)
    return Example(Conversation(tuple(turns)), annotation, name)
