"""`memory-routing classify`: decide what to remember."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from memory_routing.cli.console import emit, fail, say, show_table, to_terminal, warn
from memory_routing.cli.models import ModelOption, load_model
from memory_routing.conversation import Conversation
from memory_routing.decision import Decision
from memory_routing.errors import BadLine, ConversationError
from memory_routing.files import parse_json, read_json_lines
from memory_routing.progress import track
from memory_routing.router import Router

__all__ = ["classify"]

_CHUNK = 64
"""Lines of a file that are routed at a time: enough to keep every processor busy."""
_OPENING = 40
"""Characters of a conversation that a table shows."""


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
        raise typer.Exit(_route_lines(load_model(model), jsonl))
    try:
        conversation = _conversation(text, file)
        decision = load_model(model).classify(conversation)
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
    data = _read(file)
    try:
        return Conversation.of(_turns(data, told=file.suffix.lower() == ".json"))
    except UnicodeDecodeError as error:
        raise ConversationError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except (ValueError, TypeError) as error:
        raise ConversationError(f"{file}: {error}") from None


def _turns(data: bytes, *, told: bool) -> Any:
    """Turns as JSON, which have no name that has `told` so when they come through a pipe, or else the text."""
    try:
        value = parse_json(data)
    except ValueError:
        if told:
            raise
        return data.decode("utf-8-sig")
    if isinstance(value, dict) and "conversation" in value:
        return value["conversation"]
    return value if told or isinstance(value, (list, dict)) else data.decode("utf-8-sig")


def _route_lines(router: Router, path: Path) -> int:
    """Answer each line, in order; return the exit code."""
    if str(path) == "-":
        # A line is answered when it comes, though one at a time.
        answers = track(_answers(router, sys.stdin.buffer, chunk=1), "routing")
    else:
        lines = path.read_bytes().splitlines()
        answers = track(_answers(router, lines, chunk=_CHUNK), "routing", sum(map(bool, map(bytes.strip, lines))))
    done = failed = 0
    shown: list[tuple[str, ...]] = []
    for conversation, answer in answers:
        done += 1
        failed += "error" in answer
        if to_terminal():
            shown.append(_row(conversation, answer))
        else:
            emit(answer)
    if shown:
        show_table(f"{done} routed, {failed} failed", ("id", "conversation", "store", "for", "horizon"), shown)
    if not done:
        warn(f"{path}: no lines in it")
    return 1 if failed else 0


def _row(conversation: Conversation | None, answer: dict[str, Any]) -> tuple[str, ...]:
    text = "" if conversation is None else " ".join(conversation.turns[0].text.split())
    opening = text if len(text) <= _OPENING else f"{text[: _OPENING - 1]}…"
    name = "" if answer["id"] is None else str(answer["id"])
    if "error" in answer:
        return name, opening, f"error: {answer['error']}", "", ""
    return name, opening, "\n".join(answer["categories"]), answer["scope"], answer["horizon"] or ""


def _answers(
    router: Router, lines: Iterable[bytes], chunk: int
) -> Iterator[tuple[Conversation | None, dict[str, Any]]]:
    rows = read_json_lines(lines)
    while taken := list(islice(rows, chunk)):
        read = [_line(number, row) for number, row in taken]
        good = [item for _, item in read if isinstance(item, Conversation)]
        decisions = iter(_decide(router, good))
        for identity, item in read:
            conversation = item if isinstance(item, Conversation) else None
            answer = next(decisions) if isinstance(item, Conversation) else item
            if isinstance(answer, Decision):
                yield conversation, {"id": identity, **answer.to_dict()}
            else:
                yield conversation, {"id": identity, "error": str(answer)}


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
    # The published schema calls it scenario_id.
    identity = row.get("id", row.get("scenario_id")) if isinstance(row, dict) else None
    if not isinstance(row, dict) or "conversation" not in row:
        return identity, f"line {number}: expected an object with 'id' and 'conversation'"
    try:
        return identity, Conversation.of(row["conversation"])
    except (ConversationError, TypeError) as error:
        return identity, f"line {number}: {error}"


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
