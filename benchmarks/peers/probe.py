"""A frozen encoder, the one that the embedded router is fine-tuned from, with logistic regression on its embeddings."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from protocol import Predict, Rows, best_threshold, main, over
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier


def fit(train: Rows, validation: Rows, names: list[str]) -> tuple[Predict, dict[str, Any]]:
    encoder = SentenceTransformer(os.environ["PEER_ENCODER"], device="cpu")
    head = OneVsRestClassifier(LogisticRegression(C=10, class_weight="balanced", max_iter=1000))
    head.fit(encoder.encode(train.texts, batch_size=64), np.array(train.matrix(names)))

    def probabilities(texts: list[str]) -> Any:
        return head.predict_proba(encoder.encode(texts, batch_size=32))

    threshold = best_threshold(probabilities(validation.texts), validation, names)
    return lambda texts: over(threshold, probabilities(list(texts)), names), {"threshold": threshold}


if __name__ == "__main__":
    main(fit)
