"""Sampling: a prompt read once, and all its answers decoded side by side."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Final

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memory_routing.server.base import Base
from memory_routing.server.choosing import Choice
from memory_routing.server.stops import Stops

__all__ = ["Sample", "Samples", "SamplingTask", "Top", "sample"]

_CACHED: Final = 2**17
"""Tokens of answers, prompts counted, that are decoded together."""
_NO_LOGPROB: Final = -99999.0
"""What the protocol puts where there is no likeliest token, with token 0."""

Floats = NDArray[np.float32]


@attrs.frozen
class SamplingTask:
    """What is asked of a sampler."""

    prompt: tuple[int, ...]
    number: int
    max_tokens: int
    choice: Choice
    stops: Stops
    seed: int
    prompt_logprobs: bool = False
    scored: int | None = None
    """How many tokens at the end of the prompt are scored; `None` for all but the first, which follows nothing."""
    prompt_top: int = 0
    """How many of the likeliest tokens are named at each place of the prompt."""
    sample_top: int = 0


@attrs.frozen(eq=False)
class Top:
    """The likeliest tokens of some places and their logprobs, both `(n, k)`."""

    tokens: NDArray[np.int64]
    logprobs: Floats


@attrs.define(eq=False)
class Sample:
    """An answer token by token, with the logarithm of the probability at which each was drawn."""

    tokens: list[int] = attrs.field(factory=list)
    logprobs: list[float] = attrs.field(factory=list)
    stopped: bool = False
    tops: list[tuple[list[int], list[float]]] = attrs.field(factory=list)

    @property
    def top(self) -> Top | None:
        """The likeliest tokens of each place, where they were asked for."""
        if not self.tops:
            return None
        tokens, logprobs = zip(*self.tops, strict=True)
        return Top(np.array(tokens, np.int64), np.array(logprobs, np.float32))


@attrs.frozen(eq=False)
class Samples:
    """The answers, and of the prompt what was asked for: logprobs `(P,)` that are NaN where none was."""

    sequences: Sequence[Sample]
    prompt_logprobs: Floats | None
    prompt_top: Top | None


def sample(base: Base, request: SamplingTask) -> Samples:
    """Answer a request with the weights in force. The same request gives the same answers at any time."""
    generator = torch.Generator(base.device).manual_seed(request.seed)
    with torch.inference_mode():
        ids = torch.tensor([request.prompt], device=base.device)
        states, cache = base.states(ids)
        scored = request.prompt_logprobs or request.prompt_top > 0
        scores, top = _score_prompt(base, request, states[0]) if scored else (None, None)
        first = base.logits(states[0, -1:])
        sequences: list[Sample] = []
        together = max(1, _CACHED // (len(request.prompt) + request.max_tokens))
        while len(sequences) < request.number:
            rows = min(together, request.number - len(sequences))
            last = len(sequences) + rows == request.number
            own = cache if last else copy.deepcopy(cache)
            sequences += _decode(base, request, first.expand(rows, -1), own, generator)
    return Samples(sequences, scores if request.prompt_logprobs else None, top)


def _decode(base: Base, request: SamplingTask, logits: Tensor, cache: Any, generator: torch.Generator) -> list[Sample]:
    rows = [Sample() for _ in range(len(logits))]
    going = list(rows)
    for made in range(1, request.max_tokens + 1):
        logprobs = request.choice.logprobs(logits)
        tokens = request.choice.draw(logprobs, generator)
        drawn = logprobs.gather(-1, tokens[:, None])[:, 0].tolist()
        for row, token, logprob in zip(going, tokens.tolist(), drawn, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.stopped = request.stops.ends(row.tokens)
        if request.sample_top:
            _note_top(going, logprobs, request.sample_top)
        left = [place for place, row in enumerate(going) if not row.stopped]
        if not left or made == request.max_tokens:
            break
        if made == 1 and len(going) > 1:
            cache.batch_repeat_interleave(len(going))
        if len(left) < len(going):
            places = torch.tensor(left, device=base.device)
            cache.batch_select_indices(places)
            tokens, going = tokens[places], [going[place] for place in left]
        states, cache = base.states(tokens[:, None], cache=cache)
        logits = base.logits(states[:, -1])
    return rows


def _note_top(rows: Sequence[Sample], logprobs: Tensor, k: int) -> None:
    values, tokens = logprobs.topk(k, dim=-1)
    for row, names, numbers in zip(rows, tokens.tolist(), values.clamp_min(_NO_LOGPROB).tolist(), strict=True):
        row.tops.append((names, numbers))


def _score_prompt(base: Base, request: SamplingTask, states: Tensor) -> tuple[Floats, Top | None]:
    """Logprobs `(P,)` of the prompt's tokens and the likeliest tokens in their places."""
    length, k = len(request.prompt), request.prompt_top
    start = max(1, length - (request.scored or length))
    scores = np.full(length, math.nan, np.float32)
    names, numbers = np.zeros((length, k), np.int64), np.full((length, k), _NO_LOGPROB, np.float32)
    before = states[start - 1 : length - 1]
    targets = torch.tensor(request.prompt[start:], device=base.device)
    for block in base.blocks(before):
        logprobs = base.logits(before[block]).log_softmax(dim=-1)
        place = slice(start + block.start, start + block.start + len(logprobs))
        scores[place] = logprobs.gather(-1, targets[block, None])[:, 0].cpu().numpy()
        if k:
            values, tokens = logprobs.topk(k, dim=-1)
            names[place], numbers[place] = tokens.cpu().numpy(), values.cpu().numpy()
    return scores, Top(names, numbers) if k else None
