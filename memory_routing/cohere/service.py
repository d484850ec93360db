"""Cohere's chat API behind its SDK: one call, and its failures in plain words."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

import httpx
from cohere import (
    AssistantChatMessageV2,
    AsyncClientV2,
    JsonObjectResponseFormatV2,
    SystemChatMessageV2,
    UserChatMessageV2,
    V2ChatResponse,
)
from cohere.core.api_error import ApiError

from memory_routing.decision import Usage
from memory_routing.errors import TeacherError
from memory_routing.generation.answers import Answer, Request

__all__ = ["Chat"]

_MESSAGES: Final = {"system": SystemChatMessageV2, "user": UserChatMessageV2, "assistant": AssistantChatMessageV2}
_NO_KEY: Final = "set COHERE_API_KEY to a key of yours (dashboard.cohere.com)"

_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=100)
"""Whoever calls decides how many calls run at a time."""
_BODY: Final = ContextVar[str]("_BODY")
"""What came last, in the task that asked."""


class Chat:
    """Asks one model. Key and address are the SDK's own where they are left out."""

    def __init__(self, model: str, api_key: str | None, base_url: str | None, timeout: float) -> None:
        self._model, self._timeout = model, timeout
        # A file or a shell easily leaves a line break behind a key.
        self._key = (api_key or os.environ.get("COHERE_API_KEY") or os.environ.get("CO_API_KEY") or "").strip()
        self._base_url = base_url or os.environ.get("CO_API_URL") or None
        # Connections belong to the loop that opened them.
        self._connections: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def __call__(self, request: Request) -> Answer:
        """The model's answer. Raises `TeacherError`."""
        _BODY.set("")
        try:
            response = await self._client().chat(
                model=self._model,
                messages=[_MESSAGES[message.role](content=message.content) for message in request.messages],
                response_format=JsonObjectResponseFormatV2(json_schema=dict(request.schema)),
                temperature=request.temperature,
                max_tokens=request.max_tokens,
                seed=request.seed,
                # The one layer that retries is above this one.
                request_options={"max_retries": 0},
            )
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL):
            raise TeacherError(f"nothing can be sent to {self._base_url}: check the address", fatal=True) from None
        except httpx.RequestError as error:
            raise TeacherError(f"no answer: {self._clean(str(error)) or type(error).__name__}", passing=True) from None
        except ApiError as error:
            if error.status_code is None or error.status_code >= 300:
                raise self._refusal(error) from None
        except (TypeError, ValueError, AttributeError):
            # What the SDK raises of a body that has another shape than the API's.
            if not _BODY.get():
                raise
        else:
            return _answer(response, request)
        # Paid for and not to be had again: an answer as it came, which will be found malformed.
        return Answer(_BODY.get(), request.size)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        connections = self._connections.pop(asyncio.get_running_loop(), None)
        if connections is not None:
            await connections.aclose()

    def _client(self) -> AsyncClientV2:
        if not self._key:
            raise TeacherError(f"no key for Cohere: {_NO_KEY}", fatal=True)
        if not (self._key.isascii() and self._key.isprintable()):
            raise TeacherError(f"the key for Cohere has characters that no key has: {_NO_KEY}", fatal=True)
        if self._base_url is not None and not self._base_url.startswith(("http://", "https://")):
            raise TeacherError(f"{self._base_url!r} is no address: begin it with https://", fatal=True)
        loop = asyncio.get_running_loop()
        if loop not in self._connections:
            self._connections[loop] = httpx.AsyncClient(timeout=self._timeout, limits=_LIMITS, follow_redirects=True)
            self._connections[loop].event_hooks = {"response": [_keep_body]}
        return AsyncClientV2(
            self._key,
            base_url=self._base_url,
            httpx_client=self._connections[loop],
            timeout=self._timeout,
            log_warning_experimental_features=False,
        )

    def _refusal(self, error: ApiError) -> TeacherError:
        status = error.status_code or 0
        body = error.body.get("message", error.body) if isinstance(error.body, Mapping) else error.body
        words = f"HTTP {status}: {' '.join(self._clean(str(body)).split())[:300]}"
        if status in (401, 403):
            return TeacherError(f"Cohere refused the key ({words}): {_NO_KEY}", fatal=True)
        if status == 404:
            return TeacherError(f"Cohere does not serve {self._model} ({words}): name another model", fatal=True)
        passing, limited = status == 408 or status >= 500, status == 429
        after = _after(error.headers or {}) if passing or limited else None
        return TeacherError(words, passing=passing, limited=limited, after=after)

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


async def _keep_body(response: httpx.Response) -> None:
    await response.aread()
    _BODY.set(response.text)


def _answer(response: V2ChatResponse, request: Request) -> Answer:
    reason = getattr(response, "finish_reason", None)
    if reason in ("ERROR", "TIMEOUT"):
        raise TeacherError(f"the model broke off: {reason}", passing=True)
    parts = getattr(getattr(response, "message", None), "content", None) or []
    text = "".join(str(getattr(part, "text", "")) for part in parts)
    tokens = getattr(getattr(response, "usage", None), "billed_units", None)
    used = request.size
    if tokens is not None:
        used = Usage(int(tokens.input_tokens or 0), int(tokens.output_tokens or 0))
    return Answer(text, used, complete=reason in (None, "COMPLETE", "STOP_SEQUENCE"))


def _after(headers: Mapping[str, Any]) -> float | None:
    """Seconds that the service asks to wait."""
    given = {name.lower(): str(value) for name, value in headers.items()}
    try:
        if "retry-after-ms" in given:
            seconds = float(given["retry-after-ms"]) / 1000
        elif given.get("retry-after", "").replace(".", "", 1).isdigit():
            seconds = float(given["retry-after"])
        else:
            seconds = parsedate_to_datetime(given.get("retry-after", "")).timestamp() - time.time()
    except (TypeError, ValueError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
