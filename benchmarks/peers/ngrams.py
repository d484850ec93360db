"""TF-IDF of words, word pairs and character sequences, with logistic regression.

Twice, to show what hangs on it: with settings that the validation data choose, and with fixed ones.
"""

from __future__ import annotations

import os

from protocol import Fitted, Rows, choose, main
from regression import SETTINGS, heads
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union


def fit(train: Rows, validation: Rows, names: list[str]) -> Fitted:
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=3),
    )
    settings = ((10, "balanced"),) if os.environ["PEER"].endswith("fixed settings") else SETTINGS
    seen = features.fit_transform(train.texts)
    return choose(heads(seen, train, names, features.transform, settings), validation, names)


if __name__ == "__main__":
    main(fit)
