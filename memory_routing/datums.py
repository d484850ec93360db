"""Training examples as tokens, and the one place that aligns them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from memory_routing.errors import TrainingError

__all__ = ["AlignedDatum", "PolicyDatum", "SupervisedDatum", "align", "align_all"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


def _tokens(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _some_tokens(_: Any, attribute: attrs.Attribute[tuple[int, ...]], value: tuple[int, ...]) -> None:
    if not value:
        raise ValueError(f"{attribute.name} holds no token")
    if min(value) < 0:
        raise ValueError(f"{attribute.name} holds the negative token {min(value)}")


@attrs.frozen
class SupervisedDatum:
    """A prompt and the tokens that should follow it, stop included. `ValueError` where either is empty."""

    prompt: tuple[int, ...] = attrs.field(converter=_tokens, validator=_some_tokens)
    target: tuple[int, ...] = attrs.field(converter=_tokens, validator=_some_tokens)


@attrs.frozen
class PolicyDatum:
    """A prompt, the tokens that were sampled after it, the sampler's logprob of each, and one advantage for them all.

    `ValueError` where prompt or completion is empty, where logprobs and tokens differ in number, or where a
    number is not finite.
    """

    prompt: tuple[int, ...] = attrs.field(converter=_tokens, validator=_some_tokens)
    completion: tuple[int, ...] = attrs.field(converter=_tokens, validator=_some_tokens)
    logprobs: tuple[float, ...] = attrs.field(converter=_floats)
    advantage: float = attrs.field(converter=float)

    def __attrs_post_init__(self) -> None:
        if len(self.logprobs) != len(self.completion):
            raise ValueError(f"{len(self.logprobs)} logprobs for {len(self.completion)} sampled tokens")
        if not all(map(math.isfinite, (*self.logprobs, self.advantage))):
            raise ValueError("a logprob or the advantage is not finite")


@attrs.frozen(eq=False)
class AlignedDatum:
    """Arrays of one length, with P prompt and G own tokens T = P + G - 1: position i says what token i + 1 was.

    `mask` `(T,)` is 1 on own tokens and 0 on the prompt; it is the weights of a supervised datum and is kept
    from the service for a policy datum. `logprobs` and `advantages` `(T,)` are 0 on the prompt, and `None` for a
    supervised datum.
    """

    inputs: Ints
    targets: Ints
    mask: Floats
    logprobs: Floats | None = None
    advantages: Floats | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def supervised(self) -> AlignedDatum:
        """The same tokens as a supervised datum, to ask for their logprobs."""
        return attrs.evolve(self, logprobs=None, advantages=None)


def _own(datum: SupervisedDatum | PolicyDatum) -> tuple[int, ...]:
    return datum.target if isinstance(datum, SupervisedDatum) else datum.completion


def align(datum: SupervisedDatum | PolicyDatum) -> AlignedDatum:
    """Shift by one: inputs are all tokens but the last, targets all but the first."""
    own = _own(datum)
    tokens = np.array([*datum.prompt, *own], dtype=np.int64)

    def on_own(values: Iterable[float]) -> Floats:
        return np.array([*[0.0] * (len(datum.prompt) - 1), *values], dtype=np.float32)

    mask = on_own([1.0] * len(own))
    if isinstance(datum, SupervisedDatum):
        return AlignedDatum(tokens[:-1], tokens[1:], mask)
    return AlignedDatum(tokens[:-1], tokens[1:], mask, on_own(datum.logprobs), on_own([datum.advantage] * len(own)))


def align_all(
    datums: Sequence[SupervisedDatum | PolicyDatum], *, vocabulary: int | None = None, longest: int | None = None
) -> list[AlignedDatum]:
    """Align a batch, checking what a service would not.

    Raises `TrainingError` that names the index and the sizes for a batch without datums, a token that the
    `vocabulary` (its size) lacks, and a datum of more than `longest` tokens.
    """
    if not datums:
        raise TrainingError("the batch has no datum")
    aligned = []
    for index, datum in enumerate(datums):
        own = _own(datum)
        size = f"datum {index} with {len(datum.prompt)} prompt and {len(own)} own tokens"
        largest = max(*datum.prompt, *own)
        if vocabulary is not None and largest >= vocabulary:
            raise TrainingError(f"{size} holds token {largest}, but the vocabulary has {vocabulary}")
        if longest is not None and len(datum.prompt) + len(own) > longest:
            raise TrainingError(f"{size} is longer than the {longest} tokens of the model's context")
        aligned.append(align(datum))
    return aligned
