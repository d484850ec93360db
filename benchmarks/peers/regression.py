"""Logistic regression, one label against the rest, with the settings that are tried."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from protocol import Rows, Tried
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

SETTINGS = tuple(itertools.product((1, 10, 100), (None, "balanced")))
"""Inverse strength of the penalty (C), and weight of a class."""


def heads(
    train: Any, rows: Rows, names: list[str], features: Callable[[list[str]], Any], settings: Any = SETTINGS
) -> Iterator[Tried]:
    """A model for every setting, fitted to the training rows' features; `features` makes those of other texts."""
    gold = np.array(rows.matrix(names))
    for strength, weight in settings:
        model = OneVsRestClassifier(LogisticRegression(C=strength, class_weight=weight, max_iter=1000))
        model.fit(train, gold)

        def probabilities(texts: list[str], model: Any = model) -> Any:
            return model.predict_proba(features(texts))

        yield probabilities, {"C": strength, "class weight": weight or "none"}
