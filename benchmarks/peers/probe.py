"""A frozen encoder, the one that the embedded router is fine-tuned from, with logistic regression on its embeddings."""

from __future__ import annotations

import os
from typing import Any

from protocol import Fitted, Rows, choose, main
from regression import heads
from sentence_transformers import SentenceTransformer


def fit(train: Rows, validation: Rows, names: list[str]) -> Fitted:
    encoder = SentenceTransformer(os.environ["PEER_ENCODER"], device="cpu")
    seen = encoder.encode(validation.texts, batch_size=64)

    def features(texts: list[str]) -> Any:
        # The validation data are asked for with every setting.
        return seen if texts is validation.texts else encoder.encode(texts, batch_size=32)

    return choose(heads(encoder.encode(train.texts, batch_size=64), train, names, features), validation, names)


if __name__ == "__main__":
    main(fit)
