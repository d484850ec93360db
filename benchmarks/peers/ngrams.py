"""TF-IDF of words, word pairs and character sequences, with logistic regression, one label against the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import Predict, Rows, best_threshold, main, over
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline, make_union


def fit(train: Rows, validation: Rows, names: list[str]) -> tuple[Predict, dict[str, Any]]:
    model = make_pipeline(
        make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=3),
        ),
        OneVsRestClassifier(LogisticRegression(C=10, class_weight="balanced", max_iter=1000)),
    )
    model.fit(train.texts, np.array(train.matrix(names)))
    threshold = best_threshold(model.predict_proba(validation.texts), validation, names)
    return lambda texts: over(threshold, model.predict_proba(list(texts)), names), {"threshold": threshold}


if __name__ == "__main__":
    main(fit)
