"""Every error the library raises on purpose.

    MemoryRoutingError
    ├── TaxonomyError (ValueError)       a taxonomy or a label name that cannot be used
    ├── ConversationError (ValueError)   input that is no conversation; `index` names it in a batch
    ├── DatasetError (ValueError)        a file with bad lines; `bad_lines` lists them all
    ├── RewardError (ValueError)         a reward function that broke its contract
    ├── ModelError (ValueError)          a model folder that is damaged, foreign or too new
    ├── RouterError (RuntimeError)       a provider failed; `decided` holds what was done before
    ├── TrainingError (RuntimeError)     a training run that cannot start or go on
    ├── GenerationError (ValueError)     a plan that contradicts itself, or a folder that holds another one
    ├── TeacherError (RuntimeError)      a teacher that gave no answer
    ├── HubError (RuntimeError)          a model that may not be published, or a hub that refuses or is away
    ├── ThresholdsError (ValueError)     thresholds that contradict each other
    └── MissingExtraError (ImportError)  an optional dependency is not installed

Each also inherits the built-in error it specialises, and each message names the place and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from memory_routing.decision import Decision

__all__ = [
    "BadLine",
    "ConversationError",
    "DatasetError",
    "GenerationError",
    "HubError",
    "MemoryRoutingError",
    "MissingExtraError",
    "ModelError",
    "RewardError",
    "RouterError",
    "TaxonomyError",
    "TeacherError",
    "ThresholdsError",
    "TrainingError",
]


class MemoryRoutingError(Exception):
    """Base of every error raised by this library."""


class TaxonomyError(MemoryRoutingError, ValueError):
    """A taxonomy, category or label name that cannot be used."""


class ConversationError(MemoryRoutingError, ValueError):
    """Input that is no conversation.

    `index` is its 0-based place in the batch, or `None` for a single conversation.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message if index is None else f"conversation {index}: {message}")
        self.reason = message
        self.index = index

    def __reduce__(self) -> tuple[type[ConversationError], tuple[str, int | None]]:
        return type(self), (self.reason, self.index)


@attrs.frozen
class BadLine:
    """A line of a file that could not be read: its 1-based number, its id if it had one, and why."""

    number: int
    reason: str
    id: str | None = None

    def __str__(self) -> str:
        name = f" ({self.id})" if self.id is not None else ""
        return f"line {self.number}{name}: {self.reason}"


class DatasetError(MemoryRoutingError, ValueError):
    """A dataset that cannot be read or used. `bad_lines` lists every line that is wrong."""

    def __init__(self, message: str, bad_lines: Sequence[BadLine] = ()) -> None:
        super().__init__(message)
        self.bad_lines = tuple(bad_lines)


class RewardError(MemoryRoutingError, ValueError):
    """A reward function whose weights or components break the contract of `RewardFn`."""


class ModelError(MemoryRoutingError, ValueError):
    """A model folder that is damaged, of another taxonomy, or written by a newer version."""


class RouterError(MemoryRoutingError, RuntimeError):
    """A provider failed in the middle of a batch.

    `decided` maps the index of each conversation that was decided before to its decision.
    """

    def __init__(self, message: str, decided: Mapping[int, Decision] | None = None) -> None:
        super().__init__(message)
        self.decided: dict[int, Decision] = dict(decided or {})


class TrainingError(MemoryRoutingError, RuntimeError):
    """A training run that cannot start or cannot go on."""


class GenerationError(MemoryRoutingError, ValueError):
    """A plan that contradicts itself, settings that cannot work, or an output folder of another plan."""


class TeacherError(MemoryRoutingError, RuntimeError):
    """A teacher that gave no answer.

    `passing`: the same call may succeed later, `after` this many seconds if the service said so; `limited`: it came too
    soon after others. `fatal`: no other call can succeed either, as with a refused key. None of these: this one call is
    refused for good.
    """

    def __init__(
        self,
        message: str,
        *,
        passing: bool = False,
        limited: bool = False,
        fatal: bool = False,
        after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.passing, self.limited = passing or limited, limited
        self.fatal, self.after = fatal, after


class HubError(MemoryRoutingError, RuntimeError):
    """A model that may not be published, or a hub that refuses or cannot be reached."""


class ThresholdsError(MemoryRoutingError, ValueError):
    """Thresholds that contradict each other, or a file of them that cannot be read."""


class MissingExtraError(MemoryRoutingError, ImportError):
    """An optional dependency is needed and not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}, which is not installed: pip install 'memory-routing[{extra}]'")
