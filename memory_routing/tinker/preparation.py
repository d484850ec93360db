"""A dataset as tokens, before anything is sent."""

from __future__ import annotations

import random
from collections.abc import Sequence

import attrs

from memory_routing.dataset import Dataset
from memory_routing.datums import SupervisedDatum
from memory_routing.errors import TrainingError
from memory_routing.labels import LabelSet
from memory_routing.progress import track
from memory_routing.renderer import Renderer

__all__ = ["Item", "Order", "Prepared", "prepare", "spaced"]


@attrs.frozen
class Item:
    """A labelled conversation as tokens."""

    id: str
    prompt: tuple[int, ...]
    target: tuple[int, ...]
    labels: LabelSet

    @property
    def datum(self) -> SupervisedDatum:
        """What supervised training learns from it."""
        return SupervisedDatum(self.prompt, self.target)

    def __len__(self) -> int:
        return len(self.prompt) + len(self.target)


@attrs.frozen
class Prepared:
    """The items that fit the model's context, and the ids of those that do not and are left out."""

    items: tuple[Item, ...]
    too_long: tuple[str, ...] = ()

    def counts(self) -> dict[str, float]:
        """How many conversations and tokens there are."""
        lengths = [len(item) for item in self.items]
        return {
            "conversations": len(self.items),
            "too_long": len(self.too_long),
            "tokens": sum(lengths),
            "answer_tokens": sum(len(item.target) for item in self.items),
            "mean": sum(lengths) / len(lengths),
            "longest": max(lengths),
        }


def prepare(dataset: Dataset, renderer: Renderer, what: str, longest: int | None = None) -> Prepared:
    """Render every example, in an order that depends on the examples alone, as the dataset's hash does.

    Raises `TrainingError` where none is left of at most `longest` tokens.
    """
    items, too_long = [], []
    examples = sorted(dataset, key=lambda example: example.hash)
    for index, example in enumerate(track(examples, f"{what} data as tokens", len(examples))):
        name = example.id or str(index)
        prompt, target = renderer.prompt(example.conversation), renderer.target(example.labels)
        if longest is not None and len(prompt) + len(target) > longest:
            too_long.append(name)
        else:
            items.append(Item(name, tuple(prompt), tuple(target), example.labels))
    if not items:
        reason = f"none of the {len(too_long)} conversations fits {longest} tokens" if too_long else "it is empty"
        raise TrainingError(f"the {what} dataset cannot be used: {reason}")
    return Prepared(tuple(items), tuple(too_long))


def spaced(items: Sequence[Item], n: int) -> tuple[Item, ...]:
    """At most n items, evenly spaced over all."""
    n = min(n, len(items))
    return tuple(items[i * len(items) // n] for i in range(n))


class Order:
    """Which of n items each batch holds: one permutation after another, the same for the same seed from any step on."""

    def __init__(self, n: int, size: int, seed: str) -> None:
        self.n, self.size, self.seed = n, size, seed
        self._permutations: dict[int, list[int]] = {}

    def __call__(self, step: int) -> list[int]:
        """Indices of the batch at a 0-based step, always `size` of them."""
        return [self._at(place) for place in range(step * self.size, (step + 1) * self.size)]

    def _at(self, place: int) -> int:
        epoch, index = divmod(place, self.n)
        if epoch not in self._permutations:
            order = list(range(self.n))
            random.Random(f"{self.seed}/{epoch}").shuffle(order)
            self._permutations = {key: kept for key, kept in self._permutations.items() if key == epoch - 1}
            self._permutations[epoch] = order
        return self._permutations[epoch][index]
