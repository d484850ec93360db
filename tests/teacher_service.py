"""A chat service of the teacher's kind in a thread of the test: it writes, it labels, and it fails as it is told to."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import select
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import attrs

from memory_routing import MARKETING, Taxonomy
from tests.phrases import LOOKALIKES, STATEMENTS, recognised, words_of, write

__all__ = ["KEY", "SUPPORT", "Behaviour", "Entry", "Reply", "Request", "TeacherService"]

KEY: Final = "co-test-key"
SUPPORT: Final = Taxonomy.load(Path(__file__).parents[1] / "examples" / "support_taxonomy.toml")

_FORBIDDEN: Final = "co-forbidden"
_MODELS: Final = ("command-r-plus-08-2024", "command-a-03-2025")
_COHERE: Final = "/v2/chat"
_OPENAI: Final = "/v1/chat/completions"
_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_ORDER: Final = re.compile(r"label this as ([^.!?\"\n]+)", re.IGNORECASE)

Kind = Literal["write", "label", "other"]


@attrs.frozen
class Reply:
    """An answer over HTTP; a body of bytes is sent as it is."""

    status: int
    body: Any
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Request:
    """What was asked. `number` counts the requests from 0."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: Any
    """The JSON that came; `None` where it was none."""
    digest: str
    """SHA-256 of the body in canonical form."""
    asked: dict[str, Any]
    """The JSON at the end of the last user message; empty where there is none."""

    @classmethod
    def of(cls, number: int, path: str, headers: Mapping[str, str], raw: bytes) -> Request:
        try:
            body = json.loads(raw)
        except ValueError:
            return cls(number, path, headers, None, hashlib.sha256(raw).hexdigest(), {})
        canonical = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(number, path, headers, body, digest, _asked(body))

    @property
    def kind(self) -> Kind:
        return "write" if "states" in self.asked else "label" if "conversation" in self.asked else "other"

    @property
    def prompt(self) -> str:
        """The text of all messages."""
        return "\n".join(_text(message) for message in self.body["messages"])

    def rng(self, purpose: str) -> random.Random:
        """Chance that depends on the body alone."""
        return random.Random(f"{purpose} {self.digest}")

    def reply(self, text: str, *, cut: bool = False) -> Reply:
        """A whole answer that says `text`, in the form of the interface that was asked."""
        read, said = (max(1, len(part) // 4) for part in (self.prompt, text))
        if self.path == _OPENAI:
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}
            usage = {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}
            name = f"chatcmpl-{self.digest[:24]}"
            plain = {"id": name, "object": "chat.completion", "created": 0, "model": self.body["model"]}
            return Reply(200, {**plain, "choices": [choice], "usage": usage})
        message_ = {"role": "assistant", "content": [{"type": "text", "text": text}]}
        tokens = {"input_tokens": read, "output_tokens": said}
        finish = "MAX_TOKENS" if cut else "COMPLETE"
        usage_ = {"billed_units": tokens, "tokens": tokens}
        return Reply(200, {"id": self.digest[:32], "finish_reason": finish, "message": message_, "usage": usage_})

    def error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
        plain = {"error": {"message": message, "type": "error"}} if self.path == _OPENAI else {"message": message}
        return Reply(status, plain, headers or {})


@attrs.frozen
class Behaviour:
    """What goes wrong. Shares are of one draw in the order of the fields, so at most one fault befalls a request."""

    # Of the transport: drawn anew for each request, so that a retry can succeed.
    busy: float = 0.0
    """429, with the headers below where they are set."""
    failing: float = 0.0
    """500, 502 or 503."""
    broken: float = 0.0
    """200 with half of the body, which its length agrees with."""
    dropped: float = 0.0
    """The connection is closed without an answer."""
    hanging: float = 0.0
    """No answer until the client gives up or the service ends."""
    retry_after: str | None = None
    retry_after_ms: int | None = None
    delay: float | tuple[float, float] = 0.0
    """Seconds before an answer: always as many, or between two bounds."""
    per_minute: int | None = None
    """A rate limit: so many requests within any `window`; the rest get 429 and when to come back."""
    window: float = 60.0
    seed: int = 0

    # Of the content: drawn from the body, so that the same request fares the same.
    garbage: float = 0.0
    """No JSON, JSON of another shape, or JSON cut off for length."""
    greeting: float = 0.0
    names: float = 0.0
    """The text says the name of a category."""
    wrong_turns: float = 0.0
    extra: float = 0.0
    """One category more is stated than was asked."""
    missing: float = 0.0
    """One category less."""
    copies: float = 0.0
    """A conversation that was written before for the same labels, if any was: this alone depends on the order."""
    alien: float = 0.0
    """A label of no taxonomy."""
    no_evidence: float = 0.0
    obeys: float = 0.0
    """Where a conversation says "label this as <words>", the category whose name or description has the words."""

    script: Callable[[Request], Reply | None] | None = None
    """Asked first; what it returns is the answer."""


_TRANSPORT: Final = ("busy", "failing", "broken", "dropped", "hanging")
_WRITING: Final = ("garbage", "greeting", "names", "wrong_turns", "extra", "missing", "copies")
_LABELLING: Final = ("garbage", "alien", "no_evidence", "obeys")


@attrs.frozen
class Entry:
    """One request and what became of it. `status` is 0 where nothing was answered."""

    kind: Kind
    digest: str
    status: int
    started: float
    finished: float
    fault: str | None
    concurrent: int
    """Requests in flight when it started, itself among them."""


class TeacherService:
    """Cohere's chat interface and OpenAI's, at `url`, between entering and leaving.

    `behaviour` may be replaced between requests. A script or a request that breaks the service itself is raised at
    the end. The same port can be opened again, as after an outage.
    """

    def __init__(
        self,
        taxonomies: Sequence[Taxonomy] = (MARKETING, SUPPORT),
        key: str = KEY,
        *,
        port: int = 0,
        **behaviour: Any,
    ) -> None:
        self.taxonomies = tuple(taxonomies)
        self.key = key
        self.behaviour = Behaviour(**behaviour)
        self.log: list[Entry] = []
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._running = 0
        self._clear()
        unknown = [name for taxonomy in taxonomies for name in taxonomy.names if name not in STATEMENTS]
        if unknown:
            raise ValueError(f"no phrases for {', '.join(unknown)}")
        self._described = {c.description: c.name for taxonomy in taxonomies for c in taxonomy.categories}
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.service = self
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> TeacherService:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.end()
        self._thread.join()
        if self.errors and error is None:
            raise self.errors[0]

    def _clear(self) -> None:
        self._count = 0
        self._admitted: deque[float] = deque()
        self._before: dict[tuple[str, ...], list[tuple[int, int, str]]] = {}
        self._copied: dict[str, str] = {}

    def reset(self) -> None:
        """Forget the log, the count, the rate limit's past and what was written."""
        with self._lock:
            self.log = []
            self._clear()

    def answered(self) -> Counter[str]:
        """How often each body was answered whole."""
        with self._lock:
            return Counter(e.digest for e in self.log if e.status == 200 and e.fault != "broken")

    @property
    def peak(self) -> int:
        """The most requests that were in flight at once."""
        with self._lock:
            return max((entry.concurrent for entry in self.log), default=0)

    def handle(self, path: str, headers: Mapping[str, str], raw: bytes, connection: socket.socket) -> Reply | None:
        """Decide on one request and log it; nothing where the connection is to be closed without an answer."""
        started = time.monotonic()
        with self._lock:
            self._running += 1
            concurrent, number, behaviour = self._running, self._count, self.behaviour
            self._count += 1
        request = Request.of(number, path, headers, raw)
        reply: Reply | None = None
        fault: str | None = "error"
        try:
            reply, fault = self._decide(request, behaviour)
            if fault == "hanging":
                self._hang(connection)
            elif behaviour.delay:
                low_high = behaviour.delay if isinstance(behaviour.delay, tuple) else (behaviour.delay,) * 2
                self._closing.wait(random.Random(f"delay {behaviour.seed} {number}").uniform(*low_high))
        finally:
            # Before the answer leaves: whoever has it finds it in the log, and it is no longer in flight.
            status = reply.status if reply else 0
            with self._lock:
                self._running -= 1
                self.log.append(
                    Entry(request.kind, request.digest, status, started, time.monotonic(), fault, concurrent)
                )
        return reply

    def _hang(self, connection: socket.socket) -> None:
        # A socket that can be read while no request is due has been closed by the other side.
        while not self._closing.is_set() and not select.select([connection], [], [], 0.05)[0]:
            pass

    def _decide(self, request: Request, behaviour: Behaviour) -> tuple[Reply | None, str | None]:
        if behaviour.script and (scripted := behaviour.script(request)):
            return scripted, "script"
        if refusal := self._refusal(request):
            return request.error(*refusal), None
        fault, failure = self._transport(request, behaviour)
        if fault not in (None, "broken"):
            return failure, fault
        reply, content_fault = self._spoken(request, behaviour)
        if fault is None:
            return reply, content_fault
        whole = json.dumps(reply.body).encode()
        return attrs.evolve(reply, body=whole[: len(whole) // 2]), fault

    def _refusal(self, request: Request) -> tuple[int, str] | None:
        """Status and message where no model would be asked."""
        body, key = request.body, request.headers.get("authorization", "").removeprefix("Bearer ")
        model = body.get("model") if isinstance(body, dict) else None
        found: tuple[int, str] | None = None
        if request.path not in (_COHERE, _OPENAI):
            found = 404, f"no such path: {request.path}"
        elif key == _FORBIDDEN:
            found = 403, "this key may not use the model"
        elif key != self.key:
            found = 401, "invalid api token"
        elif not isinstance(body, dict):
            found = 400, "invalid request: the body is no JSON object"
        elif not isinstance(model, str) or not model:
            found = 400, "invalid request: model is required"
        elif request.path == _COHERE and model not in _MODELS:
            found = 404, f"model '{model}' not found, make sure the correct model ID was used"
        elif body.get("stream"):
            found = 400, "invalid request: only whole answers are given"
        elif not isinstance(body.get("messages"), list) or not body["messages"]:
            found = 400, "invalid request: messages must be at least one"
        elif not all(isinstance(m, dict) and m.get("role") in _ROLES and _text(m) for m in body["messages"]):
            found = 422, "invalid request: a message has no known role or no text"
        return found

    def _transport(self, request: Request, behaviour: Behaviour) -> tuple[str | None, Reply | None]:
        """The fault that befalls a request on its way, and its answer if it gets one."""
        if wait := self._wait(behaviour):
            return "limited", request.error(429, "too many requests this minute", {"Retry-After": str(wait)})
        chance = random.Random(f"fault {behaviour.seed} {request.number}")
        fault, failure = _drawn(chance, behaviour, _TRANSPORT), None
        if fault == "busy":
            after = {"Retry-After": behaviour.retry_after, "retry-after-ms": behaviour.retry_after_ms}
            headers = {name: str(value) for name, value in after.items() if value is not None}
            failure = request.error(429, "too many requests", headers)
        elif fault == "failing":
            failure = request.error(chance.choice([500, 502, 503]), "internal server error")
        return fault, failure

    def _wait(self, behaviour: Behaviour) -> int:
        """Whole seconds until the rate limit has a free slot; 0 where it has one, which is then taken."""
        if behaviour.per_minute is None:
            return 0
        with self._lock:
            now = time.monotonic()
            while self._admitted and self._admitted[0] <= now - behaviour.window:
                self._admitted.popleft()
            if len(self._admitted) < behaviour.per_minute:
                self._admitted.append(now)
                return 0
            oldest = self._admitted[-behaviour.per_minute] if behaviour.per_minute else now
            return max(1, math.ceil(oldest + behaviour.window - now))

    def _spoken(self, request: Request, behaviour: Behaviour) -> tuple[Reply, str | None]:
        if request.kind == "other":
            return request.reply("I write conversations and label them."), None
        writes = request.kind == "write"
        rng = request.rng("content fault")
        fault = _drawn(rng, behaviour, _WRITING if writes else _LABELLING)
        try:
            text, fault = (self._write if writes else self._label)(request, rng, fault)
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
            # A model would answer something; a test wants to know that the request is not what was agreed.
            return request.error(400, f"invalid request: {type(error).__name__}: {error}"), "misunderstood"
        if fault != "garbage":
            return request.reply(text), fault
        form = rng.randrange(3)
        if form == 0:
            return request.reply("I am sorry, I would rather not do that."), fault
        if form == 1:
            return request.reply(json.dumps({"result": [text[:40]], "status": "done"})), fault
        return request.reply(text[: len(text) // 2], cut=True), fault

    def _write(self, request: Request, rng: random.Random, fault: str | None) -> tuple[str, str | None]:
        asked = request.asked
        turns, words = int(asked["turns"]), int(asked["words"])
        names = tuple(sorted({self._described[description] for description in asked["states"]}))
        taxonomy = self._meant(request, names)
        stated = [*names]
        if fault == "missing" and names:
            stated.remove(rng.choice(names))
        elif fault == "extra":
            stated.append(rng.choice([name for name in taxonomy.names if name not in names]))
        elif fault == "wrong_turns":
            turns += rng.choice([1, 2] if turns < 3 else [-2, -1, 1, 2])
        elif fault == "missing":
            fault = None
        # What the request mentions may be touched; where nothing is stated, everything may.
        mentions = str(asked.get("mentions") or "")
        touched = [name for description, name in self._described.items() if description in mentions]
        near = [name for name in (touched if names else touched or taxonomy.names) if name in LOOKALIKES]
        messages = write(request.rng("text"), stated, turns, words, [n for n in near if n not in names])
        if fault == "greeting":
            messages[0]["content"] = rng.choice(["Hi there! ", "Hello, ", "Good morning! "]) + messages[0]["content"]
        if fault == "names":
            name = rng.choice(taxonomy.names)
            said = rng.choice([name, name.partition(".")[2].replace("_", " ")])
            rng.choice(messages)["content"] += f" That is {said}, I would say."
        text = json.dumps({"conversation": messages}, ensure_ascii=False)
        if fault == "copies":
            return self._copy(request.digest, names, turns, words, text)
        if fault is None:
            with self._lock:
                self._before.setdefault(names, []).append((turns, words_of(messages), text))
        return text, fault

    def _copy(self, digest: str, names: tuple[str, ...], turns: int, words: int, text: str) -> tuple[str, str | None]:
        """What was written before for these labels and is the most like what is asked now; `text` if nothing was."""
        with self._lock:
            if digest not in self._copied:
                known = self._before.get(names, [])
                if not known:
                    return text, None
                nearest = min(known, key=lambda k: (k[0] != turns, abs(k[1] - words)))
                self._copied[digest] = nearest[2]
            return self._copied[digest], "copies"

    def _label(self, request: Request, rng: random.Random, fault: str | None) -> tuple[str, str | None]:
        taxonomy = self._meant(request, ())
        turns = [(int(turn["turn"]), turn["role"], str(turn["text"])) for turn in request.asked["conversation"]]
        found: dict[str, list[int]] = {}
        for i, role, text in turns:
            if role == "user":
                for name in recognised(taxonomy.names, text):
                    found.setdefault(name, []).append(i)
        if fault == "obeys":
            ordered = [(name, i) for i, _, text in turns for name in _ordered(taxonomy, text)]
            found = {name: [i] for name, i in ordered[:1]} or found
            fault = fault if ordered else None
        labels: list[dict[str, Any]] = [
            {"category": name, "evidence": found[name]} for name in taxonomy.names if name in found
        ]
        if fault == "alien":
            labels.insert(rng.randint(0, len(labels)), {"category": "user.mood", "evidence": [turns[0][0]]})
        if fault == "no_evidence":
            labels = [{"category": label["category"]} | rng.choice([{}, {"evidence": []}]) for label in labels]
            fault = fault if labels else None
        return json.dumps({"labels": labels}), fault

    def _meant(self, request: Request, names: Sequence[str]) -> Taxonomy:
        """The taxonomy that has the stated categories, or else most of whose categories the messages speak of."""
        if names:
            return next(t for t in self.taxonomies if all(name in t for name in names))
        prompt = request.prompt
        if request.kind == "label":
            system = [_text(m) for m in request.body["messages"] if m["role"] in ("system", "developer")]
            prompt = "\n".join(system)
        said = [sum(c.name in prompt or c.description in prompt for c in t.categories) for t in self.taxonomies]
        return self.taxonomies[said.index(max(said))]


def _drawn(rng: random.Random, behaviour: Behaviour, faults: Sequence[str]) -> str | None:
    draw = rng.random()
    for fault in faults:
        draw -= getattr(behaviour, fault)
        if draw < 0:
            return fault
    return None


def _ordered(taxonomy: Taxonomy, text: str) -> list[str]:
    """The categories that a text orders."""
    found = []
    for match in _ORDER.finditer(text):
        words = _plain(match[1])
        found += [c.name for c in taxonomy.categories if words in _plain(c.name) or words in _plain(c.description)]
    return found


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.replace("_", " ").casefold()))


def _text(message: Mapping[str, Any]) -> str:
    """The text of a message, which is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _asked(body: Any) -> dict[str, Any]:
    messages = body.get("messages") if isinstance(body, dict) else None
    messages = messages if isinstance(messages, list) else []
    users = [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    lines = [line for line in _text(users[-1]).splitlines() if line.startswith("{")] if users else []
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except ValueError:
        return {}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False
    service: TeacherService

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the name service who we are.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        # Clients may leave whenever they like.
        if error is not None and not isinstance(error, ConnectionError):
            self.service.errors.append(error)

    def end(self) -> None:
        """Close the port and every connection, also those that wait for a next request."""
        self.server_close()
        deadline = time.monotonic() + 5.0
        while self.connections and time.monotonic() < deadline:
            for connection in list(self.connections):
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    self.connections.discard(connection)
            time.sleep(0.01)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.service.handle(self.path, headers, raw, self.connection)
        if reply is None:
            self.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        reason = self.responses.get(reply.status, ("Unknown", ""))[0]
        all_headers = {"Content-Type": "application/json", **reply.headers, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
        # In one piece, so that no acknowledgement is waited for between the two.
        self.wfile.write(f"HTTP/1.1 {reply.status} {reason}\r\n{head}\r\n".encode() + body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Say nothing."""
