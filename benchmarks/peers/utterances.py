"""semantic-router: the training conversations as utterances of a route per category, on the same encoder.

How many of the nearest utterances vote, and how, is chosen on the validation data with the threshold.
"""

from __future__ import annotations

import itertools
import os
from functools import partial

from protocol import NONE, Fitted, Rows, choose, main
from semantic_router import Route
from semantic_router.encoders import HuggingFaceEncoder
from semantic_router.routers import IndexedRouter

NEIGHBOURS = (5, 20, 50)
VOTES = ("mean", "max", "sum")


def fit(train: Rows, validation: Rows, names: list[str]) -> Fitted:
    encoder = HuggingFaceEncoder(name=os.environ["PEER_ENCODER"], device="cpu")
    # What stores nothing needs a route as well: it keeps the nearest places from the others.
    routes = [
        Route(name=name, utterances=[t for t, labels in zip(train.texts, train.labels, strict=True) if name in labels])
        for name in names
    ]
    nothing = [text for text, labels in zip(train.texts, train.labels, strict=True) if not labels]
    index = IndexedRouter(encoder, [*routes, Route(name=NONE, utterances=nothing)]).index

    def scores(router: IndexedRouter, texts: list[str]) -> list[list[float]]:
        rows = []
        for text in texts:
            known = {choice.name: choice.confidence for choice in router(text, limit=None, threshold=-1.0)}
            # A sum of votes has no bound: what counts is a route's share of them.
            whole = sum(known.values()) if router.aggregate is sum else 1.0
            rows.append([known[name] / whole for name in names])
        return rows

    routers = (
        (IndexedRouter(encoder, index=index, top_k=count, aggregation=vote), f"{vote} of {count}")
        for count, vote in itertools.product(NEIGHBOURS, VOTES)
    )
    return choose(((partial(scores, router), {"votes": how}) for router, how in routers), validation, names)


if __name__ == "__main__":
    main(fit)
