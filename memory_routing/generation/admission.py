"""Admission: which of the conversations that passed the gate make up the dataset, in the order of the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from memory_routing.dataset import Dataset
from memory_routing.duplicates import TextIndex
from memory_routing.example import Example, Scenario
from memory_routing.generation.config import GenerationConfig
from memory_routing.generation.gate import Refusal
from memory_routing.generation.plan import Plan

__all__ = ["SURPLUS", "Admission"]

SURPLUS: Final = "surplus"
"""Refused for labels that nobody asked for and that have enough conversations: nothing is wrong with it."""


class Admission:
    """Takes conversations one by one, or says why not.

    What it takes depends on what came before, so whoever asks must ask in an order that no timing changes.
    """

    def __init__(self, plan: Plan, config: GenerationConfig, benchmarks: Sequence[Scenario]) -> None:
        self._plan, self._config = plan, config
        self._allowed = {name: int(config.surplus * count) for name, count in plan.balance.items()}
        self._extra: Counter[str] = Counter()
        self._texts, self._benchmark = TextIndex(config.gate.similarity), TextIndex(config.gate.similarity)
        self._groups: dict[int, int] = {}
        self._numbers: list[int] = []
        for scenario in benchmarks:
            self._benchmark.add(scenario.conversation)
        self.taken: dict[int, Example] = {}
        """By the number of the brief."""

    def offer(self, number: int, example: Example) -> Refusal | None:
        """Take a conversation for a brief, or say why it is refused."""
        leaks = self._benchmark.similar(example.conversation)
        if leaks:
            return Refusal("benchmark", f"shares text with scenario {leaks[0][0]} of the benchmarks")
        near = [self._numbers[place] for place, _ in self._texts.similar(example.conversation)]
        for other in near:
            if self.taken[other].labels == example.labels or self.taken[other].hash == example.hash:
                return Refusal("duplicate", f"of the conversation for brief {other}")
        extra = example.labels - self._plan[number].labels
        for name in extra:
            if self._extra[name] >= self._allowed[name]:
                return Refusal(SURPLUS, f"{name}, which nobody asked for, has enough conversations")
        self._extra.update(extra)
        self._texts.add(example.conversation)
        self._numbers.append(number)
        # Nearly the same text with other labels is a contrast: it must stay on one side of a split.
        self._groups[number] = min([number, *(self._groups[other] for other in near)])
        self.taken[number] = example
        return None

    def dataset(self) -> Dataset:
        """What was taken, in the order of the plan, contrasts in one group each."""
        sizes = Counter(self._groups.values())
        examples = [
            _named(self.taken[number], number, self._groups[number] if sizes[self._groups[number]] > 1 else None)
            for number in sorted(self.taken)
        ]
        return Dataset(self._plan.taxonomy, tuple(examples))


def _named(example: Example, number: int, group: int | None) -> Example:
    extra: Mapping[str, str] = {} if group is None else {"group": f"contrast-{group}"}
    return attrs.evolve(example, id=f"g{number:06d}", metadata={**example.metadata, **extra})
