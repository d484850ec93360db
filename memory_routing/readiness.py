"""Deployment readiness: a gate on any match and mean F1, and how sure its verdict is."""

from __future__ import annotations

import tomllib
from enum import Enum
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import ge, le

from memory_routing.errors import ThresholdsError
from memory_routing.intervals import Estimate, mean, share
from memory_routing.report import Report
from memory_routing.wire import strict_converter, structure

__all__ = ["Bar", "Readiness", "Thresholds", "Verdict", "read_thresholds", "readiness"]


class Verdict(Enum):
    """Whether a router may be deployed."""

    READY = "READY"
    CONDITIONAL = "CONDITIONAL"
    NOT_READY = "NOT READY"


@attrs.frozen
class Bar:
    """What a verdict asks for at least: the share of scenarios with any match, and mean F1."""

    any_match: float = attrs.field(validator=[ge(0.0), le(1.0)])
    f1: float = attrs.field(validator=[ge(0.0), le(1.0)])

    def reached(self, any_match: float, f1: float) -> bool:
        """Whether both numbers are at the bar or over it."""
        return any_match >= self.any_match and f1 >= self.f1


@attrs.frozen
class Thresholds:
    """The two bars of the gate. The defaults are those of the original project."""

    ready: Bar = attrs.field(factory=lambda: Bar(any_match=0.90, f1=0.80))
    conditional: Bar = attrs.field(factory=lambda: Bar(any_match=0.80, f1=0.70))

    def __attrs_post_init__(self) -> None:
        if not self.conditional.reached(self.ready.any_match, self.ready.f1):
            raise ThresholdsError("the bar of 'conditional' is higher than that of 'ready'")

    def verdict(self, any_match: float, f1: float) -> Verdict:
        """The verdict on two numbers."""
        if self.ready.reached(any_match, f1):
            return Verdict.READY
        return Verdict.CONDITIONAL if self.conditional.reached(any_match, f1) else Verdict.NOT_READY


@attrs.frozen
class Readiness:
    """The verdict on a report, and the two that the ends of its 95 % intervals would give."""

    router: str
    any_match: Estimate
    f1: Estimate
    thresholds: Thresholds
    undecided: int = 0
    """Scenarios without a decision. They count as missed, for a deployed router would miss them."""

    @property
    def verdict(self) -> Verdict:
        """What the measured numbers say."""
        return self.thresholds.verdict(self.any_match.value, self.f1.value)

    @property
    def worst(self) -> Verdict:
        """What it would be if both numbers were at the lower ends of their intervals."""
        return self.thresholds.verdict(self.any_match.low, self.f1.low)

    @property
    def best(self) -> Verdict:
        """What it would be if both numbers were at the upper ends of their intervals."""
        return self.thresholds.verdict(self.any_match.high, self.f1.high)

    @property
    def certain(self) -> bool:
        """Whether the whole of both intervals gives the same verdict."""
        return self.worst is self.best

    @property
    def certainty(self) -> str:
        """How sure the verdict is, in a sentence."""
        if self.certain:
            return "the verdict is the same at both ends of the 95 % intervals"
        return (
            f"{self.any_match.n} scenarios do not settle it: the ends of the 95 % intervals give {self.worst.value} "
            f"and {self.best.value}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "router": self.router,
            "verdict": self.verdict.value,
            "worst": self.worst.value,
            "best": self.best.value,
            "certain": self.certain,
            "any_match": self.any_match.to_dict(),
            "f1": self.f1.to_dict(),
            "undecided": self.undecided,
            "thresholds": attrs.asdict(self.thresholds),
        }

    def __str__(self) -> str:
        return f"{self.verdict.value}: any match {self.any_match}, mean F1 {self.f1}; {self.certainty}"


def readiness(report: Report, thresholds: Thresholds | None = None) -> Readiness:
    """Judge a report. Raises `ValueError` for one without scenarios."""
    results, undecided = report.results, len(report.failures)
    if not results and not undecided:
        raise ValueError("the report has no scenarios: nothing to judge")
    return Readiness(
        router=report.router,
        any_match=share(sum(r.any_match for r in results), len(results) + undecided),
        f1=mean([*(r.f1 for r in results), *[0.0] * undecided]),
        thresholds=thresholds or Thresholds(),
        undecided=undecided,
    )


def read_thresholds(path: Path) -> Thresholds:
    """Thresholds from a TOML file with the tables `ready` and `conditional`; a table left out has its defaults.

    Raises `ThresholdsError` that names the mistakes.
    """
    try:
        return structure(strict_converter(), tomllib.loads(path.read_text(encoding="utf-8-sig")), Thresholds)
    except ValueError as error:
        raise ThresholdsError(f"{path}: {error}") from None
