"""Calls to a chat model: paced, retried, within a budget, and none twice whose answer was kept."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
from attrs.validators import ge
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from memory_routing.decision import Usage
from memory_routing.errors import TeacherError
from memory_routing.generation.answers import Answer, AnswerLog

__all__ = ["BudgetError", "Calls", "Prices"]

_GIVE_UP: Final = 10
"""Calls that fail for good, one after another, after which a service counts as down."""
_LONGEST_WAIT: Final = 60.0
"""Seconds between two tries where the service names no time."""


class BudgetError(TeacherError):
    """The next call could cost more than is left."""


@attrs.frozen
class Prices:
    """USD for a million tokens."""

    input: float = attrs.field(validator=ge(0.0))
    output: float = attrs.field(validator=ge(0.0))

    def usd(self, used: Usage) -> float:
        """The price of some tokens."""
        return (used.input_tokens * self.input + used.output_tokens * self.output) / 1e6


class Calls:
    """The one layer between a teacher and its service.

    A call is retried up to `retries` times, with jitter, where it failed in passing (`TeacherError.passing`), or took
    longer than `timeout` seconds; when a service says how long to wait, all calls wait. At most `per_minute` calls
    start in a minute. With `log`, an answer is kept on disk before anyone reads it and is never asked for again. With
    `prices` and `budget` (USD) a call that could cost more than is left raises `BudgetError`.
    """

    def __init__(
        self,
        *,
        log: AnswerLog | None = None,
        retries: int = 6,
        timeout: float = 120.0,
        per_minute: int | None = None,
        prices: Prices | None = None,
        budget: float | None = None,
        pause: float = 1.0,
    ) -> None:
        self._log, self._timeout, self._retries = log, timeout, retries
        self.prices, self.budget = prices, budget
        self._backoff = wait_random_exponential(multiplier=pause, max=_LONGEST_WAIT)
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next_start = 0.0
        self._reserved = 0.0
        self._under_way = 0
        self._failed = 0
        self._settled = asyncio.Condition()
        self._pending: dict[str, asyncio.Future[Answer]] = {}
        self.spent = Usage(0) if log is None else log.spent
        """Tokens of all answers, those of earlier sessions with the log among them."""
        self.made = 0
        """Answers that came in this session."""

    @property
    def usd(self) -> float:
        """What all answers cost; 0 without prices."""
        return 0.0 if self.prices is None else self.prices.usd(self.spent)

    async def answer(self, key: str, ask: Callable[[], Awaitable[Answer]], size: Usage = Usage(0)) -> Answer:  # noqa: B008
        """The answer that is kept under a key, or else what `ask` brings, which uses tokens of `size` at most.

        Raises `TeacherError` where none came, `BudgetError` where it could cost too much.
        """
        if self._log is not None and (kept := self._log.get(key)) is not None:
            return kept
        if key not in self._pending:
            # Two that ask the same at the same time share one call.
            self._pending[key] = asyncio.ensure_future(self._paid(key, ask, size))
            self._pending[key].add_done_callback(lambda _: self._pending.pop(key))
        return await self._pending[key]

    async def _paid(self, key: str, ask: Callable[[], Awaitable[Answer]], size: Usage) -> Answer:
        price = await self._reserve(size)
        started = time.monotonic()
        try:
            answer = await self._retried(ask)
        except TeacherError as error:
            self._failed += 1
            if self._failed >= _GIVE_UP and not error.fatal:
                raise TeacherError(
                    f"{self._failed} calls failed one after another, the last: {error}", fatal=True
                ) from None
            raise
        else:
            self._failed = 0
            self.made += 1
            self.spent = self.spent + answer.usage
            if self._log is not None:
                self._log.add(key, answer, time.monotonic() - started)
            return answer
        finally:
            self._under_way -= 1
            self._reserved = self._reserved - price if self._under_way else 0.0
            async with self._settled:
                self._settled.notify_all()

    async def _reserve(self, size: Usage) -> float:
        """Set the price of a call aside, at most what it may cost; wait for calls under way where it is short."""
        price = 0.0 if self.prices is None else self.prices.usd(size)
        async with self._settled:
            while self.budget is not None and self.usd + self._reserved + price > self.budget:
                if self._under_way == 0:
                    raise BudgetError(f"the budget of {self.budget:g} USD is used up: {self.usd:.2f} USD are spent")
                await self._settled.wait()
            self._under_way += 1
            self._reserved += price
        return price

    async def _retried(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        tries = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, TeacherError) and error.passing),
            stop=stop_after_attempt(1 + self._retries),
            wait=self._wait,
            reraise=True,
        )
        return await tries(self._try, ask)

    async def _try(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        await self._turn()
        try:
            async with asyncio.timeout(self._timeout):
                return await ask()
        except TimeoutError:
            raise TeacherError(f"no answer within {self._timeout:g} seconds", passing=True) from None

    async def _turn(self) -> None:
        """Wait until this call may start."""
        while (wait := self._next_start - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        self._next_start = max(self._next_start, time.monotonic()) + self._gap

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        after = error.after if isinstance(error, TeacherError) else None
        if after is None:
            return self._backoff(state)
        self._next_start = max(self._next_start, time.monotonic() + after)
        return after * (1 + 0.1 * random.random())
