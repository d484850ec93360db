"""Teachers without a service, for what does not depend on one."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

from memory_routing import Annotation, Brief, Conversation, Example, LabelSet, Malformed, Taxonomy, TeacherGenerator
from memory_routing.decision import Usage
from memory_routing.generation import Answer, ChatTeacher, Prices, Request

from .phrases import recognised, write

Spoil: TypeAlias = Callable[[Request, dict[str, Any]], dict[str, Any] | str]


def conversation_for(labels: LabelSet, turns: int = 4, words: int = 80, seed: object = 0) -> Conversation:
    """A conversation that states these labels and no others."""
    return Conversation.of(write(random.Random(f"{labels} {seed}"), labels.names, turns, words))


def labels_of(taxonomy: Taxonomy, conversation: Conversation) -> Annotation:
    """What a conversation of these phrases states, and where."""
    evidence: dict[str, list[int]] = {}
    for i, turn in enumerate(conversation.turns):
        for name in recognised(taxonomy.names, turn.text) if turn.role == "user" else ():
            evidence.setdefault(name, []).append(i)
    return Annotation(taxonomy.labels(*evidence), {name: tuple(turns) for name, turns in evidence.items()})


class FakeTeacher(ChatTeacher):
    """A chat model that answers from the phrases. `spoil` may change what it is about to say, or raise."""

    def __init__(self, taxonomy: Taxonomy, spoil: Spoil = lambda request, said: said) -> None:
        super().__init__(taxonomy, model="fake", prices=Prices(1.0, 2.0))
        self._spoil = spoil
        self.asked: Counter[str] = Counter()

    async def ask(self, request: Request) -> Answer:
        self.asked[request.hash] += 1
        await asyncio.sleep(0)
        told = json.loads(request.messages[-1].content.splitlines()[-1])
        said = self._spoil(request, self._labels(told) if "conversation" in told else self._written(told, request))
        text = said if isinstance(said, str) else json.dumps(said)
        return Answer(text, Usage(request.size.input_tokens // 2, min(len(text) // 4, request.max_tokens)))

    def _written(self, told: dict[str, Any], request: Request) -> dict[str, Any]:
        names = [category.name for category in self.taxonomy if category.description in told["states"]]
        return {"conversation": write(random.Random(request.hash), names, told["turns"], told["words"])}

    def _labels(self, told: dict[str, Any]) -> dict[str, Any]:
        turns = [{"role": turn["role"], "content": turn["text"]} for turn in told["conversation"]]
        found = labels_of(self.taxonomy, Conversation.of(turns))
        return {"labels": [{"category": n, "evidence": list(t)} for n, t in (found.evidence or {}).items()]}


class PlainTeacher(TeacherGenerator):
    """A teacher that is no chat model."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.calls = 0

    async def generate(self, brief: Brief, attempt: int = 0) -> Example | Malformed:
        self.calls += 1
        if brief.number % 7 == 3 and attempt == 0:
            return Malformed("?", "not in the mood")
        conversation = conversation_for(brief.labels, brief.turns, brief.words, (brief.number, attempt))
        return Example(conversation, Annotation(brief.labels), metadata={"pen": "plain"})

    async def label(self, conversation: Conversation) -> Annotation | Malformed:
        self.calls += 1
        return labels_of(self.taxonomy, conversation)
