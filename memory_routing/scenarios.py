"""Benchmarks as files: scenarios in JSON or JSON lines, ours and the published form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from memory_routing.conversation import Conversation
from memory_routing.dataset import LabelsRecord, label_set
from memory_routing.errors import BadLine, DatasetError, MemoryRoutingError
from memory_routing.example import Scenario
from memory_routing.files import read_bytes, read_json_lines
from memory_routing.taxonomy import Taxonomy
from memory_routing.wire import strict_converter, structure

__all__ = ["read_scenarios"]


@attrs.frozen
class _Record:
    """One scenario. Labels stand in one of five places; `accepted` lists several label sets."""

    conversation: Any
    id: str = ""
    scenario_id: str = ""
    labels: LabelsRecord | None = None
    categories: list[str] | None = None
    expected: list[str] | None = None
    expected_categories: list[str] | None = None
    accepted: list[list[str]] | None = None
    difficulty: str | None = None
    domain: str | None = None
    metadata: dict[str, Any] = attrs.field(factory=dict)


_CONVERTER = strict_converter(forbid_extra_keys=False)


def read_scenarios(path: str | Path, taxonomy: Taxonomy) -> tuple[Scenario, ...]:
    """Read a benchmark: a JSON list, an object with `scenarios`, or JSON lines (`.gz` too).

    A scenario has a `conversation` (transcript or turns), its labels in `labels.categories`, `categories`,
    `expected`, `expected_categories` or, where several sets are right, `accepted`; and may have an id,
    `difficulty` and `domain` (else the id up to its number). Raises `DatasetError` that lists every mistake.
    """
    scenarios: list[Scenario] = []
    bad: list[BadLine] = []
    for number, row in _rows(read_bytes(path), path):
        if isinstance(row, BadLine):
            bad.append(row)
            continue
        try:
            scenarios.append(_scenario(structure(_CONVERTER, row, _Record), taxonomy))
        except (MemoryRoutingError, TypeError) as error:
            bad.append(BadLine(number, str(error)))
    if bad:
        listed = "".join(f"\n  {line}" for line in bad[:5])
        raise DatasetError(f"{path}: {len(bad)} scenarios cannot be read:{listed}", bad)
    if not scenarios:
        raise DatasetError(f"{path}: no scenarios in it")
    return tuple(scenarios)


def _rows(data: bytes, path: str | Path) -> list[tuple[int, Any | BadLine]]:
    try:
        whole = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return list(read_json_lines(data))
    if isinstance(whole, Mapping):
        whole = whole.get("scenarios", [whole])
    if not isinstance(whole, list):
        raise DatasetError(f"{path}: expected a list of scenarios, an object with 'scenarios', or JSON lines")
    return list(enumerate(whole, start=1))


def _scenario(record: _Record, taxonomy: Taxonomy) -> Scenario:
    identity = record.scenario_id or record.id
    given = [names for names in (record.categories, record.expected, record.expected_categories) if names is not None]
    given += [record.labels.categories] if record.labels is not None else []
    given += record.accepted or []
    if not given:
        raise DatasetError("no labels: give 'labels.categories', 'expected' or 'accepted'")
    series = re.fullmatch(r"(.+?)[-_ ]?\d+", identity)
    return Scenario(
        conversation=Conversation.of(record.conversation),
        accepted=tuple(label_set(taxonomy, names) for names in given),
        id=identity,
        evidence=record.labels.evidence if record.labels is not None else None,
        difficulty=record.difficulty or _text(record.metadata, "difficulty"),
        domain=record.domain or _text(record.metadata, "domain") or (series[1] if series else None),
    )


def _text(metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    return value if isinstance(value, str) else None
