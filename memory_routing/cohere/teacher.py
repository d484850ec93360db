"""Cohere as the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

from memory_routing.cohere.service import Chat
from memory_routing.generation import Answer, ChatTeacher, Prices, Request
from memory_routing.marketing import MARKETING
from memory_routing.taxonomy import Taxonomy

__all__ = ["MODEL", "PRICES", "CohereTeacher"]

MODEL: Final = "command-r-plus-08-2024"
PRICES: Final[Mapping[str, Prices]] = {
    "command-r-plus-08-2024": Prices(2.50, 10.00),
    "command-a-03-2025": Prices(2.50, 10.00),
    "command-r-08-2024": Prices(0.15, 0.60),
    "command-r7b-12-2024": Prices(0.0375, 0.15),
}
"""Cohere's prices as published in 2025 and 2026 (cohere.com/pricing). They change: name your own."""


@final
class CohereTeacher(ChatTeacher):
    """A model of Cohere's writes and labels conversations.

    The key is `api_key`, else that of `COHERE_API_KEY` or `CO_API_KEY`; without one the first call raises
    `TeacherError`. `guide` tells what is particular to labelling in the taxonomy; marketing has its own. `timeout` is
    how many seconds the SDK waits for the next bytes.
    """

    def __init__(
        self,
        taxonomy: Taxonomy = MARKETING,
        *,
        model: str = MODEL,
        guide: str | None = None,
        prices: Prices | None = None,
        write_temperature: float = 0.95,
        label_temperature: float = 0.1,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float = 120.0,
    ) -> None:
        super().__init__(
            taxonomy,
            model=model,
            guide=guide,
            prices=prices or PRICES.get(model),
            write_temperature=write_temperature,
            label_temperature=label_temperature,
        )
        self._chat = Chat(model, api_key, base_url, timeout)

    async def ask(self, request: Request) -> Answer:
        """One call to the model; see `ChatTeacher.ask`."""
        return await self._chat(request)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await self._chat.close()
