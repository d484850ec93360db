"""The router that works out of the box: a small encoder, run by ONNX Runtime in the process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from tokenizers import Tokenizer

from memory_routing.conversation import Conversation, ConversationLike
from memory_routing.decision import Decision, ScoredLabel, Usage
from memory_routing.embedded.encoding import ConversationEncoder
from memory_routing.embedded.folder import GRAPH, TOKENIZER, ModelFolder
from memory_routing.embedded.runtime import Graph
from memory_routing.embedded.scoring import score
from memory_routing.errors import ConversationError, ModelError
from memory_routing.marketing import MODEL_FOLDER
from memory_routing.router import Router, as_conversations

__all__ = ["MAX_CHARACTERS", "EmbeddedRouter"]

MAX_CHARACTERS: Final = 250_000
"""Longest conversation that is routed, in characters: of English some 60,000 tokens, seconds of one core; of scripts
and chats with a token for each character, up to a minute and a half."""


@final
class EmbeddedRouter(Router):
    """Routes with a model folder, the shipped one by default. No network, no key, no GPU.

    The same conversation gets the same bytes alone, in any batch and in any process. `workers` threads route
    a batch, one conversation each; by default as many as there are processors. Safe to share between threads,
    to pickle, and to use after a fork. Raises `ModelError` for a folder that is damaged or foreign.
    """

    def __init__(self, folder: str | Path | None = None, *, workers: int | None = None) -> None:
        self._folder = MODEL_FOLDER if folder is None else Path(folder)
        self._workers = workers or _processors()
        model = ModelFolder.read(self._folder)
        self.taxonomy = model.taxonomy
        self.manifest = model.manifest
        """What the model is and where it comes from."""
        self._encoder = ConversationEncoder(self._tokenizer(model), model.manifest.window)
        self._graph = self._checked_graph(model)

    @property
    def model_hash(self) -> str:
        """SHA-256 of the model."""
        return self.manifest.hash

    def _tokenizer(self, model: ModelFolder) -> Tokenizer:
        try:
            return Tokenizer.from_buffer(model.tokenizer)
        except Exception as error:  # the tokenizers library raises nothing narrower
            raise ModelError(f"{self._folder / TOKENIZER}: no tokenizer ({error}); train the model again") from None

    def _checked_graph(self, model: ModelFolder) -> Graph:
        try:
            graph = Graph(model.graph)
            width = graph(np.zeros(1, dtype=np.int64)).shape[-1]
        except Exception as error:  # nor does ONNX Runtime
            raise ModelError(f"{self._folder / GRAPH}: cannot be run ({error}); train the model again") from None
        if width != 2 * len(model.taxonomy):
            raise ModelError(
                f"{self._folder / GRAPH}: {width} outputs, {len(model.taxonomy)} categories need twice as many"
            )
        return graph

    def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
        """One decision for each conversation, in input order.

        Raises `ConversationError` for the first conversation that is none or is longer than
        `MAX_CHARACTERS`, before any is routed.
        """
        checked = as_conversations(conversations)
        for index, conversation in enumerate(checked):
            length = sum(len(turn.text) for turn in conversation.turns)
            if length > MAX_CHARACTERS:
                raise ConversationError(
                    f"{length:,} characters; the embedded router takes up to {MAX_CHARACTERS:,}: route it in parts",
                    index,
                )
        if len(checked) < 2 or self._workers < 2:
            return [self._decide(conversation) for conversation in checked]
        with ThreadPoolExecutor(min(self._workers, len(checked))) as pool:
            return list(pool.map(self._decide, checked))

    def _decide(self, conversation: Conversation) -> Decision:
        windows = self._encoder.windows(conversation)
        outputs = [self._graph(window.ids) for window in windows]
        logits = score(windows, outputs, [not turn.is_context for turn in conversation.turns])
        calibration, rule = self.manifest.calibration, self.manifest.rule
        scores, turn_scores = calibration(logits.conversation), calibration(logits.turns)
        categories = self.taxonomy.categories
        labels = tuple(
            ScoredLabel(categories[i], float(scores[i]), rule.evidence(turn_scores[:, i]))
            for i in rule.categories(scores)
        )
        return Decision(
            taxonomy=self.taxonomy,
            labels=labels,
            scores=dict(zip(self.taxonomy.names, map(float, scores), strict=True)),
            router=self.manifest.name,
            usage=Usage(input_tokens=sum(len(window.ids) for window in windows)),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._folder, self._workers)


def _restore(folder: Path, workers: int) -> EmbeddedRouter:
    return EmbeddedRouter(folder, workers=workers)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
