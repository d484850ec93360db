"""adaptive-classifier, its classifier for several labels, on the same encoder."""

from __future__ import annotations

import os
from typing import Any

from adaptive_classifier import MultiLabelAdaptiveClassifier
from protocol import NONE, Fitted, Rows, choose, main


def fit(train: Rows, validation: Rows, names: list[str]) -> Fitted:
    # Room for all training data; by default it keeps a thousand of a class, and must name at least one.
    config = {"max_examples_per_class": len(train.texts)}
    model = MultiLabelAdaptiveClassifier(
        os.environ["PEER_ENCODER"], device="cpu", config=config, seed=0, min_predictions=0, use_onnx=False
    )
    # A text without labels is passed over, so none is a label of its own, whose score is not used.
    model.add_examples(train.texts, [labels or [NONE] for labels in train.labels])

    def probabilities(texts: list[str]) -> Any:
        rows = []
        for text in texts:
            known = dict(model.predict_multilabel(text, threshold=0.0))
            rows.append([known[name] for name in names])
        return rows

    return choose([(probabilities, {})], validation, names)


if __name__ == "__main__":
    main(fit)
