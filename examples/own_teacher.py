"""A teacher of one's own: a model behind OpenAI's chat protocol, as many servers speak it, writes and labels.

OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=… python own_teacher.py MODEL OUT
"""

import os
import sys
from pathlib import Path
from typing import Any

import attrs
import httpx

from memory_routing import Taxonomy
from memory_routing.decision import Usage
from memory_routing.errors import TeacherError
from memory_routing.generation import Answer, ChatTeacher, Pools, Request, generate_dataset, plan

HERE = Path(__file__).parent


class OpenAITeacher(ChatTeacher):
    """One method: a request in, an answer out. Prompts, retries, limits and the cache come with the class."""

    def __init__(self, taxonomy: Taxonomy, *, model: str, base_url: str, api_key: str) -> None:
        super().__init__(taxonomy, model=model)
        self._settings: dict[str, Any] = {
            "base_url": base_url,
            "headers": {"Authorization": f"Bearer {api_key}"},
            "timeout": 120.0,
        }
        self._client: httpx.AsyncClient | None = None

    async def ask(self, request: Request) -> Answer:
        """One call, without retries."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [attrs.asdict(message) for message in request.messages],
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.schema}},
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
        }
        self._client = self._client or httpx.AsyncClient(**self._settings)
        try:
            response = await self._client.post("/chat/completions", json=body)
        except httpx.RequestError as error:
            raise TeacherError(f"no answer: {error}", passing=True) from None
        status = response.status_code
        if status != httpx.codes.OK:
            after = response.headers.get("retry-after", "")
            raise TeacherError(
                f"HTTP {status}: {response.text[:200]}",
                passing=status in (408, 409) or status >= 500,
                limited=status == 429,
                fatal=status in (401, 403, 404),
                after=float(after) if after.isdigit() else None,
            )
        try:
            found = response.json()
            choice, used = found["choices"][0], found["usage"]
            return Answer(
                choice["message"]["content"],
                Usage(used["prompt_tokens"], used["completion_tokens"]),
                complete=choice["finish_reason"] == "stop",
            )
        except (KeyError, IndexError, TypeError, ValueError):
            raise TeacherError(f"an answer of another shape: {response.text[:200]}", passing=True) from None

    async def close(self) -> None:
        """Let go of the connections; the next call opens new ones."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def main(model: str, out: str) -> None:
    support = Taxonomy.load(HERE / "support_taxonomy.toml")
    teacher = OpenAITeacher(
        support,
        model=model,
        base_url=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
    )
    briefs = plan(support, 60, pools=Pools.load(HERE / "support_pools.toml", support))
    made = generate_dataset(teacher, briefs, out)
    print(made.report.to_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
