"""Which tokens may come next, so that an answer is a valid label set and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from memory_routing.labels import LabelSet
from memory_routing.taxonomy import NONE
from memory_routing.tinker.renderer import CookbookRenderer

__all__ = ["AnswerGrammar"]

_SEPARATOR = ", "


class AnswerGrammar:
    """Answers in canonical form: `none`, or labels in taxonomy order with commas, and then the renderer's stop.

    Works on the text of tokens, so that any split of a label into tokens is allowed.
    """

    def __init__(self, renderer: CookbookRenderer) -> None:
        self.taxonomy, tokenizer = renderer.taxonomy, renderer.tokenizer
        said = renderer.target(self.taxonomy.none)
        self._ends: tuple[int, ...] = tuple(stop for stop in renderer.stop if isinstance(stop, int))
        while self._ends and said[-1] in self._ends:
            said = said[:-1]
        parts: list[str] = tokenizer.decode(said).split(NONE)
        self._lead, self._tail = parts
        self._pieces = _pieces(tokenizer, self._strings())
        self.stops_by_text = not self._ends
        self.next = cache(self._next)

    def _strings(self) -> str:
        """Every text that an answer can be cut out of by a token."""
        names, lead, tail = self.taxonomy.names, self._lead, self._tail
        pairs = [lead + a + _SEPARATOR + b + tail for i, a in enumerate(names) for b in names[i + 1 :]]
        triples = [_SEPARATOR + name + _SEPARATOR for name in names]
        return "\0".join([*pairs, *triples, *(lead + name + tail for name in (*names, NONE))])

    def _next(self, text: str) -> tuple[tuple[int, str], ...]:
        """Tokens that may follow, with the text they add; a token that ends the answer adds none."""
        found = [(token, piece) for token, piece in self._pieces.items() if self._viable(text + piece)]
        if self._ends and self.read(text) is not None:
            found += [(token, "") for token in self._ends]
        return tuple(found)

    def read(self, text: str) -> LabelSet | None:
        """The label set that a text is, once it is whole and, where the stop is text, the stop has begun."""
        for names, _, rest in self._parses(text):
            if self._tail.startswith(rest) and (rest or not self._tail):
                return self.taxonomy.labels(*names)
        return None

    def _viable(self, text: str) -> bool:
        if len(text) <= len(self._lead):
            return self._lead.startswith(text)
        if NONE.startswith(text[len(self._lead) :]) and text.startswith(self._lead):
            return True
        return any(self._tail.startswith(rest) or self._goes_on(place, rest) for _, place, rest in self._parses(text))

    def _goes_on(self, place: int, rest: str) -> bool:
        """Whether the rest is the beginning of a separator and a label from this place on."""
        later = self.taxonomy.names[place:]
        return any((_SEPARATOR + name).startswith(rest) for name in later)

    def _parses(self, text: str) -> Iterator[tuple[tuple[str, ...], int, str]]:
        """Every way to read whole labels at the front of a text, the place of the next label, and what is left."""
        if not text.startswith(self._lead):
            return
        body, names = text[len(self._lead) :], self.taxonomy.names
        if body.startswith(NONE):
            yield (), len(names), body[len(NONE) :]
        # As if a separator stood before the first label too.
        pending: list[tuple[tuple[str, ...], int, str]] = [((), 0, _SEPARATOR + body)]
        while pending:
            read, place, rest = state = pending.pop()
            yield state
            for later in range(place, len(names)):
                label = _SEPARATOR + names[later]
                if rest.startswith(label):
                    pending.append(((*read, names[later]), later + 1, rest[len(label) :]))


def _pieces(tokenizer: Any, strings: str) -> dict[int, str]:
    """The text of each token that can be part of an answer."""
    # Beside another token, for some tokenizers drop the space that a text begins with.
    anchor = tokenizer.encode("a", add_special_tokens=False)[-1]
    before = len(tokenizer.decode([anchor]))
    special = set(tokenizer.all_special_ids)
    tokens = [token for token in range(len(tokenizer)) if token not in special]
    texts: Sequence[str] = tokenizer.batch_decode([[anchor, token] for token in tokens])
    pieces = {token: text[before:] for token, text in zip(tokens, texts, strict=True)}
    return {token: piece for token, piece in pieces.items() if piece and piece in strings}
