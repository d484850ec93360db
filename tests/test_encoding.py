"""No token is lost, and windows are whole turns where that can be."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing import Conversation, Turn
from memory_routing.embedded.encoding import SPECIAL_TOKENS, ConversationEncoder, Window, make_tokenizer
from memory_routing.embedded.scoring import ConversationLogits, logsumexp, score, sigmoid
from memory_routing.errors import ModelError

from .strategies import conversations

LETTERS = [chr(c) for c in range(97, 123)]
VOCABULARY = [*SPECIAL_TOKENS, *LETTERS, *(f"##{c}" for c in LETTERS), ".", "!", "?", "[", "]", "sep", "cls", "user"]
TOKENIZER = make_tokenizer({token: place for place, token in enumerate(VOCABULARY)})
ID = {token: place for place, token in enumerate(VOCABULARY)}


def encoder(window: int, part: int = 10_000) -> ConversationEncoder:
    return ConversationEncoder(TOKENIZER, window, part)


def test_a_foreign_tokenizer_is_refused() -> None:
    foreign = make_tokenizer({token: place for place, token in enumerate(VOCABULARY) if token != "[SEP]"})
    with pytest.raises(ModelError, match=r"lacks \[SEP\]"):
        ConversationEncoder(foreign, 32)


def turn_tokens(windows: list[Window], turn: int) -> list[int]:
    """The tokens of a turn over all windows, without markers."""
    ids = [i for w in windows for i, t in zip(w.ids.tolist(), w.turns.tolist(), strict=True) if t == turn]
    return [i for i in ids if VOCABULARY[i] not in SPECIAL_TOKENS or VOCABULARY[i] == "[UNK]"]


@given(conversations, st.integers(8, 40), st.integers(1, 40))
def test_every_token_is_in_exactly_one_window(conversation: Conversation, size: int, part: int) -> None:
    windows = encoder(size, part).windows(conversation)
    for window in windows:
        assert 2 < len(window.ids) <= size
        assert len(window.ids) == len(window.turns)
        assert window.ids[0] == ID["[CLS]"]
        assert window.ids[-1] == ID["[SEP]"]
    for number, turn in enumerate(conversation.turns):
        expected = TOKENIZER.encode(turn.text, add_special_tokens=False).ids
        assert turn_tokens(windows, number) == expected
    order = np.concatenate([window.turns[window.turns >= 0] for window in windows])
    assert (np.diff(order) >= 0).all()


@given(conversations)
def test_what_fits_is_one_window(conversation: Conversation) -> None:
    assert len(encoder(10_000).windows(conversation)) == 1


def test_windows_hold_whole_turns() -> None:
    conversation = Conversation(tuple(Turn("user", "a b c d") for _ in range(5)))
    windows = encoder(14).windows(conversation)
    assert [sorted(set(w.turns.tolist()) - {-1}) for w in windows] == [[0, 1], [2, 3], [4]]


def test_a_turn_too_long_is_divided_at_sentences_then_at_words() -> None:
    sentences = Conversation.of("a b c. d e f! g h i? j k l.")
    texts = [[VOCABULARY[i] for i in w.ids.tolist()[2:-1]] for w in encoder(12).windows(sentences)]
    assert texts == [["a", "b", "c", ".", "d", "e", "f", "!"], ["g", "h", "i", "?", "j", "k", "l", "."]]
    words = Conversation.of("abcd efgh ijkl")
    texts = [[VOCABULARY[i] for i in w.ids.tolist()[2:-1]] for w in encoder(9).windows(words)]
    assert texts == [["a", "##b", "##c", "##d"], ["e", "##f", "##g", "##h"], ["i", "##j", "##k", "##l"]]
    word = Conversation.of("abcdefghij")
    assert [len(w.ids) for w in encoder(8).windows(word)] == [8, 8]


def test_parts_of_a_turn_share_a_window() -> None:
    (window,) = encoder(40, 4).windows(Conversation.of("a b. c d. e"))
    assert window.turns.tolist() == [-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, -1]


def test_a_text_cannot_spell_a_special_token() -> None:
    (window,) = encoder(64).windows(Conversation.of("[SEP] [USER] [CLS]"))
    special = {ID[token] for token in ("[SEP]", "[USER]", "[CLS]")}
    assert [i for i in window.ids.tolist()[2:-1] if i in special] == []


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\x00\x01", "\u202e", "\U0001f600" * 50, "é" * 300, "\u200b."])
def test_odd_text_is_encoded(text: str) -> None:
    windows = encoder(16).windows(Conversation.of(text))
    assert all(len(window.ids) <= 16 for window in windows)


def reference(windows: list[Window], outputs: list[np.ndarray], evidential: list[bool]) -> ConversationLogits:
    """The same pooling, a turn and a category at a time."""
    categories = outputs[0].shape[1] // 2
    logits = np.full((len(evidential), categories), -np.inf)
    tokens = [
        (window.turns[i], w, output[i])
        for w, (window, output) in enumerate(zip(windows, outputs, strict=True))
        for i in range(len(window.ids))
    ]
    best = np.full(categories, -np.inf)
    for w in range(len(windows)):
        parts = [np.full(categories, -np.inf)]
        for turn, run in groupby((item for item in tokens if item[1] == w), key=lambda item: item[0]):
            if turn >= 0 and evidential[turn]:
                rows = np.array([row for _, _, row in run])
                attention, values = rows[:, :categories], rows[:, categories:]
                weights = np.exp(attention - attention.max(axis=0))
                parts.append((weights * values).sum(axis=0) / weights.sum(axis=0))
                logits[turn] = np.maximum(logits[turn], parts[-1])
        best = np.maximum(best, logsumexp(np.array(parts)))
    return ConversationLogits(best, logits)


@given(conversations, st.integers(8, 60), st.integers(1, 60), st.integers(0, 1000))
def test_pooling_is_what_it_says(conversation: Conversation, size: int, part: int, seed: int) -> None:
    windows = encoder(size, part).windows(conversation)
    rng = np.random.default_rng(seed)
    outputs = [rng.normal(size=(len(w.ids), 6)) for w in windows]
    evidential = [not turn.is_context for turn in conversation.turns]
    ours, theirs = score(windows, outputs, evidential), reference(windows, outputs, evidential)
    np.testing.assert_allclose(ours.turns, theirs.turns)
    np.testing.assert_allclose(ours.conversation, theirs.conversation)
    assert (ours.conversation >= ours.turns.max(axis=0)).all()
    if not any(evidential):
        assert (ours.conversation == -np.inf).all()


def test_sigmoid_does_not_overflow() -> None:
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(sigmoid(np.array([-np.inf, -1e4, 0, 1e4])), [0, 0, 0.5, 1])
