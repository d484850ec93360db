"""What generating a dataset is told."""

from __future__ import annotations

from typing import Literal

import attrs
from attrs.validators import ge, gt, in_, le, optional

__all__ = ["Gate", "GenerationConfig"]

Keep = Literal["exact", "superset"]


@attrs.frozen
class Gate:
    """Bounds that each conversation must keep."""

    turns: int = attrs.field(default=1, validator=ge(0))
    """Turns more or fewer than asked for."""
    shortest: float = attrs.field(default=0.4, validator=gt(0.0))
    """Words at least, as a share of those asked for."""
    longest: float = attrs.field(default=2.0, validator=gt(0.0))
    """Words at most, as a share of those asked for."""
    name_words: bool = True
    """Refuse a category's name also where it is written as words (`brand core`), which ordinary talk may be."""
    similarity: float = attrs.field(default=0.5, validator=[gt(0.0), le(1.0)])
    """Jaccard similarity of three-word shingles from which two conversations share text; of a scenario of a benchmark,
    the share of its shingles that a conversation may not have."""


@attrs.frozen
class GenerationConfig:
    """Settings of `generate_dataset`."""

    keep: Keep = attrs.field(default="superset", validator=in_(["exact", "superset"]))
    """`exact`: kept where the independent labels equal those asked for. `superset`: also where they have more, with the
    independent labels; `none` must always be equal."""
    surplus: float = attrs.field(default=0.2, validator=ge(0.0))
    """How far labels that nobody asked for may take a category above its plan, as a share of it; 0 for not at all."""
    attempts: int = attrs.field(default=5, validator=ge(1))
    """Conversations that are written for a brief before it is given up."""
    gate: Gate = attrs.field(factory=Gate)
    concurrency: int = attrs.field(default=16, validator=ge(1))
    """Calls at a time."""
    per_minute: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Calls in a minute; left out, what the service allows."""
    retries: int = attrs.field(default=6, validator=ge(0))
    """Of a call that failed in passing."""
    timeout: float = attrs.field(default=120.0, validator=gt(0.0))
    """Seconds that one try of a call may take."""
    pause: float = attrs.field(default=1.0, validator=ge(0.0))
    """Seconds of the first wait between two tries, where the service names none; the waits grow."""
