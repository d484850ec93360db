"""SetFit: contrastive fine-tuning of the same encoder, then logistic regression, one label against the rest.

Its steps are capped, because pairs of all examples would take days on two cores; the cap is in the results.
"""

from __future__ import annotations

import os
from typing import Any

from datasets import Dataset
from protocol import Fitted, Rows, choose, main
from setfit import SetFitModel, Trainer, TrainingArguments

STEPS = 150


def fit(train: Rows, validation: Rows, names: list[str]) -> Fitted:
    model = SetFitModel.from_pretrained(
        os.environ["PEER_ENCODER"], multi_target_strategy="one-vs-rest", labels=names, device="cpu"
    )
    arguments = TrainingArguments(
        batch_size=16, max_steps=STEPS, num_epochs=1, report_to="none", save_strategy="no", seed=0
    )
    data = Dataset.from_dict({"text": train.texts, "label": train.matrix(names)})
    Trainer(model=model, args=arguments, train_dataset=data).train()

    def probabilities(texts: list[str]) -> Any:
        return model.predict_proba(texts, as_numpy=True)

    predict, notes = choose([(probabilities, {})], validation, names)
    return predict, {**notes, "note": f"{STEPS} steps"}


if __name__ == "__main__":
    main(fit)
