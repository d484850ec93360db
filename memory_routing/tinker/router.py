"""Routing with a model that Tinker, or a service that speaks its protocol, samples from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

from memory_routing.answers import answer_decision, marginals, neighbours, prompts
from memory_routing.conversation import ConversationLike
from memory_routing.decision import Decision, Usage
from memory_routing.errors import ModelError, RouterError
from memory_routing.labels import LabelSet
from memory_routing.marketing import MARKETING
from memory_routing.router import Router
from memory_routing.taxonomy import Taxonomy
from memory_routing.tinker.renderer import CookbookRenderer, load_tokenizer, renderer_for
from memory_routing.tinker.service import Rollout, Service, ServiceError
from memory_routing.trainer import Checkpoint

__all__ = ["TinkerRouter"]


@final
class TinkerRouter(Router):
    """Samples the likeliest answer of a checkpoint's weights, or of a base model by name, all conversations at once.

    With `scores` each decision has a probability for every category, from the logprobs of the answer and its
    neighbours: some 2 prefills for each category more. `renderer` is the checkpoint's; for a base model the
    recommended one. Raises `ModelError` for a checkpoint of another taxonomy or renderer, `RouterError` where the
    service fails, `TrainingError` for a base model without a known renderer.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | str,
        taxonomy: Taxonomy = MARKETING,
        *,
        renderer: str | None = None,
        tokenizer: str | Path | None = None,
        scores: bool = False,
        max_tokens: int = 100,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 300.0,
    ) -> None:
        self.taxonomy, self._scores, self._max_tokens = taxonomy, scores, max_tokens
        if isinstance(checkpoint, str):
            base_model, name, weights = checkpoint, renderer_for(checkpoint, renderer), None
        else:
            base_model, weights = checkpoint.base_model, checkpoint.weights
            name = _checked(checkpoint, taxonomy, renderer)
        self._renderer = CookbookRenderer(taxonomy, load_tokenizer(tokenizer or base_model), name)
        self._service = Service(base_url, api_key, timeout)
        try:
            self._longest = self._service.models().get(base_model)
            self._sampler = self._service.sampler(weights=weights, base_model=None if weights else base_model)
        except ServiceError as error:
            raise RouterError(str(error)) from None

    def close(self) -> None:
        """End the session with the service."""
        self._service.close(finished=True)

    def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
        """One decision for each conversation, in input order; see `Router.classify_batch`."""
        rendered = prompts(conversations, self._renderer, self._max_tokens, self._longest)
        decided: dict[int, Decision] = {}
        groups = self._sampler.sample(rendered, stop=self._renderer.stop, max_tokens=self._max_tokens, temperature=0.0)
        try:
            for index, (rollout,) in enumerate(groups):
                decided[index] = self._decision(rendered[index], rollout)
        except ServiceError as error:
            raise RouterError(str(error), decided) from None
        return list(decided.values())

    def _decision(self, prompt: list[int], rollout: Rollout) -> Decision:
        answer = self._renderer.parse(rollout.tokens, complete=rollout.complete)
        around = answer if isinstance(answer, LabelSet) else self.taxonomy.none
        return answer_decision(
            self.taxonomy,
            answer,
            complete=rollout.complete,
            router="tinker",
            raw=self._renderer.tokenizer.decode(list(rollout.tokens)),
            usage=Usage(len(prompt), len(rollout.tokens)),
            scores=self._probabilities(prompt, around) if self._scores else None,
        )

    def _probabilities(self, prompt: list[int], answer: LabelSet) -> dict[str, float]:
        candidates = neighbours(answer)
        targets = [self._renderer.target(labels) for labels in candidates]
        found = self._sampler.logprobs([[*prompt, *target] for target in targets])
        own = [float(logprobs[-len(target) :].sum()) for logprobs, target in zip(found, targets, strict=True)]
        return marginals(candidates, own)


def _checked(checkpoint: Checkpoint, taxonomy: Taxonomy, renderer: str | None) -> str:
    if checkpoint.taxonomy_hash != taxonomy.hash:
        raise ModelError(
            f"the checkpoint was trained for another taxonomy than {taxonomy.name} {taxonomy.version}: give that one"
        )
    if renderer is not None and renderer != checkpoint.renderer:
        raise ModelError(f"the checkpoint was trained with the renderer {checkpoint.renderer}, not with {renderer}")
    return checkpoint.renderer
