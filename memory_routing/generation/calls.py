"""Calls to a chat model: paced, retried, within a budget, and none twice whose answer was kept."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
from attrs.validators import ge

from memory_routing.decision import Usage
from memory_routing.errors import GenerationError, TeacherError
from memory_routing.generation.answers import Answer, AnswerLog

__all__ = ["BudgetError", "Calls", "Prices"]

_GIVE_UP: Final = 10
"""Calls that fail one after another, after which a service counts as down."""
_LONGEST_PAUSE: Final = 60.0
"""Seconds between two tries where the service names no time."""
_PATIENCE: Final = 600.0
"""Seconds that a service may ask to wait, or may refuse a call for its rate limit."""


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


@attrs.define
class _Pending:
    """A call under way and how many wait for it."""

    task: asyncio.Task[Answer]
    waiting: int = 0


class Calls:
    """The one layer between a teacher and its service.

    A call that failed in passing (`TeacherError.passing`) or took longer than `timeout` seconds is tried again up to
    `retries` times, with jitter. At a rate limit all calls wait, as long as the service says or else longer each time,
    and no try is used up. At most `per_minute` calls start in a minute. With `log`, an answer is kept on disk before
    anyone reads it and is never asked for again. With `prices` and `budget` (USD) a call that could cost more than is
    left raises `BudgetError`.
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
        if budget is not None and not 0 < budget < math.inf:
            raise GenerationError(f"a budget is a number of USD above 0, not {budget}")
        self._log, self._timeout, self._retries, self._pause = log, timeout, retries, pause
        self.prices, self.budget = prices, budget
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next_start, self._limit_pause = 0.0, pause
        self._reserved, self._under_way = 0.0, 0
        self._failed = self._refused = 0
        self._settled = asyncio.Condition()
        self._pending: dict[str, _Pending] = {}
        self.spent = Usage(0) if log is None else log.spent
        """Tokens of all answers, those of earlier sessions with the log among them."""
        self.made = 0
        """Answers that came in this session."""
        self.retried = 0
        """Tries after the first."""

    @property
    def usd(self) -> float:
        """What all answers cost; 0 without prices."""
        return 0.0 if self.prices is None else self.prices.usd(self.spent)

    async def answer(self, key: str, ask: Callable[[], Awaitable[Answer]], size: Usage = Usage(0)) -> Answer:  # noqa: B008
        """The answer that is kept under a key, or else what `ask` brings, which uses tokens of `size` at most.

        Raises `TeacherError` where none came, `BudgetError` where it could cost too much.
        """
        kept = None if self._log is None else self._log.get(key)
        if kept is None:
            kept = await self._shared(key, ask, size)
        if kept.refused is not None:
            raise TeacherError(kept.refused)
        return kept

    async def _shared(self, key: str, ask: Callable[[], Awaitable[Answer]], size: Usage) -> Answer:
        """Two that ask the same at the same time share one call, which ends when nobody waits for it any more."""
        if key not in self._pending:
            self._pending[key] = _Pending(asyncio.ensure_future(self._paid(key, ask, size)))
            self._pending[key].task.add_done_callback(lambda _: self._pending.pop(key))
        pending = self._pending[key]
        pending.waiting += 1
        try:
            return await asyncio.shield(pending.task)
        finally:
            pending.waiting -= 1
            if not pending.waiting:
                pending.task.cancel()

    async def _paid(self, key: str, ask: Callable[[], Awaitable[Answer]], size: Usage) -> Answer:
        price = await self._reserve(size)
        started = time.monotonic()
        try:
            answer = await self._retried(ask)
        except TeacherError as error:
            answer = self._refusal(error)
        else:
            self._failed = 0
            self.made += 1
        finally:
            self._under_way -= 1
            self._reserved = self._reserved - price if self._under_way else 0.0
            async with self._settled:
                self._settled.notify_all()
        self.spent = self.spent + answer.usage
        if self._log is not None:
            self._log.add(key, answer, time.monotonic() - started)
        return answer

    def _refusal(self, error: TeacherError) -> Answer:
        """What a call comes to that is refused for good. Raises where it is not, or where all are."""
        if error.fatal:
            raise error
        self._failed += error.passing
        self._refused += not error.passing
        # Refused for their content are single calls. Where nothing was ever answered, it is not the content.
        nothing_works = (
            self.made == 0 and self._refused >= _GIVE_UP and not (self._log and self._log.spent.input_tokens)
        )
        if self._failed >= _GIVE_UP or nothing_works:
            count = self._failed if self._failed >= _GIVE_UP else self._refused
            raise TeacherError(f"{count} calls failed one after another, the last: {error}", fatal=True) from None
        if error.passing:
            raise error
        return Answer("", Usage(0), refused=str(error))

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
        started, failed = time.monotonic(), 0
        while True:
            try:
                answer = await self._try(ask)
            except TeacherError as error:
                failed += not error.limited
                out_of_time = error.limited and time.monotonic() - started > _PATIENCE
                if not error.passing or failed > self._retries or out_of_time:
                    raise
                await self._rest(error, failed)
            else:
                self._limit_pause = self._pause
                return answer
            self.retried += 1

    async def _try(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        while (wait := self._next_start - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        self._next_start = max(self._next_start, time.monotonic()) + self._gap
        try:
            async with asyncio.timeout(self._timeout):
                return await ask()
        except TimeoutError:
            raise TeacherError(f"no answer within {self._timeout:g} seconds", passing=True) from None

    async def _rest(self, error: TeacherError, failed: int) -> None:
        """Wait before the next try; at a rate limit all calls do."""
        now, after = time.monotonic(), error.after
        if after is not None and after > _PATIENCE:
            raise TeacherError(f"the service asks to wait {after / 60:.0f} minutes; start again then", fatal=True)
        if after is None and error.limited:
            after = self._limit_pause
            if now >= self._next_start:
                # Everybody's pause, so it grows once for all that were refused in it.
                self._limit_pause = min(2 * self._limit_pause, _LONGEST_PAUSE)
        if after is not None:
            self._next_start = max(self._next_start, now + after)
            await asyncio.sleep(after * (1 + 0.1 * random.random()))
        else:
            await asyncio.sleep(random.random() * min(self._pause * 2 ** (failed - 1), _LONGEST_PAUSE))
