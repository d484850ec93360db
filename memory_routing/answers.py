"""Between conversations and a language model: prompts that fit, and decisions from its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from memory_routing.conversation import ConversationLike
from memory_routing.decision import Decision, ScoredLabel, Usage
from memory_routing.errors import ConversationError
from memory_routing.labels import LabelSet, Malformed
from memory_routing.renderer import Renderer
from memory_routing.router import as_conversations
from memory_routing.taxonomy import Taxonomy

__all__ = ["answer_decision", "marginals", "neighbours", "prompts"]


def prompts(
    conversations: Sequence[ConversationLike], renderer: Renderer, answer: int, longest: int | None
) -> list[list[int]]:
    """The tokens of each conversation's prompt.

    Raises what `as_conversations` does, and `ConversationError` with the index of one that leaves no room for
    `answer` tokens in a context of `longest`.
    """
    found = [renderer.prompt(conversation) for conversation in as_conversations(conversations)]
    for index, prompt in enumerate(found):
        if longest is not None and len(prompt) + answer > longest:
            raise ConversationError(
                f"{len(prompt)} tokens and {answer} for the answer are more than the {longest} of the model's context; "
                "shorten the conversation",
                index,
            )
    return found


def answer_decision(
    taxonomy: Taxonomy,
    answer: LabelSet | Malformed,
    *,
    complete: bool,
    router: str,
    raw: str,
    usage: Usage,
    scores: Mapping[str, float] | None = None,
) -> Decision:
    """The decision that an answer stands for.

    Malformed answers store nothing and are flagged; of one that was cut by length the whole labels are kept.
    """
    malformed = answer if isinstance(answer, Malformed) else None
    labels = answer if isinstance(answer, LabelSet) else taxonomy.none if complete else _whole_labels(taxonomy, answer)
    return Decision(
        taxonomy,
        tuple(
            ScoredLabel(category, None if scores is None else scores[category.name]) for category in labels.categories
        ),
        scores,
        router,
        malformed,
        raw,
        usage,
    )


def _whole_labels(taxonomy: Taxonomy, cut: Malformed) -> LabelSet:
    *whole, last = (part.strip().casefold() for part in cut.text.replace("\n", ",").split(","))
    # A last part that is a label may still have been on its way to a longer one.
    if not any(name != last and name.startswith(last) for name in taxonomy.names):
        whole.append(last)
    return taxonomy.labels(*(part for part in whole if part in taxonomy))


def neighbours(answer: LabelSet) -> list[LabelSet]:
    """The answer, every label set with one label more or less, every single label, and none; each once."""
    taxonomy = answer.taxonomy
    found = {answer.names: answer, (): taxonomy.none}
    for name in taxonomy.names:
        single = taxonomy.labels(name)
        other = answer - single if name in answer else answer | single
        found |= {single.names: single, other.names: other}
    return list(found.values())


def marginals(candidates: Sequence[LabelSet], logprobs: Sequence[float]) -> dict[str, float]:
    """Probability of each category, given that one of these label sets is said: shares of their probability.

    `logprobs` are natural logarithms of the whole answers' probabilities.
    """
    weights = np.exp(np.asarray(logprobs, dtype=np.float64) - np.max(logprobs))
    weights /= weights.sum()
    names = candidates[0].taxonomy.names
    shares = {name: [w for labels, w in zip(candidates, weights, strict=True) if name in labels] for name in names}
    return {name: min(1.0, float(np.sum(share))) for name, share in shares.items()}
