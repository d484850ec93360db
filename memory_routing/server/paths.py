"""Names of runs and checkpoints, which come from outside and become folders only after a look at them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import attrs

from memory_routing.server.refusal import Refused

__all__ = ["CheckpointPath", "Kind", "check_name", "run_folder"]

_RUN: Final = re.compile(r"([0-9a-f]{32}):train:(0|[1-9][0-9]{0,8})")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]{0,127}")
_SCHEME: Final = "tinker://"


class Kind(StrEnum):
    """What a checkpoint is for, by the word in its path."""

    TRAINING = "weights"
    SAMPLER = "sampler_weights"
    EXTERNAL = "external_weights"


def check_name(name: str) -> str:
    """The name of a checkpoint. Raises `Refused` for what could not be one part of a path."""
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise Refused(
            f"{name[:200]!r} is no name for a checkpoint: use up to 128 letters, digits and any of _ . + = @ -, "
            "beginning with a letter, a digit or _"
        )
    return name


def run_folder(run: str) -> str:
    """Name of the folder of a training run, whose id is `<session>:train:<number>`. Raises `Refused` for another."""
    match = _RUN.fullmatch(run)
    if match is None:
        raise Refused(f"{run[:200]!r} is no training run of this service")
    return f"{match[1]}-{match[2]}"


@attrs.frozen
class CheckpointPath:
    """`tinker://<run>/<kind>/<name>`, checked part by part."""

    run: str = attrs.field(validator=lambda _self, _attribute, value: run_folder(value))
    kind: Kind
    name: str = attrs.field(validator=lambda _self, _attribute, value: check_name(value))

    def __str__(self) -> str:
        return f"{_SCHEME}{self.run}/{self.id}"

    @property
    def id(self) -> str:
        """The path inside its run."""
        return f"{self.kind.value}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> CheckpointPath:
        """Read a path. Raises `Refused` for anything else."""
        parts = text.removeprefix(_SCHEME).split("/")
        if not text.startswith(_SCHEME) or len(parts) != 3 or parts[1] not in set(Kind):
            kinds = " or ".join(kind.value for kind in Kind)
            raise Refused(f"{text[:200]!r} is no checkpoint's path: it reads tinker://<run>/<{kinds}>/<name>")
        return cls(parts[0], Kind(parts[1]), parts[2])
