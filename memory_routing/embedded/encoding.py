"""Conversations as token windows: the same for training and for routing.

A window is `[CLS]` and then whole turns, each opened by a marker of its role and closed by `[SEP]`. A turn longer
than most is divided at the ends of sentences, else between words, and its parts stand like turns. What does
not fit is never cut off: long conversations fill several windows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from memory_routing.conversation import ROLES, Conversation, Role
from memory_routing.errors import ModelError

__all__ = ["SPECIAL_TOKENS", "ConversationEncoder", "Window", "make_tokenizer", "role_token"]

Ids = NDArray[np.int64]

_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*\s|\n")
_NO_TURN: Final = -1
_LONGEST_PART: Final = 64
"""Tokens of a turn that are pooled together: the mean over a longer text would drown one sentence of it."""


def role_token(role: Role) -> str:
    """The token that opens a turn of this role."""
    return f"[{role.upper()}]"


SPECIAL_TOKENS: Final = ("[UNK]", "[CLS]", "[SEP]", *(role_token(role) for role in ROLES))


def make_tokenizer(vocabulary: Mapping[str, int]) -> Tokenizer:
    """A lower-casing WordPiece tokenizer.

    The special tokens are ordinary entries that no text can spell: "[SEP]" in a message is punctuation.
    """
    tokenizer = Tokenizer(models.WordPiece(dict(vocabulary), unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@attrs.frozen(eq=False)
class Window:
    """Tokens that the encoder reads at once: `ids` `(T,)` and the turn of each token `(T,)`, -1 between parts."""

    ids: Ids
    turns: Ids


class ConversationEncoder:
    """Turns conversations into windows of at most `window` tokens; `part` is the most that one turn is read as.

    Raises `ModelError` for a tokenizer that lacks one of `SPECIAL_TOKENS`.
    """

    def __init__(self, tokenizer: Tokenizer, window: int, part: int = _LONGEST_PART) -> None:
        self._tokenizer = tokenizer
        self._window = window
        self._part = min(part, window - len(("[CLS]", "marker", "[SEP]")))
        self._id = _special_ids(tokenizer)

    def windows(self, conversation: Conversation) -> list[Window]:
        """All tokens of a conversation, in order, in as few windows as whole turns allow."""
        windows: list[Window] = []
        ids, turns = [self._id["[CLS]"]], [_NO_TURN]
        for piece, turn in self._pieces(conversation):
            if len(ids) + len(piece) > self._window and len(ids) > 1:
                windows.append(_window(ids, turns))
                ids, turns = ids[:1], turns[:1]
            ids += piece
            # The closing [SEP] belongs to no turn: it is the same everywhere.
            turns += [turn] * (len(piece) - 1) + [_NO_TURN]
        return [*windows, _window(ids, turns)]

    def _pieces(self, conversation: Conversation) -> Iterator[tuple[list[int], int]]:
        """Marker, text and `[SEP]` of each turn, or of each part of a turn that is too long."""
        for number, turn in enumerate(conversation.turns):
            encoding = self._tokenizer.encode(_encodable(turn.text), add_special_tokens=False)
            for part in _parts(encoding.ids, encoding.offsets, turn.text, self._part):
                yield [self._id[role_token(turn.role)], *part, self._id["[SEP]"]], number


def _special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    ids: dict[str, int] = {}
    for token in SPECIAL_TOKENS:
        number = tokenizer.token_to_id(token)
        if number is None:
            raise ModelError(f"the tokenizer's vocabulary lacks {token}: take one made by make_tokenizer")
        ids[token] = number
    return ids


def _window(ids: Sequence[int], turns: Sequence[int]) -> Window:
    return Window(np.array(ids, dtype=np.int64), np.array(turns, dtype=np.int64))


def _encodable(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, replaced one for one."""
    return text.encode("utf-8", "replace").decode()


def _parts(ids: list[int], offsets: list[tuple[int, int]], text: str, room: int) -> Iterator[list[int]]:
    """Divide tokens into runs of at most `room`: at the last end of a sentence, else of a word, else anywhere."""
    if len(ids) <= room:
        yield ids
        return
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    sentence_starts = set(np.searchsorted([start for start, _ in offsets], ends).tolist())
    word_starts = {i for i in range(1, len(ids)) if offsets[i][0] > offsets[i - 1][1]}
    start = 0
    while len(ids) - start > room:
        places = range(start + room, start, -1)
        cut = next((i for i in places if i in sentence_starts), None) or next(
            (i for i in places if i in word_starts), start + room
        )
        yield ids[start:cut]
        start = cut
    yield ids[start:]
