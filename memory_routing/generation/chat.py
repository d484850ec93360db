"""A teacher over a chat model: the prompts it sends and how it reads the answers."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import attrs

from memory_routing.conversation import Conversation
from memory_routing.errors import ConversationError, DatasetError
from memory_routing.example import Annotation, Example
from memory_routing.files import parse_json
from memory_routing.generation.answers import Answer, Message, Request
from memory_routing.generation.calls import Calls, Prices
from memory_routing.labels import Malformed
from memory_routing.marketing import GUIDE, MARKETING
from memory_routing.prompt import (
    annotation_prompt,
    annotation_question,
    annotation_schema,
    writing_prompt,
    writing_question,
    writing_schema,
)
from memory_routing.taxonomy import Taxonomy
from memory_routing.teacher import Brief, TeacherGenerator
from memory_routing.wire import strict_converter, structure

__all__ = ["ChatTeacher", "annotation_request", "guide_for", "read_annotation"]

ANNOTATION_TOKENS = 600


@attrs.frozen
class _Turn:
    role: str
    content: str


@attrs.frozen
class _Written:
    conversation: list[_Turn]


@attrs.frozen
class _Label:
    category: str
    evidence: list[int]


@attrs.frozen
class _Labelled:
    labels: list[_Label]


_CONVERTER = strict_converter(forbid_extra_keys=False)


def guide_for(taxonomy: Taxonomy, guide: str | None = None) -> str:
    """The text that tells how a taxonomy's conversations are labelled; the marketing taxonomy has its own."""
    if guide is None:
        return GUIDE.read_text(encoding="utf-8") if taxonomy == MARKETING else ""
    return guide


class ChatTeacher(TeacherGenerator):
    """A teacher that asks a chat model, for whatever service: subclass it and implement `ask`.

    It writes at a high temperature and without examples, which a model would copy, and labels at a low one, blind to
    what was asked for. `guide` tells what is particular to labelling in the taxonomy.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        *,
        model: str,
        guide: str | None = None,
        prices: Prices | None = None,
        write_temperature: float = 0.95,
        label_temperature: float = 0.1,
    ) -> None:
        self.taxonomy, self.model, self.prices = taxonomy, model, prices
        self._write_temperature, self._label_temperature = write_temperature, label_temperature
        self._guide = guide_for(taxonomy, guide)
        self.calls = Calls()
        """What every call goes through."""

    @abstractmethod
    async def ask(self, request: Request) -> Answer:
        """One call to the model, without retries. Raises `TeacherError` where no answer came."""

    async def close(self) -> None:
        """Let go of connections; the next call opens new ones."""

    def through(self, calls: Calls) -> Self:
        """The same teacher with its calls going through others."""
        other = copy.copy(self)
        other.calls = calls
        return other

    def identity(self) -> Mapping[str, Any]:
        """Its model and what it asks; see `TeacherGenerator.identity`."""
        brief = Brief(self.taxonomy.none, "?", "?", "?", "?", turns=1, words=1)
        asked = [self.writing(brief).hash, self.labelling(Conversation.of("?")).hash]
        return {**super().identity(), "model": self.model, "prompts": asked}

    def writing(self, brief: Brief, attempt: int = 0) -> Request:
        """What is asked for a conversation to the brief."""
        return Request(
            (Message("system", writing_prompt()), Message("user", writing_question(brief))),
            writing_schema(),
            self._write_temperature,
            # A word has some 1.4 tokens; JSON adds a dozen to a turn. Twice that is room enough.
            max_tokens=200 + 3 * brief.words + 25 * brief.turns,
            # Another for each brief and attempt, the same in every process.
            seed=int(brief.hash[:7], 16) + attempt,
        )

    def labelling(self, conversation: Conversation) -> Request:
        """What is asked for the labels of a conversation."""
        return annotation_request(self.taxonomy, conversation, self._guide, self._label_temperature)

    async def generate(self, brief: Brief, attempt: int = 0) -> Example | Malformed:
        """A conversation for the brief; see `TeacherGenerator.generate`."""
        answer = await self._answer(f"write/{brief.hash}/{attempt}", self.writing(brief, attempt))
        written = _read(answer, _Written)
        if isinstance(written, Malformed):
            return written
        try:
            conversation = Conversation.of([attrs.asdict(turn) for turn in written.conversation])
        except ConversationError as error:
            return Malformed(answer.text, str(error))
        return Example(conversation, Annotation(brief.labels))

    async def label(self, conversation: Conversation) -> Annotation | Malformed:
        """Labels and evidence of a conversation; see `TeacherGenerator.label`."""
        answer = await self._answer(f"label/{conversation.hash}", self.labelling(conversation))
        return read_annotation(self.taxonomy, answer, conversation)

    async def _answer(self, key: str, request: Request) -> Answer:
        return await self.calls.answer(f"{key}/{request.hash}", partial(self.ask, request), request.size)


def annotation_request(
    taxonomy: Taxonomy,
    conversation: Conversation,
    guide: str,
    temperature: float,
    examples: Sequence[Message] = (),
) -> Request:
    """What is asked for the labels of a conversation, after questions and answers as examples."""
    return Request(
        (
            Message("system", annotation_prompt(taxonomy, guide)),
            *examples,
            Message("user", annotation_question(conversation)),
        ),
        annotation_schema(taxonomy),
        temperature,
        max_tokens=ANNOTATION_TOKENS,
    )


def read_annotation(taxonomy: Taxonomy, answer: Answer, conversation: Conversation) -> Annotation | Malformed:
    """Labels and evidence of an answer; `Malformed` where they are not of this taxonomy and conversation."""
    found = _read(answer, _Labelled)
    if isinstance(found, Malformed):
        return found
    evidence: dict[str, tuple[int, ...]] = {}
    for label in found.labels:
        if label.category not in taxonomy:
            return Malformed(answer.text, f"unknown label {label.category!r}")
        evidence[label.category] = (*evidence.get(label.category, ()), *label.evidence)
    try:
        annotation = Annotation(taxonomy.labels(*evidence), evidence)
        return Example(conversation, annotation).annotation
    except DatasetError as error:
        return Malformed(answer.text, str(error))


def _read(answer: Answer, kind: type[Any]) -> Any:
    if not answer.complete:
        return Malformed(answer.text, "cut by length")
    try:
        return structure(_CONVERTER, parse_json(answer.text.encode("utf-8", "surrogatepass")), kind)
    except ValueError as error:
        return Malformed(answer.text, str(error))
