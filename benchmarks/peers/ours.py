"""The shipped embedded router, by the same protocol; it is trained already."""

from __future__ import annotations

from typing import Any

from protocol import Predict, Rows, main

from memory_routing.embedded import EmbeddedRouter


def fit(train: Rows, validation: Rows, names: list[str]) -> tuple[Predict, dict[str, Any]]:
    router = EmbeddedRouter(workers=1)
    return lambda texts: [list(found.categories) for found in router.classify_batch(list(texts))], {}


if __name__ == "__main__":
    main(fit)
