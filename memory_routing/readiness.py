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
from memory_routing.leakage import Leakage
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
    """The two bars of the gate. The defaults are those of the original project, which judged by the values alone."""

    ready: Bar = attrs.field(factory=lambda: Bar(any_match=0.90, f1=0.80))
    conditional: Bar = attrs.field(factory=lambda: Bar(any_match=0.80, f1=0.70))
    certain: bool = True
    """Whether the lower ends of the 95 % intervals have to reach a bar, on scenarios that were not trained on."""

    def __attrs_post_init__(self) -> None:
        if not self.conditional.reached(self.ready.any_match, self.ready.f1):
            raise ThresholdsError("the bar of 'conditional' is higher than that of 'ready'; give [conditional] too")

    def verdict(self, any_match: float, f1: float) -> Verdict:
        """The verdict on two numbers."""
        if self.ready.reached(any_match, f1):
            return Verdict.READY
        return Verdict.CONDITIONAL if self.conditional.reached(any_match, f1) else Verdict.NOT_READY


@attrs.frozen
class Readiness:
    """The verdict on a report, and those that its values and the ends of their 95 % intervals would give."""

    router: str
    any_match: Estimate
    f1: Estimate
    thresholds: Thresholds
    undecided: int = 0
    """Scenarios without a decision. They count as missed, for a deployed router would miss them."""
    leakage: Leakage | None = None
    """What the scenarios share with the training data, where that was looked at."""

    @property
    def verdict(self) -> Verdict:
        """What the thresholds make of it: `by_values`, or where they ask for certainty no more than is certain."""
        if not self.thresholds.certain:
            return self.by_values
        return Verdict.NOT_READY if self.leaks else self.worst

    @property
    def by_values(self) -> Verdict:
        """What the measured numbers say, whatever they rest on."""
        return self.thresholds.verdict(self.any_match.value, self.f1.value)

    @property
    def leaks(self) -> bool:
        """Whether the training data are known to give scenarios away."""
        return self.leakage is not None and not self.leakage.clean

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
        if self.leaks and self.thresholds.certain:
            return f"{self.by_values.value} by the values, which show nothing: the training data give scenarios away"
        if self.verdict is not self.by_values:
            return f"{self.by_values.value} by the values, not certain: n = {self.any_match.n}"
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
            "by_values": self.by_values.value,
            "worst": self.worst.value,
            "best": self.best.value,
            "certain": self.certain,
            "any_match": self.any_match.to_dict(),
            "f1": self.f1.to_dict(),
            "certainty": self.certainty,
            "undecided": self.undecided,
            "leakage": None if self.leakage is None else self.leakage.to_dict(),
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
        f1=mean([*(r.f1 for r in results), *[0.0] * undecided], shares=True),
        thresholds=thresholds or Thresholds(),
        undecided=undecided,
        leakage=report.leakage,
    )


def read_thresholds(path: Path) -> Thresholds:
    """Thresholds from a TOML file with `certain` and the tables `ready` and `conditional`; what is left out is default.

    Raises `ThresholdsError` that names the mistakes.
    """
    try:
        return structure(strict_converter(), tomllib.loads(path.read_text(encoding="utf-8-sig")), Thresholds)
    except UnicodeDecodeError as error:
        raise ThresholdsError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except ValueError as error:
        raise ThresholdsError(f"{path}: {error}") from None
