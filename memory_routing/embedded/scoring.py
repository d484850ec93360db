"""From token outputs to probabilities: numpy only, shared by routing and calibration."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from memory_routing.embedded.encoding import Window

__all__ = ["ConversationLogits", "logsumexp", "score", "sigmoid"]

Floats = NDArray[np.floating]


@attrs.frozen(eq=False)
class ConversationLogits:
    """Logits of every category: of the conversation `(C,)` and of each of its turns `(turns, C)`.

    A turn that is context only, or that no token belongs to, has minus infinity.
    """

    conversation: Floats
    turns: Floats


def score(windows: Sequence[Window], outputs: Sequence[Floats], evidential: Sequence[bool]) -> ConversationLogits:
    """Pool token outputs to turns and turns to the conversation.

    `outputs` has, for each window, `(T, 2C)`: attention logits and values of every category. A turn's logit
    is the mean value of its tokens under the softmax of their attention, label by label (Mullenbach et al.
    2018); of a divided turn, its highest part's. The conversation's is the log-sum-exp over the parts of a window,
    the highest window counting. So neither a long conversation nor a long turn is likelier or less likely
    to hold a fact than its likeliest part.
    """
    turns = np.concatenate([window.turns for window in windows])
    owner = np.concatenate([np.full(len(window.turns), i) for i, window in enumerate(windows)])
    tokens = np.concatenate(outputs)
    categories = tokens.shape[1] // 2
    inside = turns >= 0
    # Every window opens and every part closes with a token of no turn.
    part = np.cumsum(~inside)[inside]
    turns, owner, tokens = turns[inside], owner[inside], tokens[inside]
    attention, values = tokens[:, :categories], tokens[:, categories:]
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    lengths = np.diff(np.append(starts, len(turns)))
    weights = np.exp(attention - np.repeat(np.maximum.reduceat(attention, starts), lengths, axis=0))
    parts = np.add.reduceat(weights * values, starts) / np.add.reduceat(weights, starts)
    turns, owner = turns[starts], owner[starts]
    parts[~np.asarray(evidential, dtype=bool)[turns]] = -np.inf
    logits = np.full((len(evidential), categories), -np.inf, dtype=tokens.dtype)
    np.maximum.at(logits, turns, parts)
    per_window = [logsumexp(parts[owner == i]) for i in np.unique(owner)]
    return ConversationLogits(np.max(per_window, axis=0), logits)


def logsumexp(logits: Floats) -> Floats:
    """Log Σ exp over the first axis; minus infinity where all of it is."""
    top = logits.max(axis=0)
    shift = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return np.asarray(shift + np.log(np.exp(logits - shift).sum(axis=0)))


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^-x) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))
