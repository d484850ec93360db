"""What every peer does in its own environment: train, predict, and tell its time and memory.

A peer is a script that calls `main` with a function from training data to a function that labels texts. It is run as
`python PEER.py DATA OUT`: DATA has `train.jsonl`, `validation.jsonl` and `scenarios.jsonl` with `id`, `text` and
`labels` (none is the empty list) and `names.json` with the categories in order; OUT gets `predictions.jsonl` and
`measured.json`. Nothing here needs more than the standard library.

Memory is measured twice, in the same process: at most until trained, and at most while predicting. For the second
count what training freed is given back first; what a peer still holds of it stays in.
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NONE = "none"
Predict = Callable[[Sequence[str]], list[list[str]]]


@dataclass(frozen=True)
class Rows:
    """Texts with the labels of each."""

    texts: list[str]
    labels: list[list[str]]

    @classmethod
    def read(cls, path: Path) -> Rows:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return cls([row["text"] for row in rows], [row["labels"] for row in rows])

    def matrix(self, names: Sequence[str]) -> list[list[int]]:
        return [[int(name in labels) for name in names] for labels in self.labels]


Fitted = tuple[Predict, dict[str, Any]]
Fit = Callable[[Rows, Rows, list[str]], Fitted]
Tried = tuple[Callable[[list[str]], Any], dict[str, Any]]
"""A function from texts to a row of scores for each, and the settings that it was made with."""


def choose(tried: Iterable[Tried], validation: Rows, names: Sequence[str]) -> Fitted:
    """The settings and threshold with the highest mean F1 on the validation data, the first among equals."""
    best: tuple[float, float, Tried] | None = None
    for scores, settings in tried:
        found = scores(validation.texts)
        threshold = best_threshold(found, validation, names)
        value = mean_f1(threshold, found, validation, names)
        if best is None or value > best[0]:
            best = value, threshold, (scores, settings)
    if best is None:
        raise ValueError("nothing to choose from")
    value, threshold, (chosen, settings) = best
    notes = {"chosen": {**settings, "threshold": threshold}, "validation_f1": value}
    return lambda texts: over(threshold, chosen(list(texts)), names), notes


def best_threshold(probabilities: Any, validation: Rows, names: Sequence[str]) -> float:
    """The threshold with the highest mean F1 on the validation data, the one nearest to a half among equals."""

    steps = sorted((i / 50 for i in range(1, 50)), key=lambda t: abs(t - 0.5))
    return max(steps, key=lambda threshold: mean_f1(threshold, probabilities, validation, names))


def mean_f1(threshold: float, probabilities: Any, rows: Rows, names: Sequence[str]) -> float:
    total = 0.0
    for said, gold in zip(over(threshold, probabilities, names), rows.labels, strict=True):
        total += 1.0 if not said and not gold else 2 * len({*said} & {*gold}) / (len(said) + len(gold))
    return total / len(rows.labels)


def over(threshold: float, probabilities: Any, names: Sequence[str]) -> list[list[str]]:
    return [[name for name, p in zip(names, row, strict=True) if p >= threshold] for row in probabilities]


def peak_memory() -> float:
    """Megabytes at most since `forget_peak`; not by `getrusage`, which counts what the parent had when it forked."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def forget_peak() -> None:
    """Give back what is free and count the peak anew (proc(5), `clear_refs`)."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def main(fit: Fit) -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    names = json.loads((data / "names.json").read_text(encoding="utf-8"))
    train, validation = (Rows.read(data / f"{part}.jsonl") for part in ("train", "validation"))
    scenarios = [json.loads(line) for line in (data / "scenarios.jsonl").read_text(encoding="utf-8").splitlines()]
    started = time.perf_counter()
    predict, notes = fit(train, validation, names)
    training = time.perf_counter() - started
    training_memory = peak_memory()
    del train, validation
    forget_peak()
    texts = [row["text"] for row in scenarios]
    predict(texts[:2])
    started = time.perf_counter()
    said = predict(texts)
    batch = time.perf_counter() - started
    singles = []
    for text in texts:
        started = time.perf_counter()
        predict([text])
        singles.append(time.perf_counter() - started)
    rows = ({"id": row["id"], "categories": labels or [NONE]} for row, labels in zip(scenarios, said, strict=True))
    (out / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    measured = {
        "training_s": training,
        "training_memory_mb": training_memory,
        "p50_ms": 1000 * statistics.median(singles),
        "p95_ms": 1000 * statistics.quantiles(singles, n=20)[18],
        "per_second": len(texts) / batch,
        "memory_mb": peak_memory(),
        **notes,
    }
    (out / "measured.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
