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
    r"\W*(hi\b(?!-)|(hello|hey|hiya|howdy|greetings|good (morning|afternoon|evening|day))\b)", re.IGNORECASE
)
_OFFER: Final = re.compile(r"how (can|may) i (help|assist)|what can i (do|help)", re.IGNORECASE)
_TEXT: Final = (
    r"(this|the|that|above|whole|entire)\s+(\w+\s+)?(conversation|chat|messages?|dialog(ue)?|exchange|transcript)"
)
_READER: Final = r"(reviewer|classifier|labell?er|annotator|grader|rater)s?"
# Not orders to an assistant, which are the matter of every conversation, but to whoever labels it.
_ORDER: Final = re.compile(
    r"\b(ignore|disregard|forget|override)\s+(all\s+|any\s+|the\s+|your\s+|these\s+|those\s+)*"
    r"((previous|prior|above|other|earlier)\s+(\w+\s+)?(instruction|prompt|rule|guide|brief)|instructions\b|prompt\b)"
    rf"|\b(label|classif|categor|tag|mark|file|count|treat|annotat|record)\w*\s+{_TEXT}"
    rf"|\b{_READER}\s*:|\b(to|for|dear|attention)\s+(the\s+)?{_READER}\b"
    r"|\bwhoever\s+(reads|labels|evaluates|reviews|rates|judges|classifies)\b"
    r"|\b(answer|output|respond|reply|return)\w*\s+(\S+\s+){0,4}(json\b|(an\s+)?empty\s+list)"
    r"|\b(correct|right|true|expected)\s+(answer|label|annotation)s?\s+(here\s+)?(is|are|would|must|should)\b"
    r"|system prompt|<\||\"(labels|evidence|categor(y|ies))\"\s*:",
    re.IGNORECASE,
)
_SHORTEST_WORD: Final = 4
"""Letters of a word in a name below which it is too common to tell (`to_do`)."""


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
    for turn in turns[:2]:
        if _GREETING.match(turn.text) or (turn.role == "assistant" and _OFFER.search(turn.text)):
            yield Refusal("greeting", turn.text[:60])
    # Written as a transcript, as prompts have it, it must still be the same conversation.
    if Conversation.from_transcript(conversation.to_transcript()) != conversation:
        yield Refusal("roles", "a text opens turns of its own")
    text = "\n".join(turn.text for turn in turns)
    if found := _category_names(brief.labels.taxonomy, words=gate.name_words).search(text):
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


def _category_names(taxonomy: Taxonomy, *, words: bool) -> re.Pattern[str]:
    """Category names, whole and, where they have several words, without their scope; with `words` also set apart."""
    between = r"[\W_]*" if words else r"[._\-\u2010-\u2015]*"
    names = [re.escape(name) for name in taxonomy.names]
    for name in taxonomy.names:
        parts = re.split(r"[._-]", name.partition(".")[2])
        if len(parts) > 1 and all(len(part) >= _SHORTEST_WORD for part in parts):
            names.append(between.join(map(re.escape, parts)))
    return re.compile(rf"({'|'.join(names)})(?![a-rt-z])", re.IGNORECASE)
