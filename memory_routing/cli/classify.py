"""`memory-routing classify`: decide what to remember."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from memory_routing.cli.console import emit, fail, say, show_table, to_terminal
from memory_routing.conversation import Conversation
from memory_routing.decision import Decision
from memory_routing.errors import BadLine, ConversationError
from memory_routing.files import read_json_lines
from memory_routing.progress import track
from memory_routing.router import Router

__all__ = ["classify"]

_CHUNK = 64
"""Conversations that are routed at a time, so that answers flow and memory stays flat."""

ModelOption = Annotated[Path | None, typer.Option("--model", help="Model folder; the shipped model if left out.")]


def classify(
    text: Annotated[str | None, typer.Argument(help="A message, or a transcript with USER: and ASSISTANT:.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="Transcript, or turns as JSON (.json); - for standard input.")
    ] = None,
    jsonl: Annotated[
        Path | None, typer.Option(help="JSON lines with id and conversation; - for standard input.")
    ] = None,
    model: ModelOption = None,
) -> None:
    """Decide which memory categories a conversation belongs to.

    A table on a terminal, one JSON object a line elsewhere. With --jsonl a bad line becomes {"id", "error"}
    in its place. Exit 0 if all went well, 1 if some conversations failed, 2 if nothing could be tried.

    Example: memory-routing classify "Our brand voice is dry and factual, no exclamation marks."
    """
    if sum(given is not None for given in (text, file, jsonl)) != 1:
        fail('give exactly one of TEXT, --file and --jsonl, as in: memory-routing classify "We ship on Mondays."')
    if jsonl is not None:
        lines = _read(jsonl)
        failed = _route_lines(Router.load(model), lines)
        raise typer.Exit(1 if failed else 0)
    try:
        conversation = _conversation(text, file)
        decision = Router.load(model).classify(conversation)
    except ConversationError as error:
        fail(str(error), code=1)
    if to_terminal():
        _show(conversation, decision)
    else:
        emit(decision.to_dict())


def _read(path: Path) -> bytes:
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def _conversation(text: str | None, file: Path | None) -> Conversation:
    if file is None:
        return Conversation.of(text or "")
    try:
        content = _read(file).decode("utf-8-sig")
        return Conversation.of(json.loads(content) if file.suffix == ".json" else content)
    except UnicodeDecodeError as error:
        raise ConversationError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise ConversationError(f"{file}: not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except (ConversationError, TypeError) as error:
        raise ConversationError(f"{file}: {error}") from None


def _route_lines(router: Router, data: bytes) -> int:
    """Write one line for each line read, in order; return how many failed."""
    failed = 0
    rows = list(read_json_lines(data))
    write = _say_line if to_terminal() else emit
    for answer in track(_answers(router, rows), "routing", len(rows)):
        write(answer)
        failed += "error" in answer
    return failed


def _say_line(answer: dict[str, Any]) -> None:
    said = f"error: {answer['error']}" if "error" in answer else ", ".join(answer["categories"])
    say(f"{answer['id']}  {said}")


def _answers(router: Router, rows: Iterable[tuple[int, Any | BadLine]]) -> Iterator[dict[str, Any]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, _CHUNK)):
        read = [_line(number, row) for number, row in chunk]
        good = [item for _, item in read if isinstance(item, Conversation)]
        decisions = iter(_decide(router, good))
        for identity, item in read:
            answer = next(decisions) if isinstance(item, Conversation) else item
            if isinstance(answer, Decision):
                yield {"id": identity, **answer.to_dict()}
            else:
                yield {"id": identity, "error": str(answer)}


def _decide(router: Router, conversations: list[Conversation]) -> list[Decision | ConversationError]:
    """Route a chunk; where a router refuses one (too long), the others still get their decisions."""
    try:
        return list(router.classify_batch(conversations))
    except ConversationError:
        return [_decide_one(router, conversation) for conversation in conversations]


def _decide_one(router: Router, conversation: Conversation) -> Decision | ConversationError:
    try:
        return router.classify(conversation)
    except ConversationError as error:
        return error


def _line(number: int, row: Any) -> tuple[Any, Conversation | str]:
    if isinstance(row, BadLine):
        return None, str(row)
    if not isinstance(row, dict) or "conversation" not in row:
        identity = row.get("id") if isinstance(row, dict) else None
        return identity, f"line {number}: expected an object with 'id' and 'conversation'"
    try:
        return row.get("id"), Conversation.of(row["conversation"])
    except (ConversationError, TypeError) as error:
        return row.get("id"), f"line {number}: {error}"


def _show(conversation: Conversation, decision: Decision) -> None:
    if not decision.store:
        say("none: nothing here is worth storing")
        return
    rows = []
    for label in decision.labels:
        life = label.category.lifetime
        score = "–" if label.score is None else f"{label.score:.2f}"
        turns = "\n".join(f"[{i}] {conversation.turns[i].text}" for i in label.evidence or ())
        rows.append((label.category.name, score, "no end" if life is None else f"{life.days} days", turns))
    show_table(f"store for: {decision.scope}", ("category", "score", "keep", "said in"), rows)
