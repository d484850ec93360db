"""Cohere as a router: what the teacher itself would decide."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from typing import final

from memory_routing import marketing
from memory_routing.background import as_done, iterate, run
from memory_routing.cohere.service import Chat
from memory_routing.cohere.teacher import MODEL
from memory_routing.conversation import Conversation, ConversationLike
from memory_routing.dataset import Dataset
from memory_routing.decision import Decision, ScoredLabel
from memory_routing.errors import RouterError, TaxonomyError, TeacherError
from memory_routing.example import Example
from memory_routing.generation import Calls, Message
from memory_routing.generation.chat import annotation_request, guide_for, read_annotation
from memory_routing.labels import Malformed
from memory_routing.marketing import MARKETING
from memory_routing.prompt import annotation_question
from memory_routing.router import Router, as_conversations
from memory_routing.taxonomy import Taxonomy

__all__ = ["CohereRouter", "few_shot"]

_NONE_SHOTS = 3
"""Examples of none: a model that is asked for categories tends to find one."""


@final
class CohereRouter(Router):
    """Asks a model of Cohere's with the best prompt there is: definitions, the labelling guide and examples.

    The examples, with their evidence, are `shots`; for the marketing taxonomy they come from the packaged training data
    where left out: one for each category, some of none, one with several labels. Decisions have evidence and no scores.
    Raises `RouterError` where the service fails.
    """

    def __init__(
        self,
        taxonomy: Taxonomy = MARKETING,
        *,
        model: str = MODEL,
        guide: str | None = None,
        shots: Sequence[Example] | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        concurrency: int = 8,
        per_minute: int | None = None,
        retries: int = 6,
        timeout: float = 60.0,
    ) -> None:
        self.taxonomy, self._concurrency = taxonomy, concurrency
        if shots is None:
            shots = few_shot(marketing.dataset("train")) if taxonomy == MARKETING else ()
        if any(shot.labels.taxonomy != taxonomy for shot in shots):
            raise TaxonomyError(f"the examples have labels of another taxonomy than {taxonomy.name}")
        self._guide, self._examples = guide_for(taxonomy, guide), tuple(_messages(shots))
        self._chat = Chat(model, api_key, base_url, timeout)
        self._calls = Calls(retries=retries, timeout=timeout, per_minute=per_minute)
        self._name = f"cohere/{model}"

    def close(self) -> None:
        """Close the connections."""
        run(self._chat.close())

    def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
        """One decision for each conversation, in input order; see `Router.classify_batch`."""
        checked = as_conversations(conversations)
        decided: dict[int, Decision] = {}
        try:
            for (index, _), decision in iterate(as_done(self._decide, enumerate(checked), self._concurrency)):
                decided[index] = decision
        except TeacherError as error:
            raise RouterError(str(error), decided) from None
        return [decided[index] for index in range(len(checked))]

    async def _decide(self, item: tuple[int, Conversation]) -> Decision:
        _, conversation = item
        request = annotation_request(self.taxonomy, conversation, self._guide, 0.0, self._examples)
        answer = await self._calls.answer(request.hash, partial(self._chat, request))
        found = read_annotation(self.taxonomy, answer, conversation)
        if isinstance(found, Malformed):
            return Decision(self.taxonomy, (), router=self._name, malformed=found, raw=answer.text, usage=answer.usage)
        evidence = found.evidence or {}
        labels = (ScoredLabel(category, None, evidence[category.name]) for category in found.labels.categories)
        return Decision(self.taxonomy, tuple(labels), router=self._name, raw=answer.text, usage=answer.usage)


def few_shot(dataset: Dataset) -> list[Example]:
    """Examples for a prompt: one for each category, some of none, one with several labels; those of median length."""
    found = [_typical(e for e in dataset if e.labels.names == (name,)) for name in dataset.taxonomy.names]
    nones = sorted((e for e in dataset if e.labels.is_none), key=_length)
    cuts = range(1, _NONE_SHOTS + 1)
    found += [[nones[len(nones) * cut // (_NONE_SHOTS + 1)]] if nones else [] for cut in cuts]
    found.append(_typical(e for e in dataset if len(e.labels) > 1))
    return list({example.hash: example for group in found for example in group}.values())


def _typical(examples: Iterable[Example]) -> list[Example]:
    ordered = sorted((e for e in examples if e.annotation.evidence is not None), key=_length)
    return ordered[len(ordered) // 2 :][:1]


def _length(example: Example) -> tuple[int, str]:
    return sum(len(turn.text) for turn in example.conversation.turns), example.hash


def _messages(shots: Sequence[Example]) -> Iterable[Message]:
    for shot in shots:
        evidence = shot.annotation.evidence or {}
        labels = [{"category": name, "evidence": list(evidence.get(name, ()))} for name in shot.labels]
        yield Message("user", annotation_question(shot.conversation))
        yield Message("assistant", json.dumps({"labels": labels}))
