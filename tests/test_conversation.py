from __future__ import annotations

import pytest
from hypothesis import given

from memory_routing import Conversation, ConversationError, Turn

from .strategies import conversations


@given(conversations)
def test_forms_are_equivalent(conversation: Conversation) -> None:
    assert Conversation.of(conversation) is conversation
    assert Conversation.of(conversation.turns) == conversation
    assert Conversation.of(conversation.to_dicts()) == conversation
    assert Conversation.of(conversation.to_dicts()).hash == conversation.hash


@given(conversations)
def test_transcript_round_trip(conversation: Conversation) -> None:
    opening = ("user:", "assistant:", "system:", "memory:")
    for turn in conversation.turns:
        lines = turn.text.replace("\r", "\n").split("\n")
        if any(line.lower().replace(" ", "").replace("\t", "").startswith(opening) for line in lines):
            return
    assert Conversation.from_transcript(conversation.to_transcript()) == conversation


def test_transcripts() -> None:
    read = Conversation.from_transcript
    assert read("Deadline: Friday") == Conversation((Turn("user", "Deadline: Friday"),))
    assert read("user: a\nAssistant : b\nMEMORY: c\nSystem: d") == Conversation(
        (Turn("user", "a"), Turn("assistant", "b"), Turn("memory", "c"), Turn("system", "d"))
    )
    assert read("intro\nASSISTANT: b") == Conversation((Turn("user", "intro"), Turn("assistant", "b")))
    assert read("USER: a\nNote: b\n  USER: c").turns == (Turn("user", "a\nNote: b\n  USER: c"),)
    assert read("USER: a\r\nASSISTANT: b\r\n").turns == (Turn("user", "a"), Turn("assistant", "b"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "empty text"),
        (" \n", "empty text"),
        ("USER:", "turn 0: user turn has no text"),
        ("USER: a\nASSISTANT:\nUSER: b", "turn 1: assistant turn has no text"),
        ([], "no turns"),
        ([{"role": "manager", "content": "a"}], "turn 0: unknown role 'manager'; roles are user, assistant"),
        ([{"role": "user", "content": "a"}, {"role": "user"}], "turn 1: 'content' is missing or no text"),
        ([{"content": "a"}], "turn 0: 'role' is missing"),
        ([{"role": "user", "content": None}], "turn 0: 'content' is missing or no text"),
        ([{"role": "user", "content": "  "}], "turn 0: user turn has no text"),
        (["a"], "turn 0: expected 'role' and 'content', found str"),
        ([Turn("user", "a"), 3], "turn 1: expected 'role' and 'content', found int"),
    ],
)
def test_what_is_no_conversation_is_refused_by_place(value: object, message: str) -> None:
    with pytest.raises(ConversationError) as error:
        Conversation.of(value)  # type: ignore[arg-type]
    assert message in str(error.value)


@pytest.mark.parametrize("value", [None, 3, {"role": "user", "content": "a"}, object()])
def test_other_types_are_type_errors(value: object) -> None:
    with pytest.raises(TypeError, match="a conversation is a text, a list of turns"):
        Conversation.of(value)  # type: ignore[arg-type]


def test_roles_are_read_in_any_case_and_context_is_marked() -> None:
    conversation = Conversation.of(
        [{"role": " User ", "content": "a", "name": "x"}, {"role": "MEMORY", "content": "b"}]
    )
    assert [turn.role for turn in conversation.turns] == ["user", "memory"]
    assert [turn.is_context for turn in conversation.turns] == [False, True]


def test_a_lone_surrogate_has_a_hash() -> None:
    assert Conversation.of("a \ud800 b").hash != Conversation.of("a \ud801 b").hash
