"""What a plan will use and cost, before anything is spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import attrs

from memory_routing.conversation import Conversation, Turn
from memory_routing.decision import Usage
from memory_routing.generation.answers import Message
from memory_routing.generation.calls import Prices
from memory_routing.generation.chat import ChatTeacher
from memory_routing.generation.config import GenerationConfig
from memory_routing.generation.plan import Plan

__all__ = ["Forecast", "forecast"]

YIELD: Final = 0.7
"""Share of the written conversations that is kept, until a run of one's own says otherwise: an assumption."""
LABELLED: Final = 0.9
"""Share of the written conversations that come as far as the labels: an assumption."""
_CHARACTERS: Final = 4.0
"""Of a token of English, on average."""
_TOKENS_A_WORD: Final = 1.4
_TOKENS_A_TURN: Final = 15
"""Of the JSON around it."""
_LABEL_TOKENS: Final = 40
_TOKENS_A_SECOND: Final = 40.0
"""That a large model writes: an assumption."""


@attrs.frozen
class Forecast:
    """What a plan is expected to need, at a yield that is assumed."""

    conversations: int
    """That will be written, so that enough are kept."""
    calls: int
    kept: float
    """Share of the written conversations that is expected to be kept."""
    usage: Usage
    usd: float | None
    """`None` without prices."""
    usd_at_most: float | None
    """If every brief used all its attempts, and every answer were as long as it may be."""
    seconds: float


def forecast(
    teacher: ChatTeacher,
    plan: Plan,
    config: GenerationConfig = GenerationConfig(),  # noqa: B008
    *,
    prices: Prices | None = None,
    kept: float = YIELD,
) -> Forecast:
    """Add up what writing and labelling the briefs takes. Raises `ValueError` for a yield outside (0, 1]."""
    if not 0 < kept <= 1:
        raise ValueError(f"the yield is a share above 0 and up to 1, not {kept}")
    prices = prices or teacher.prices
    expected, most = Usage(0), Usage(0)
    for brief in plan:
        said = round(brief.words * _TOKENS_A_WORD) + brief.turns * _TOKENS_A_TURN
        written = teacher.writing(brief)
        labelled = teacher.labelling(_blank(brief.turns, brief.words))
        expected += Usage(round(_tokens(written.messages)), said)
        expected += Usage(round(LABELLED * _tokens(labelled.messages)), round(LABELLED * _LABEL_TOKENS))
        most += written.size + labelled.size
    attempts = min(1 / kept, config.attempts)
    usage = Usage(round(expected.input_tokens * attempts), round(expected.output_tokens * attempts))
    conversations = math.ceil(len(plan) * attempts)
    calls = math.ceil(conversations * (1 + LABELLED))
    working = usage.output_tokens / _TOKENS_A_SECOND / config.concurrency
    paced = 0.0 if config.per_minute is None else 60 * calls / config.per_minute
    return Forecast(
        conversations=conversations,
        calls=calls,
        kept=kept,
        usage=usage,
        usd=None if prices is None else prices.usd(usage),
        usd_at_most=None if prices is None else config.attempts * prices.usd(most),
        seconds=max(working, paced),
    )


def _tokens(messages: Sequence[Message]) -> float:
    return sum(len(message.content) for message in messages) / _CHARACTERS


def _blank(turns: int, words: int) -> Conversation:
    """A conversation of this length."""
    text = "lorem " * max(1, words // turns)
    return Conversation(tuple(Turn("user" if i % 2 == 0 else "assistant", text) for i in range(turns)))
