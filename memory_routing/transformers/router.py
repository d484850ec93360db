"""Routing with an exported language model on one's own hardware."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from memory_routing.answers import answer_decision, marginals, neighbours, prompts
from memory_routing.conversation import ConversationLike
from memory_routing.decision import Decision, Usage
from memory_routing.errors import ModelError
from memory_routing.exported import check_files, read_folder
from memory_routing.labels import LabelSet
from memory_routing.router import Router
from memory_routing.tinker.renderer import CookbookRenderer, load_tokenizer
from memory_routing.transformers.grammar import AnswerGrammar

__all__ = ["TransformersRouter"]


@final
class TransformersRouter(Router):
    """A merged model, or an adapter with its base model, as `memory-routing export` writes them.

    Decoding is greedy and takes only what leads to a valid label set, so that no answer is malformed. Each decision has
    a score for every category, from the answer and its neighbours; `scores=False` saves that work. Conversations are
    run one by one, so that a decision does not depend on its batch. `base` is a folder or a name on the hub, for an
    adapter whose base model is not where the export found it. Raises `ModelError` for a folder that is no export.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        base: str | Path | None = None,
        scores: bool = True,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        folder = Path(folder)
        manifest, self.taxonomy = read_folder(folder)
        check_files(folder, manifest)
        self.manifest = manifest
        """Where the model comes from."""
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = _load(folder, str(base or manifest.base_model), dtype).to(self._device).eval()
        self._renderer = CookbookRenderer(self.taxonomy, load_tokenizer(folder), manifest.renderer)
        self._grammar = AnswerGrammar(self._renderer)
        self._longest: int | None = getattr(self._model.config, "max_position_embeddings", None)
        self._scores = scores

    @property
    def model_hash(self) -> str:
        """SHA-256 of the model: of its manifest, which has the hashes of its files."""
        return self.manifest.hash

    def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
        """One decision for each conversation, in input order; see `Router.classify_batch`."""
        room = max(len(self._renderer.target(labels)) for labels in (self._everything, self.taxonomy.none))
        rendered = prompts(conversations, self._renderer, room, self._longest)
        return [self._decide(prompt) for prompt in rendered]

    @property
    def _everything(self) -> LabelSet:
        return self.taxonomy.labels(*self.taxonomy.names)

    @torch.inference_mode()
    def _decide(self, prompt: list[int]) -> Decision:
        read = self._model(torch.tensor([prompt], device=self._device), use_cache=True)
        first = torch.log_softmax(read.logits[0, -1].float(), -1)
        # Decoding extends the cache, scoring needs it as it was.
        cache = copy.deepcopy(read.past_key_values) if self._scores else None
        answer, text, tokens = self._decode(first, read.past_key_values)
        return answer_decision(
            self.taxonomy,
            answer,
            complete=True,
            router="transformers",
            raw=text,
            usage=Usage(len(prompt), tokens),
            scores=self._probabilities(answer, first, cache) if self._scores else None,
        )

    def _decode(self, logprobs: torch.Tensor, cache: Any) -> tuple[LabelSet, str, int]:
        """The likeliest token among those allowed, again and again."""
        text, tokens = "", 0
        while True:
            allowed = self._grammar.next(text)
            best = int(logprobs[[token for token, _ in allowed]].argmax())
            token, piece = allowed[best]
            text, tokens = text + piece, tokens + 1
            answer = self._grammar.read(text)
            if answer is not None and (not piece or self._grammar.stops_by_text):
                return answer, text, tokens
            out = self._model(torch.tensor([[token]], device=self._device), past_key_values=cache, use_cache=True)
            logprobs = torch.log_softmax(out.logits[0, -1].float(), -1)

    def _probabilities(self, answer: LabelSet, first: torch.Tensor, cache: Any) -> dict[str, float]:
        """Score the answer's neighbours as one batch that shares the prompt's cache."""
        candidates = neighbours(answer)
        targets = [self._renderer.target(labels) for labels in candidates]
        longest = max(map(len, targets))
        ids = torch.tensor([[*target, *[0] * (longest - len(target))] for target in targets], device=self._device)
        cache.batch_repeat_interleave(len(targets))
        out = self._model(ids[:, :-1], past_key_values=cache, use_cache=True)
        following = torch.log_softmax(out.logits.float(), -1).gather(-1, ids[:, 1:, None])[..., 0]
        sums = [
            float(first[target[0]]) + float(row[: len(target) - 1].sum())
            for target, row in zip(targets, following, strict=True)
        ]
        return marginals(candidates, sums)


def _load(folder: Path, base: str, dtype: torch.dtype | None) -> Any:
    try:
        if (folder / "adapter_config.json").exists():
            return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=dtype or "auto"), folder)
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or "auto")
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: {str(error).splitlines()[0]}") from None
