"""fastText: a bag of words, word pairs and character sequences, one label against the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fasttext
from protocol import NONE, Fitted, Rows, Tried, choose, main

EPOCHS = (10, 25, 50)


def fit(train: Rows, validation: Rows, names: list[str]) -> Fitted:
    return choose(models(train, names), validation, names)


def models(train: Rows, names: list[str]) -> Iterator[Tried]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        # A line without a label is not learned from, so none is a label of its own, whose score is not used.
        lines = zip(train.texts, train.labels, strict=True)
        written = [" ".join([*(f"__label__{name}" for name in labels or [NONE]), flat(text)]) for text, labels in lines]
        file.write_text("\n".join(written) + "\n", encoding="utf-8")
        for epochs in EPOCHS:
            model = fasttext.train_supervised(
                str(file),
                loss="ova",
                lr=0.5,
                epoch=epochs,
                wordNgrams=2,
                minn=2,
                maxn=5,
                bucket=200_000,
                thread=1,
                verbose=0,
            )

            def probabilities(texts: list[str], model: Any = model) -> Any:
                rows = []
                for text in texts:
                    found, scores = model.predict(flat(text), k=-1)
                    known = {label.removeprefix("__label__"): p for label, p in zip(found, scores, strict=True)}
                    rows.append([float(known.get(name, 0.0)) for name in names])
                return rows

            yield probabilities, {"epochs": epochs}


def flat(text: str) -> str:
    return text.replace("\n", " ").lower()


if __name__ == "__main__":
    main(fit)
