"""The pass of a request's datums through the network, forward alone or with gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memory_routing.server.base import Base
from memory_routing.server.datums import TrainingDatum
from memory_routing.server.losses import Loss
from memory_routing.server.refusal import Refused

__all__ = ["Pass", "micro_batches", "run_pass"]


@attrs.frozen(eq=False)
class Pass:
    """What came out: the loss, the logprobs `(N, K)` of each datum's targets, and the gradients asked for."""

    loss: float
    logprobs: list[NDArray[np.float32]]
    gradients: list[Tensor]


def micro_batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of datums of similar length, as many as have so many tokens when padded, and one at least."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def run_pass(
    base: Base,
    datums: Sequence[TrainingDatum],
    loss: Loss,
    config: Mapping[str, float],
    parameters: Sequence[Tensor],
    batch_tokens: int,
) -> Pass:
    """The loss of some datums and its gradients with respect to `parameters`, of which there may be none.

    No gradient is stored anywhere, so that a pass that fails leaves no trace. Raises `Refused` where the loss or
    a gradient is not finite.
    """
    total = 0.0
    logprobs = [np.zeros(0, np.float32)] * len(datums)
    gradients = [torch.zeros_like(parameter) for parameter in parameters]
    widths = {datum.targets.shape[1] for datum in datums}
    for width in sorted(widths):
        places = [i for i, datum in enumerate(datums) if datum.targets.shape[1] == width]
        for batch in micro_batches([len(datums[i]) for i in places], batch_tokens):
            indices = [places[i] for i in batch]
            value, found = _micro_batch(base, [datums[i] for i in indices], loss, config, parameters, gradients)
            if not math.isfinite(value):
                raise Refused(
                    f"the loss of the datums {sorted(indices)} is {value}: their logprobs and advantages are so large "
                    "that the ratio of the policies overflows"
                )
            total += value
            for i, part in zip(indices, found, strict=True):
                logprobs[i] = part
    if not all(bool(gradient.isfinite().all()) for gradient in gradients):
        raise Refused("a gradient is not finite: lower the learning rate or the advantages")
    return Pass(total, logprobs, gradients)


def _micro_batch(
    base: Base,
    datums: Sequence[TrainingDatum],
    loss: Loss,
    config: Mapping[str, float],
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> tuple[float, list[NDArray[np.float32]]]:
    """Loss and logprobs of datums that fit in memory together; gradients are added to `gradients`."""
    lengths = [len(datum) for datum in datums]
    ids = np.zeros((len(datums), max(lengths)), dtype=np.int64)
    mask = np.zeros(ids.shape, dtype=np.int64)
    for row, datum in enumerate(datums):
        ids[row, : len(datum)], mask[row, : len(datum)] = datum.tokens, 1
    targets = _joined(base, [datum.targets for datum in datums])
    columns = {name: _joined(base, [datum.columns[name] for datum in datums]) for name in loss.columns}
    # Positions without weight or advantage are most of a prompt: only their logprobs are wanted.
    counts = columns[loss.coefficient].ne(0).any(dim=-1)
    learning = bool(parameters) and bool(counts.any())
    with torch.set_grad_enabled(learning):
        states, _ = base.states(torch.from_numpy(ids).to(base.device), torch.from_numpy(mask).to(base.device))
        rows = states.flatten(0, 1)[torch.from_numpy(mask.ravel().nonzero()[0]).to(base.device)]
        counted = base.logprobs(rows[counts], targets[counts])
        value = loss(counted, {name: column[counts] for name, column in columns.items()}, config)
    amount = float(value.detach())
    if learning and math.isfinite(amount):
        found = torch.autograd.grad(value, list(parameters), materialize_grads=True, allow_unused=True)
        for gradient, more in zip(gradients, found, strict=True):
            gradient.add_(more)
    with torch.no_grad():
        everywhere = torch.empty(targets.shape, device=base.device)
        everywhere[counts] = counted.detach()
        everywhere[~counts] = base.logprobs(rows[~counts].detach(), targets[~counts])
    parts = np.split(everywhere.cpu().numpy().astype(np.float32), np.cumsum(lengths)[:-1])
    return amount, parts


def _joined(base: Base, arrays: Sequence[NDArray[np.int64]] | Sequence[NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(np.concatenate(list(arrays))).to(base.device)
