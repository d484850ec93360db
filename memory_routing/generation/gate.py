"""The quality gate: what a conversation must be before its labels are asked for, and the labels after."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import attrs

from memory_routing.conversation import Conversation
from memory_routing.example import Annotation
from memory_routing.generation.config import Gate, Keep
from memory_routing.labels import LabelSet
from memory_routing.taxonomy import Taxonomy
from memory_routing.teacher import Brief

__all__ = ["Refusal", "check_agreement", "check_conversation"]

_GREETING: Final = re.compile(
    r"\W*(hi|hello|hey|hiya|howdy|dear|greetings|welcome|good (morning|afternoon|evening|day))\b", re.IGNORECASE
)
_OFFER: Final = re.compile(r"how (can|may) i (help|assist)|what can i (do|help)", re.IGNORECASE)
# Not orders to an assistant, which are the matter of every conversation, but to whoever labels it.
_ORDER: Final = re.compile(
    r"(ignore|disregard|forget|override)\W+(\w+\W+){0,3}(instruction|prompt|rule|guide|brief)s?\b"
    r"|system prompt|json|\blabell?(ed|ing|er|s)?\s+(this|it|the|that|as)\b|\bannotat(e|or|ion)"
    r"|(memory|this|right|correct)\s+(categor(y|ies)|labels?)\b|\bevidence\s*[\"':]",
    re.IGNORECASE,
)


@attrs.frozen
class Refusal:
    """Why a conversation is not taken: a reason to count by, and what was found."""

    reason: str
    detail: str = ""


def check_conversation(conversation: Conversation, brief: Brief, gate: Gate) -> Refusal | None:
    """What is wrong with a conversation as an answer to its brief, or `None`."""
    return next(_findings(conversation, brief, gate), None)


def _findings(conversation: Conversation, brief: Brief, gate: Gate) -> Iterator[Refusal]:
    turns = conversation.turns
    roles = [turn.role for turn in turns]
    if not set(roles) <= {"user", "assistant"} or "user" not in roles:
        yield Refusal("roles", f"roles {', '.join(dict.fromkeys(roles))}")
    if any(a == b for a, b in pairwise(roles)):
        yield Refusal("roles", "they do not alternate")
    if abs(len(turns) - brief.turns) > gate.turns:
        yield Refusal("turns", f"{len(turns)} for {brief.turns}")
    words = sum(len(turn.text.split()) for turn in turns)
    if not gate.shortest * brief.words <= words <= gate.longest * brief.words:
        yield Refusal("length", f"{words} words for {brief.words}")
    if _GREETING.match(turns[0].text) or any(_OFFER.search(turn.text) for turn in turns[:2]):
        yield Refusal("greeting", turns[0].text[:60])
    text = "\n".join(turn.text for turn in turns)
    if found := _category_names(brief.labels.taxonomy).search(text):
        yield Refusal("category name", found[0])
    if found := _ORDER.search(text):
        yield Refusal("order to the labeller", found[0])


def check_agreement(target: LabelSet, annotation: Annotation, conversation: Conversation, keep: Keep) -> Refusal | None:
    """What is wrong with the independent labels of a conversation that was written for others, or `None`."""
    labels, evidence = annotation.labels, annotation.evidence or {}
    if labels != target and (keep == "exact" or target.is_none or not target <= labels):
        return Refusal("labels differ", f"asked for {target}, labelled {labels}")
    for name in labels:
        if not any(conversation.turns[turn].role == "user" for turn in evidence.get(name, ())):
            return Refusal("evidence", f"no user turn for {name}")
    return None


def _category_names(taxonomy: Taxonomy) -> re.Pattern[str]:
    """Category names, whole and, where they have several words, without their scope and as words."""
    names = [re.escape(name) for name in taxonomy.names]
    for name in taxonomy.names:
        parts = re.split(r"[._-]", name.partition(".")[2])
        if len(parts) > 1:
            names.append(r"[\s._-]+".join(map(re.escape, parts)))
    return re.compile(rf"\b({'|'.join(names)})s?\b", re.IGNORECASE)
