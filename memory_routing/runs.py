"""Run folders: what a training run was told, what it measured, where its checkpoints are."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from memory_routing.errors import DatasetError, TrainingError
from memory_routing.files import parse_json, write_json_lines, write_whole

__all__ = ["CHECKPOINTS", "METRICS", "SAMPLES", "TAXONOMY", "RunFolder", "read_rows"]

CONFIG: Final = "config.json"
METRICS: Final = "metrics.jsonl"
CHECKPOINTS: Final = "checkpoints.jsonl"
SAMPLES: Final = "samples.jsonl"
TAXONOMY: Final = "taxonomy.toml"


class RunFolder:
    """A folder that holds one run: `config.json`, `metrics.jsonl`, `checkpoints.jsonl` and `samples.jsonl`.

    Opening it again with the same configuration goes on with the run. Raises `TrainingError` where it holds
    a run of another configuration.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        told = json.loads(json.dumps(config))
        before = path / CONFIG
        if before.exists():
            try:
                found = parse_json(before.read_bytes())
            except ValueError as error:
                raise TrainingError(f"{before}: damaged ({error}); delete the run folder and start again") from None
            differing = sorted(key for key in {*told, *found} if told.get(key) != found.get(key))
            if differing:
                raise TrainingError(
                    f"{path} holds a run with another {', '.join(differing)}: name another folder, or delete this one"
                )
        else:
            write_whole(before, (json.dumps(told, indent=1) + "\n").encode())

    def log(self, **row: Any) -> None:
        """Append a row to the metrics as it happens."""
        self._append(METRICS, row)

    def record_checkpoint(self, **row: Any) -> None:
        """Append a row to the registry of checkpoints."""
        self._append(CHECKPOINTS, row)

    def record_samples(self, **row: Any) -> None:
        """Append a row to the rollouts that are kept to look at."""
        self._append(SAMPLES, row)

    def keep(self, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
        """Drop the rows of steps that a killed run did after its last state and that will be done again."""
        for name in (METRICS, CHECKPOINTS, SAMPLES):
            if (self.path / name).exists():
                write_json_lines(self.path / name, [row for row in self.rows(name) if wanted(row)])

    def rows(self, name: str = METRICS) -> list[dict[str, Any]]:
        """The rows of a file; a last line that a kill cut short is left out."""
        return read_rows(self.path, name)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_rows(
    folder: Path, name: str = METRICS, damaged: Callable[[str], object] | None = None
) -> list[dict[str, Any]]:
    """The rows of a file of a run folder, with `nan` and infinity; a last line that a kill cut short is left out.

    Raises `DatasetError` that names any other damaged line, or tells `damaged` and goes on.
    """
    path = folder / name
    lines = path.read_bytes().splitlines() if path.exists() else []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            # Not as other files of ours are read: a run that went wrong has measured NaN.
            row = json.loads(line.decode(), parse_int=_integer)
        except (ValueError, RecursionError):
            if number == len(lines):
                break
            row = None
        if isinstance(row, dict):
            rows.append(row)
            continue
        problem = f"{path}: line {number}: damaged, expected a JSON object; delete the line"
        if damaged is None:
            raise DatasetError(problem)
        damaged(problem)
    return rows


def _integer(digits: str) -> float:
    """An integer, but infinity where it is too long for arithmetic with other numbers."""
    number = float(digits)
    return int(digits) if math.isfinite(number) else number
