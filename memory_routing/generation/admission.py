"""Admission: which of the conversations that passed the gate make up the dataset, in the order of the plan."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from memory_routing.conversation import Conversation
from memory_routing.dataset import Dataset
from memory_routing.duplicates import FEWEST, SharedText, TextIndex, shingles
from memory_routing.example import Example, Scenario
from memory_routing.generation.config import GenerationConfig
from memory_routing.generation.gate import Refusal
from memory_routing.generation.plan import Plan

__all__ = ["SURPLUS", "Admission", "name_of"]

SURPLUS: Final = "surplus"
"""Refused for labels that nobody asked for and that have enough conversations: nothing is wrong with it."""


def name_of(number: int) -> str:
    """The id of the conversation for a brief."""
    return f"g{number:06d}"


class Admission:
    """Takes conversations one by one, or says why not.

    What it takes depends on what came before, so whoever asks must ask in an order that no timing changes.
    """

    def __init__(self, plan: Plan, config: GenerationConfig, benchmarks: Sequence[Scenario]) -> None:
        self._plan = plan
        self._asked = {brief.number: brief.labels for brief in plan}
        self._allowed = {name: math.ceil(config.surplus * count) for name, count in plan.balance.items()}
        self._extra: Counter[str] = Counter()
        self._texts = TextIndex(config.gate.similarity)
        self._benchmark = _Quoted(benchmarks, config.gate.similarity)
        self._groups: dict[int, int] = {}
        self._numbers: list[int] = []
        self.taken: dict[int, Example] = {}
        """By the number of the brief."""

    def offer(self, number: int, example: Example) -> Refusal | None:
        """Take a conversation for a brief, or say why it is refused."""
        quoted = self._benchmark(example.conversation)
        if quoted is not None:
            return Refusal("benchmark", f"shares text with scenario {quoted.id} of a benchmark")
        near = [self._numbers[place] for place, _ in self._texts.similar(example.conversation)]
        for other in near:
            if self.taken[other].labels == example.labels or self.taken[other].hash == example.hash:
                return Refusal("duplicate", f"of the conversation for brief {other}")
        extra = example.labels - self._asked[number]
        for name in extra:
            if self._extra[name] >= self._allowed[name]:
                return Refusal(SURPLUS, f"{name}, which nobody asked for, has enough conversations")
        self._extra.update(extra)
        self._texts.add(example.conversation)
        self._numbers.append(number)
        self._join(number, [self._groups[other] for other in near])
        self.taken[number] = example
        return None

    def _join(self, number: int, near: Sequence[int]) -> None:
        """Put a brief and the groups that it is near to into one, named after its first.

        Nearly the same text with other labels is a contrast: it must stay on one side of a split, and what
        is near to two groups holds them together.
        """
        first = min([number, *near])
        self._groups[number] = first
        if len({*near}) > 1:
            self._groups = {one: first if group in near else group for one, group in self._groups.items()}

    def dataset(self) -> Dataset:
        """What was taken, in the order of the plan, contrasts in one group each."""
        sizes = Counter(self._groups.values())
        examples = [
            _named(self.taken[number], number, self._groups[number] if sizes[self._groups[number]] > 1 else None)
            for number in sorted(self.taken)
        ]
        return Dataset(self._plan.taxonomy, tuple(examples))


class _Quoted:
    """Which scenario a conversation quotes: has so large a share of its shingles, whatever else it says."""

    def __init__(self, scenarios: Sequence[Scenario], share: float) -> None:
        self._scenarios = list(scenarios)
        self._texts = SharedText(scenario.conversation for scenario in scenarios)
        # Few shingles may be shared by accident, unless the scenario has no more.
        self._needed = [max(math.ceil(share * size), min(FEWEST, size)) for size in self._texts.sizes]

    def __call__(self, conversation: Conversation) -> Scenario | None:
        shared = self._texts.shared(shingles(conversation))
        quoted = [place for place, count in shared.items() if count >= self._needed[place]]
        return self._scenarios[min(quoted)] if quoted else None


def _named(example: Example, number: int, group: int | None) -> Example:
    extra: Mapping[str, str] = {} if group is None else {"group": f"contrast-{group}"}
    return attrs.evolve(example, id=name_of(number), metadata={**example.metadata, **extra})
