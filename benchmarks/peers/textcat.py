"""spaCy's `textcat_multilabel`, an ensemble of a bag of words and a convolutional network, trained from nothing."""

from __future__ import annotations

import random
from typing import Any

import spacy
from protocol import Fitted, Rows, choose, main
from spacy.training import Example

EPOCHS = 8
BATCH = 64


def fit(train: Rows, validation: Rows, names: list[str]) -> Fitted:
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    part = nlp.add_pipe("textcat_multilabel")
    for name in names:
        part.add_label(name)
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": {name: float(name in labels) for name in names}})
        for text, labels in zip(train.texts, train.labels, strict=True)
    ]
    optimiser = nlp.initialize(lambda: examples[:500])
    order = random.Random(0)
    for _ in range(EPOCHS):
        order.shuffle(examples)
        for start in range(0, len(examples), BATCH):
            nlp.update(examples[start : start + BATCH], sgd=optimiser, drop=0.2)

    def probabilities(texts: list[str]) -> Any:
        return [[doc.cats[name] for name in names] for doc in nlp.pipe(texts)]

    predict, notes = choose([(probabilities, {})], validation, names)
    return predict, {**notes, "note": f"{EPOCHS} epochs"}


if __name__ == "__main__":
    main(fit)
