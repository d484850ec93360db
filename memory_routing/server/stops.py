"""Where an answer ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

__all__ = ["Stops"]


@attrs.frozen
class Stops:
    """Tokens and texts that end an answer; the token that completes one is the last that is kept.

    `decode` gives the text of tokens, and is needed for texts only.
    """

    tokens: frozenset[int] = frozenset()
    texts: tuple[str, ...] = ()
    decode: Callable[[Sequence[int]], str] | None = None

    def ends(self, sampled: Sequence[int]) -> bool:
        """Whether the last of the sampled tokens ends the answer."""
        if sampled[-1] in self.tokens:
            return True
        if not self.texts or self.decode is None:
            return False
        # A character takes four tokens at most, one for each byte of it.
        longest = max(len(text) for text in self.texts)
        tail = self.decode(sampled[-4 * (longest + 1) :])
        return any(text in tail for text in self.texts)
