"""Benchmarks as files: scenarios in JSON or JSON lines, ours and the published form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from memory_routing.conversation import Conversation
from memory_routing.dataset import LabelsRecord, label_set
from memory_routing.errors import BadLine, DatasetError, MemoryRoutingError
from memory_routing.example import Scenario
from memory_routing.files import parse_json, read_bytes, read_json_lines
from memory_routing.labels import LabelSet
from memory_routing.taxonomy import Taxonomy
from memory_routing.wire import strict_converter, structure

__all__ = ["read_scenarios"]


@attrs.frozen
class _Record:
    """One scenario. Labels stand in one of four places; `accepted` lists several label sets."""

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
_SHOWN: Final = 5
"""Mistakes that an error message spells out; the exception holds all."""


def read_scenarios(path: str | Path, taxonomy: Taxonomy) -> tuple[Scenario, ...]:
    """Read a benchmark: a JSON list, an object with `scenarios`, or JSON lines (`.gz` too).

    A scenario has a `conversation` (transcript or turns) and its labels in `labels.categories`, `categories`,
    `expected` or `expected_categories`; where several sets are right, `accepted` lists them. It may have an id of its
    own (else its conversation's hash), `difficulty` and `domain` (else the id up to its number, if that has a letter).
    Raises `DatasetError` that lists every mistake.
    """
    scenarios: list[Scenario] = []
    bad: list[BadLine] = []
    places: dict[str, int] = {}
    unit, rows = _rows(read_bytes(path), path)
    for number, row in rows:
        if isinstance(row, BadLine):
            bad.append(row)
            continue
        try:
            scenario = _scenario(structure(_CONVERTER, row, _Record), taxonomy)
        except (MemoryRoutingError, TypeError) as error:
            bad.append(BadLine(number, str(error), _id(row)))
            continue
        first = places.setdefault(scenario.id, number)
        if first != number:
            what = "id" if _id(row) else "conversation, and no id,"
            bad.append(BadLine(number, f"the same {what} as {unit} {first}; give each an id of its own", _id(row)))
        scenarios.append(scenario)
    if bad:
        listed = "".join(f"\n  {str(line).replace('line', unit, 1)}" for line in bad[:_SHOWN])
        more = f"\n  and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise DatasetError(f"{path}: {len(bad)} scenarios cannot be read:{listed}{more}", bad)
    if not scenarios:
        raise DatasetError(f"{path}: no scenarios in it")
    return tuple(scenarios)


def _rows(data: bytes, path: str | Path) -> tuple[str, list[tuple[int, Any | BadLine]]]:
    """What a row is called, and the rows with their numbers."""
    lines = data.splitlines()
    try:
        whole = parse_json(data)
    except ValueError as error:
        rows = list(read_json_lines(lines))
        # JSON lines begin with a line that is an object; of a broken document the error of the whole tells more.
        if not rows or isinstance(rows[0][1], Mapping):
            return "line", rows
        raise DatasetError(f"{path}: {error}") from None
    if isinstance(whole, Mapping):
        whole = whole.get("scenarios", [whole])
    if not isinstance(whole, list):
        raise DatasetError(f"{path}: expected a list of scenarios, an object with 'scenarios', or JSON lines")
    return "scenario", list(enumerate(whole, start=1))


def _id(row: Any) -> str | None:
    name = (row.get("scenario_id") or row.get("id")) if isinstance(row, Mapping) else None
    return name if isinstance(name, str) else None


def _label_sets(record: _Record, taxonomy: Taxonomy) -> tuple[LabelSet, ...]:
    """The accepted sets, the usual one first."""
    places = (record.categories, record.expected, record.expected_categories)
    given = [label_set(taxonomy, names) for names in places if names is not None]
    given += [label_set(taxonomy, record.labels.categories)] if record.labels is not None else []
    accepted = [label_set(taxonomy, names) for names in record.accepted or ()]
    if not given and not accepted:
        raise DatasetError("no labels: give 'labels.categories', 'expected' or 'accepted'")
    if len(set(given)) > 1:
        raise DatasetError("labels stand in several places and differ; list what is right in 'accepted'")
    if given and accepted and given[0] not in accepted:
        raise DatasetError(f"the labels, {given[0]}, are not among those that 'accepted' lists")
    return tuple(dict.fromkeys([*given, *accepted]))


def _scenario(record: _Record, taxonomy: Taxonomy) -> Scenario:
    identity = record.scenario_id or record.id
    series = re.fullmatch(r"(.*?[^\W\d_].*?)[-_ ]?\d+", identity)
    conversation = Conversation.of(record.conversation)
    return Scenario(
        conversation=conversation,
        accepted=_label_sets(record, taxonomy),
        id=identity or conversation.hash,
        evidence=record.labels.evidence if record.labels is not None else None,
        difficulty=record.difficulty or _text(record.metadata, "difficulty"),
        domain=record.domain or _text(record.metadata, "domain") or (series[1] if series else None),
        group=_text(record.metadata, "group", numbers=True),
    )


def _text(metadata: Mapping[str, Any], key: str, *, numbers: bool = False) -> str | None:
    value = metadata.get(key)
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None
