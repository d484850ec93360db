"""Any teacher, with what it wrote and labelled kept on disk."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, final

from memory_routing.conversation import Conversation
from memory_routing.decision import Usage
from memory_routing.example import Annotation, Example
from memory_routing.generation.answers import Answer
from memory_routing.generation.calls import Calls
from memory_routing.labels import Malformed
from memory_routing.taxonomy import Taxonomy
from memory_routing.teacher import Brief, TeacherGenerator

__all__ = ["RememberedTeacher"]


@final
class RememberedTeacher(TeacherGenerator):
    """A teacher that is asked nothing twice: for those that do not show the raw answers of a model."""

    def __init__(self, teacher: TeacherGenerator, calls: Calls) -> None:
        self.taxonomy: Taxonomy = teacher.taxonomy
        self._teacher, self._calls = teacher, calls

    async def generate(self, brief: Brief, attempt: int = 0) -> Example | Malformed:
        """What the teacher wrote; see `TeacherGenerator.generate`."""

        async def ask() -> Mapping[str, Any]:
            written = await self._teacher.generate(brief, attempt)
            if isinstance(written, Malformed):
                return _malformed(written)
            return {"conversation": written.conversation.to_dicts(), "metadata": dict(written.metadata)}

        row = await self._row(f"generate/{brief.hash}/{attempt}", ask)
        if "reason" in row:
            return Malformed(row["text"], row["reason"])
        return Example(Conversation.of(row["conversation"]), Annotation(brief.labels), metadata=row["metadata"])

    async def label(self, conversation: Conversation) -> Annotation | Malformed:
        """How the teacher labelled; see `TeacherGenerator.label`."""

        async def ask() -> Mapping[str, Any]:
            annotation = await self._teacher.label(conversation)
            if isinstance(annotation, Malformed):
                return _malformed(annotation)
            evidence = annotation.evidence
            said = None if evidence is None else {name: list(turns) for name, turns in evidence.items()}
            return {"labels": list(annotation.labels), "evidence": said}

        row = await self._row(f"label/{conversation.hash}", ask)
        if "reason" in row:
            return Malformed(row["text"], row["reason"])
        return Annotation(self.taxonomy.labels(*row["labels"]), row["evidence"])

    async def _row(self, key: str, ask: Callable[[], Awaitable[Mapping[str, Any]]]) -> dict[str, Any]:
        async def answer() -> Answer:
            return Answer(json.dumps(await ask()), Usage(0))

        row: dict[str, Any] = json.loads((await self._calls.answer(key, answer)).text)
        return row


def _malformed(found: Malformed) -> Mapping[str, Any]:
    return {"text": found.text, "reason": found.reason}
