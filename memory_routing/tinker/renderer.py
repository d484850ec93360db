"""Prompts and answers as a language model's tokens, through the cookbook's renderers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, final

from tinker_cookbook.exceptions import ConfigurationError, TinkerCookbookError
from tinker_cookbook.model_info import get_recommended_renderer_name, get_recommended_renderer_names
from tinker_cookbook.renderers import get_renderer
from tinker_cookbook.renderers.base import Message, get_text_content
from tinker_cookbook.tokenizer_utils import get_tokenizer

from memory_routing.conversation import Conversation, Turn
from memory_routing.errors import TrainingError
from memory_routing.labels import LabelSet, Malformed
from memory_routing.prompt import system_prompt, user_prompt
from memory_routing.renderer import Renderer
from memory_routing.taxonomy import Taxonomy

__all__ = ["CookbookRenderer", "load_tokenizer", "renderer_for"]

_PROBE: Final = Conversation((Turn("user", "We launch in June."),))


def renderer_for(base_model: str, name: str | None = None) -> str:
    """Name of the renderer that the cookbook recommends for a base model, or the given one with a warning.

    Raises `TrainingError` for a base model that the cookbook does not list, where no name is given.
    """
    try:
        recommended = get_recommended_renderer_names(base_model)
        best: str | None = get_recommended_renderer_name(base_model)
    except (ConfigurationError, ValueError, KeyError, NotImplementedError):
        recommended, best = [], None
    if name is None:
        if best is None:
            raise TrainingError(f"no renderer is known for {base_model}: name one, such as role_colon for a base model")
        return best
    if recommended and name not in recommended:
        warnings.warn(
            f"renderer {name} for {base_model}, for which {' or '.join(recommended)} is recommended; "
            "another one can cost quality without a sign",
            stacklevel=2,
        )
    return name


def load_tokenizer(name: str | Path) -> Any:
    """The tokenizer of a model, by folder or name on the hub. Raises `TrainingError` where there is none."""
    try:
        return get_tokenizer(str(name))
    except (OSError, ValueError, TinkerCookbookError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(f"no tokenizer for {name}: {reason}; name a folder that has one") from None


@final
class CookbookRenderer(Renderer):
    """A renderer of `tinker_cookbook` with the library's prompt around the conversation.

    `tokenizer` is the base model's. Raises `TrainingError` for a name that the cookbook does not know, a
    tokenizer that lacks the renderer's special tokens, and a renderer whose answers do not follow its prompts.
    """

    def __init__(self, taxonomy: Taxonomy, tokenizer: Any, name: str) -> None:
        self.taxonomy, self.tokenizer, self.name = taxonomy, tokenizer, name
        self.vocabulary = len(tokenizer)
        self._system = system_prompt(taxonomy)
        self._targets: dict[tuple[str, ...], list[int]] = {}
        self._special = [token for token in tokenizer.get_added_vocab() if len(token) > 1]
        try:
            self._inner = get_renderer(name, tokenizer)
            self.stop = self._inner.get_stop_sequences()
            self.target(taxonomy.none)
        except (ConfigurationError, ValueError, KeyError, AssertionError) as error:
            raise TrainingError(f"renderer {name} cannot be used with this tokenizer: {error}") from None

    def prompt(self, conversation: Conversation) -> list[int]:
        """Tokens up to where the model answers, shape `(P,)`.

        Special tokens that a conversation spells out are broken up, so that it cannot end its own message.
        """
        return [int(token) for token in self._inner.build_generation_prompt(self._messages(conversation)).to_ints()]

    def target(self, labels: LabelSet) -> list[int]:
        """Tokens of the right answer with its stop, shape `(G,)`."""
        text = self.taxonomy.write(labels)
        if labels.names not in self._targets:
            answer = Message(role="assistant", content=text)
            whole, _ = self._inner.build_supervised_example([*self._messages(_PROBE), answer])
            prompt, tokens = self.prompt(_PROBE), [int(token) for token in whole.to_ints()]
            if tokens[: len(prompt)] != prompt:
                raise ValueError("its answers do not follow its prompts token by token")
            self._targets[labels.names] = tokens[len(prompt) :]
        return list(self._targets[labels.names])

    def parse(self, tokens: Sequence[int], *, complete: bool = True) -> LabelSet | Malformed:
        """Read a sampled answer of shape `(G,)`; never raises."""
        if any(not 0 <= token < self.vocabulary for token in tokens):
            return Malformed("", "a token outside the vocabulary")
        try:
            message, end = self._inner.parse_response(list(tokens))
            # Where a renderer knows thoughts, the answer is what is said beside them.
            text = get_text_content(message)
        except (TinkerCookbookError, ValueError) as error:
            return Malformed(self.tokenizer.decode(list(tokens)), str(error))
        if not complete or not end.is_clean:
            return Malformed(text, "cut by length")
        return self.taxonomy.read(text)

    def _messages(self, conversation: Conversation) -> list[Message]:
        question = user_prompt(conversation)
        for token in self._special:
            question = question.replace(token, f"{token[0]} {token[1:]}")
        return [Message(role="system", content=self._system), Message(role="user", content=question)]
