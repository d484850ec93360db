"""Training examples as they arrive, checked before anything is computed with them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

from memory_routing.server.losses import Loss
from memory_routing.server.refusal import Refused

__all__ = ["TrainingDatum", "check_tokens", "training_datum"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Array = NDArray[np.int64] | NDArray[np.int32] | NDArray[np.float32]

_TARGETS = "target_tokens"


@attrs.frozen(eq=False)
class TrainingDatum:
    """Input tokens `(N,)`, targets `(N, K)` after each of them, and the loss's columns `(N, K)`.

    K is 1 but for soft targets. `flat` says that the client gave vectors, and gets vectors.
    """

    tokens: Ints
    targets: Ints
    columns: Mapping[str, Floats]
    flat: bool

    def __len__(self) -> int:
        return len(self.tokens)


def training_datum(
    index: int, tokens: Array, inputs: Mapping[str, Array], name: str, loss: Loss, vocabulary: int, context: int
) -> TrainingDatum:
    """Check one datum for a loss. Raises `Refused` that names the datum, what is wrong with it and its sizes."""
    place = f"datum {index}"
    needed = {_TARGETS, *loss.columns} - set(loss.optional)
    if missing := sorted(needed - set(inputs)):
        raise Refused(f"{place} has no {missing[0]}, which {name} needs")
    if unknown := sorted(set(inputs) - needed - set(loss.optional)):
        raise Refused(f"{place} has {unknown[0]!r} in its loss_fn_inputs, which {name} does not use: leave it out")
    check_tokens(f"{place}: model_input", tokens, vocabulary, context)
    targets = inputs[_TARGETS]
    if targets.ndim not in ((1, 2) if name == "cross_entropy" else (1,)):
        raise Refused(f"{place}: {_TARGETS} has the shape {list(targets.shape)}, but {name} needs one for each input")
    if len(targets) != len(tokens):
        raise Refused(f"{place}: {len(targets)} {_TARGETS} for {len(tokens)} tokens in model_input")
    check_tokens(f"{place}: {_TARGETS}", targets.ravel(), vocabulary)
    columns = {}
    for column in loss.columns:
        values = inputs.get(column)
        if values is None:
            values = np.full(targets.shape, loss.optional[column], dtype=np.float32)
        if values.shape != targets.shape:
            sizes = f"{_size(values)} {column} for {_size(targets)} {_TARGETS}"
            raise Refused(f"{place}: {sizes} and {len(tokens)} tokens in model_input")
        if not np.isfinite(values).all():
            raise Refused(f"{place}: {column} holds {values[~np.isfinite(values)][0]}, which is no finite number")
        columns[column] = values.astype(np.float32).reshape(len(tokens), -1)
    return TrainingDatum(
        tokens.astype(np.int64), targets.astype(np.int64).reshape(len(tokens), -1), columns, targets.ndim == 1
    )


def check_tokens(place: str, tokens: Array, vocabulary: int, context: int | None = None) -> None:
    """Raise `Refused` for no token, one that the vocabulary lacks, or more than the context takes."""
    if not len(tokens):
        raise Refused(f"{place} holds no token")
    if tokens.dtype.kind != "i":
        raise Refused(f"{place} holds {tokens.dtype} numbers, and tokens are integers")
    if context is not None and len(tokens) > context:
        raise Refused(f"{place} has {len(tokens)} tokens, but the model's context takes {context}")
    if (low := int(tokens.min())) < 0:
        raise Refused(f"{place} holds the token {low}, but tokens count from 0")
    if (high := int(tokens.max())) >= vocabulary:
        raise Refused(f"{place} holds the token {high}, but the vocabulary has {vocabulary}")


def _size(values: Array) -> str:
    return "×".join(map(str, values.shape))
