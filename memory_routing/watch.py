"""The watch over the divergence of policies, which says when a run should not go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import attrs
from attrs.validators import gt

from memory_routing.frozen import FrozenMapping

__all__ = ["PAIRS", "Level", "Watch"]

PAIRS: Final = ("sampler", "step", "sft")
"""Which policies are compared: the sampler with the learner before its step, the learner before with after its step,
the learner with the supervised policy."""


class Level(StrEnum):
    """How far apart two policies are."""

    FINE = "fine"
    WARNING = "warning"
    CRITICAL = "critical"


def _limits(value: Mapping[str, int]) -> Mapping[str, int]:
    return FrozenMapping(value)


@attrs.frozen
class Watch:
    """Levels of k3 in nats, and after how many critical iterations in a row a pair halts the run.

    The first pair measures staleness, tokenisation and temperature mistakes: with a fresh sampler it is rounding
    alone, so that it halts at once. A pair that `halt_after` leaves out never halts.
    """

    warning: float = attrs.field(default=0.005, validator=gt(0.0))
    critical: float = attrs.field(default=0.01, validator=gt(0.0))
    halt_after: Mapping[str, int] = attrs.field(factory=lambda: {"sampler": 1, "step": 3}, converter=_limits)

    @critical.validator
    def _above_warning(self, _: attrs.Attribute[float], value: float) -> None:
        if value < self.warning:
            raise ValueError(f"critical, {value}, lies below warning, {self.warning}")

    @halt_after.validator
    def _known(self, _: attrs.Attribute[Mapping[str, int]], value: Mapping[str, int]) -> None:
        unknown = sorted(set(value) - set(PAIRS))
        if unknown:
            raise ValueError(f"halt_after names {unknown[0]!r}; the pairs are {', '.join(PAIRS)}")
        if any(limit < 1 for limit in value.values()):
            raise ValueError(f"halt_after counts iterations, from 1 on: {dict(value)}")

    @classmethod
    def of_run(cls, config: Mapping[str, Any]) -> Watch:
        """With the limits that a run's configuration tells, or the usual ones. Raises `ValueError` for odd ones."""
        try:
            limits = config["rl"]["watch"]
            return cls(warning=limits["warning"], critical=limits["critical"])
        except (KeyError, TypeError):
            return cls()  # a run without reinforcement learning

    def level(self, k3: float) -> Level:
        """The level of one measurement; what is no number is critical."""
        if k3 < self.warning:
            return Level.FINE
        return Level.WARNING if k3 <= self.critical else Level.CRITICAL

    def halts(self, pair: str, history: Iterable[float]) -> bool:
        """Whether a pair's measurements, oldest first, end in too many critical ones."""
        limit = self.halt_after.get(pair)
        if limit is None:
            return False
        last: list[Any] = list(history)[-limit:]
        return len(last) == limit and all(self.level(k3) is Level.CRITICAL for k3 in last)
