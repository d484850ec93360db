"""The binary messages of the protocol: requests of the training pass, and the answers of both passes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tinker.proto import tinker_public_pb2 as pb

from memory_routing.server.datums import TrainingDatum, training_datum
from memory_routing.server.losses import LOSSES, Loss
from memory_routing.server.refusal import Refused
from memory_routing.server.sampling import Samples, Top

__all__ = ["parse_training", "read_config", "read_datums", "read_loss", "write_samples", "write_training"]

_TYPES: Final = {pb.DTYPE_FLOAT32: np.float32, pb.DTYPE_INT64: np.int64, pb.DTYPE_INT32: np.int32}
_MOST_CELLS: Final = 2**26
"""Of one sparse tensor when it is written out."""


def parse_training(body: bytes) -> Any:
    """The message `ForwardBackwardRequest`. Raises `Refused` for bytes that are none."""
    try:
        return pb.ForwardBackwardRequest.FromString(body)
    except Exception:  # the decoder's error differs between protobuf's implementations
        raise Refused("the body is no ForwardBackwardRequest: use the tinker SDK, 0.25 or later") from None


def read_loss(message: Any) -> Loss:
    """The loss that a request names."""
    loss = LOSSES.get(message.loss_fn)
    if loss is None:
        raise Refused(f"this service has no loss {message.loss_fn!r}, only {', '.join(LOSSES)}")
    return loss


def read_config(message: Any, loss: Loss) -> dict[str, float]:
    """The bounds that a request sets, by name."""
    config = dict(message.loss_fn_config)
    for key, value in message.loss_fn_config_v2.items():
        if value.WhichOneof("value") == "text":
            raise Refused(f"loss_fn_config sets {key} to a text: it takes numbers")
        config[key] = value.number
    for key, number in config.items():
        if key not in loss.bounds:
            allowed = ", ".join(loss.bounds) or "nothing"
            raise Refused(f"loss_fn_config sets {key}, but {message.loss_fn} takes {allowed}")
        if not np.isfinite(number):
            raise Refused(f"loss_fn_config sets {key} to {number}, which is no finite number")
    low, high = ({**loss.bounds, **config}.get(f"clip_{end}_threshold", 0.0) for end in ("low", "high"))
    if low > high:
        raise Refused(f"loss_fn_config sets clip_low_threshold to {low}, above clip_high_threshold, {high}")
    return config


def read_datums(message: Any, loss: Loss, vocabulary: int, context: int) -> list[TrainingDatum]:
    """The datums of a request, checked."""
    if not message.data:
        raise Refused("the request has no datum")
    return [
        training_datum(
            index,
            _tokens(index, datum.model_input),
            {name: _array(f"datum {index}: {name}", value) for name, value in datum.loss_fn_inputs.items()},
            message.loss_fn,
            loss,
            vocabulary,
            context,
        )
        for index, datum in enumerate(message.data)
    ]


def _tokens(index: int, chunks: Any) -> NDArray[np.int32]:
    parts = []
    for chunk in chunks:
        if chunk.WhichOneof("chunk") != "encoded_text":
            raise Refused(f"datum {index}: model_input holds a chunk that is no text, and this service reads only text")
        parts.append(np.frombuffer(chunk.encoded_text.tokens, np.int32))
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _array(place: str, tensor: Any) -> NDArray[Any]:
    """A tensor as numbers. Raises `Refused` where its parts contradict one another."""
    dtype = _TYPES.get(tensor.dtype)
    if dtype is None:
        raise Refused(f"{place} is of a type that is not used here: send float32 or int64")
    shape = tuple(tensor.shape)
    try:
        if not tensor.HasField("sparse_csr"):
            values = np.frombuffer(tensor.dense, dtype)
            return values.reshape(shape or (-1,))
        csr = tensor.sparse_csr
        rows, width = shape
        if rows * width > _MOST_CELLS:
            raise Refused(f"{place} has {rows} × {width} cells, more than the {_MOST_CELLS} that this service takes")
        found = np.zeros((rows, width), dtype)
        counts = np.diff(np.frombuffer(csr.crow_indices, np.int64)).astype(np.int64)
        places = np.repeat(np.arange(rows), counts), np.frombuffer(csr.col_indices, np.int64)
        found[places] = np.frombuffer(csr.values, dtype)
    except (ValueError, IndexError, OverflowError):
        raise Refused(f"{place} is damaged: its numbers do not fill the shape {list(shape)}") from None
    return found


def write_training(datums: Sequence[TrainingDatum], logprobs: Sequence[NDArray[np.float32]], loss: float) -> bytes:
    """Logprobs `(N, K)` of each datum's targets and the sum of the loss, as `ForwardBackwardOutput`."""
    out = pb.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord")
    out.metrics["loss:sum"] = loss
    shapes = [() if datum.flat else datum.targets.shape[1:] for datum in datums]
    # One record holds arrays of one width.
    for trailing, group in groupby(zip(shapes, logprobs, strict=True), key=lambda pair: pair[0]):
        arrays = [np.ascontiguousarray(values, dtype=np.float32) for _, values in group]
        record = out.loss_fn_outputs.add(num_datums=len(arrays))
        field = record.fields["logprobs"]
        field.dtype = pb.DTYPE_FLOAT32
        field.data = b"".join(values.tobytes() for values in arrays)
        field.offsets = np.cumsum([0, *(values.nbytes for values in arrays)]).astype(np.int64).tobytes()
        field.trailing_shape.extend(trailing)
    return bytes(out.SerializeToString(deterministic=True))


def write_samples(samples: Samples) -> bytes:
    """Sampled sequences and what was asked of the prompt, as `SampleResponse`."""
    out = pb.SampleResponse()
    for sequence in samples.sequences:
        written = out.sequences.add(
            stop_reason=pb.STOP_REASON_STOP if sequence.stopped else pb.STOP_REASON_LENGTH,
            tokens=np.array(sequence.tokens, np.int32).tobytes(),
            logprobs=np.array(sequence.logprobs, np.float32).tobytes(),
        )
        if sequence.top is not None:
            written.topk_sampled_logprobs.CopyFrom(_top(sequence.top))
    if samples.prompt_logprobs is not None:
        out.prompt_logprobs = samples.prompt_logprobs.astype(np.float32).tobytes()
    if samples.prompt_top is not None:
        out.topk_prompt_logprobs.CopyFrom(_top(samples.prompt_top))
    return bytes(out.SerializeToString())


def _top(top: Top) -> Any:
    length, k = top.tokens.shape
    return pb.TopkLogprobs(
        token_ids=top.tokens.astype(np.int32).tobytes(), logprobs=top.logprobs.tobytes(), k=k, length=length
    )
