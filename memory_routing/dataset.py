"""Datasets: labelled conversations as JSON lines, with splits that keep contrast groups together."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, overload

import attrs

from memory_routing.conversation import Conversation
from memory_routing.errors import BadLine, DatasetError, MemoryRoutingError
from memory_routing.example import Annotation, Example
from memory_routing.files import read_bytes, read_json_lines, write_json_lines
from memory_routing.labels import LabelSet, Malformed
from memory_routing.taxonomy import NONE, Taxonomy
from memory_routing.wire import strict_converter, structure

__all__ = ["Dataset", "LabelsRecord", "Scan", "label_set"]

_SHOWN: Final = 5
"""Bad lines that an error message spells out; the exception holds all."""


@attrs.frozen
class LabelsRecord:
    """The `labels` of a line in the published schema."""

    categories: list[str]
    evidence: dict[str, list[int]] | None = None


@attrs.frozen
class _Record:
    """A line of the published schema; keys beyond these are let be."""

    conversation: Any
    labels: LabelsRecord
    scenario_id: str = ""
    metadata: dict[str, Any] = attrs.field(factory=dict)


_CONVERTER = strict_converter(forbid_extra_keys=False)


def label_set(taxonomy: Taxonomy, categories: Sequence[str]) -> LabelSet:
    """The label set of a list of names in the wire form, `["none"]` for none. Raises `DatasetError`."""
    labels = taxonomy.read(", ".join(categories))
    if isinstance(labels, Malformed):
        raise DatasetError(f"categories: {labels.reason} (taxonomy {taxonomy.name} {taxonomy.version})")
    return labels


def _example(row: Any, taxonomy: Taxonomy) -> Example:
    record = structure(_CONVERTER, row, _Record)
    annotation = Annotation(label_set(taxonomy, record.labels.categories), record.labels.evidence)
    return Example(Conversation.of(record.conversation), annotation, record.scenario_id, record.metadata)


def _row(example: Example) -> dict[str, Any]:
    labels: dict[str, Any] = {"categories": list(example.labels) or [NONE]}
    if example.annotation.evidence is not None:
        labels["evidence"] = {name: list(turns) for name, turns in example.annotation.evidence.items()}
    labels["memory_scope"] = example.labels.scope
    return {
        "scenario_id": example.id,
        "conversation": example.conversation.to_dicts(),
        "labels": labels,
        "metadata": dict(example.metadata),
    }


@attrs.frozen
class Scan:
    """What a file holds: the examples that could be read, and every line that could not."""

    dataset: Dataset
    bad_lines: tuple[BadLine, ...]


def _examples(value: Iterable[Example]) -> tuple[Example, ...]:
    return tuple(value)


def _count(value: Sequence[object]) -> str:
    return str(len(value))


@attrs.frozen
class Dataset(Sequence[Example]):
    """Examples of one taxonomy, in order. Raises `DatasetError` where one has labels of another."""

    taxonomy: Taxonomy = attrs.field(repr=lambda taxonomy: f"{taxonomy.name} {taxonomy.version}")
    examples: tuple[Example, ...] = attrs.field(converter=_examples, repr=_count)

    def __attrs_post_init__(self) -> None:
        for i, example in enumerate(self.examples):
            if example.labels.taxonomy != self.taxonomy:
                raise DatasetError(f"example {i} ({example.id}): its labels are of another taxonomy")

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Example | Dataset:
        if isinstance(index, slice):
            return Dataset(self.taxonomy, self.examples[index])
        return self.examples[index]

    def __add__(self, other: Dataset) -> Dataset:
        return Dataset(self.taxonomy, (*self.examples, *other.examples))

    @property
    def hash(self) -> str:
        """SHA-256 over conversations, labels and evidence; the order of the examples does not matter."""
        keys = sorted(
            json.dumps([e.hash, e.labels.names, dict(e.annotation.evidence or {})], sort_keys=True) for e in self
        )
        return hashlib.sha256("\n".join([self.taxonomy.hash, *keys]).encode()).hexdigest()

    @classmethod
    def scan(cls, path: str | Path, taxonomy: Taxonomy) -> Scan:
        """Read JSON lines (`.gz` too) and collect every bad line with its number and reason."""
        examples: list[Example] = []
        bad: list[BadLine] = []
        for number, row in read_json_lines(read_bytes(path).splitlines()):
            if isinstance(row, BadLine):
                bad.append(row)
                continue
            try:
                examples.append(_example(row, taxonomy))
            except (MemoryRoutingError, TypeError) as error:
                bad.append(BadLine(number, str(error), _id(row)))
        return Scan(cls(taxonomy, tuple(examples)), tuple(bad))

    @classmethod
    def read(cls, path: str | Path, taxonomy: Taxonomy) -> Dataset:
        """Read JSON lines (`.gz` too). Raises `DatasetError` that lists every bad line."""
        scan = cls.scan(path, taxonomy)
        if scan.bad_lines:
            shown = "".join(f"\n  {line}" for line in scan.bad_lines[:_SHOWN])
            more = f"\n  and {len(scan.bad_lines) - _SHOWN} more" if len(scan.bad_lines) > _SHOWN else ""
            raise DatasetError(
                f"{path}: {len(scan.bad_lines)} bad lines; mend them, or read the rest with Dataset.scan:{shown}{more}",
                scan.bad_lines,
            )
        return scan.dataset

    def write(self, path: str | Path) -> None:
        """Write JSON lines in the published schema (`.gz` too), whole or not at all."""
        write_json_lines(path, map(_row, self))

    def split(
        self,
        fraction: float,
        *,
        group: Callable[[Example], str] = lambda example: example.group,
        stratum: Callable[[Example], str] = lambda example: "",
        seed: int = 0,
    ) -> tuple[Dataset, Dataset]:
        """Two parts, the second with this fraction of each stratum or, where groups do not fit, less.

        A group is never divided; it counts in the stratum of its first example. Which groups go where
        depends on their names and the seed, not on the order of the examples within a stratum.
        Raises `ValueError` for a fraction outside (0, 1).
        """
        if not 0 < fraction < 1:
            raise ValueError(f"fraction must lie between 0 and 1, not {fraction}")
        groups: dict[str, list[Example]] = defaultdict(list)
        for example in self:
            groups[group(example)].append(example)
        strata: dict[str, list[str]] = defaultdict(list)
        for name, members in groups.items():
            strata[stratum(members[0])].append(name)
        second: set[str] = set()
        for names in strata.values():
            room = round(fraction * sum(len(groups[name]) for name in names))
            for name in sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()):
                if len(groups[name]) <= room:
                    second.add(name)
                    room -= len(groups[name])
        parts: tuple[list[Example], list[Example]] = ([], [])
        for example in self:
            parts[group(example) in second].append(example)
        return Dataset(self.taxonomy, tuple(parts[0])), Dataset(self.taxonomy, tuple(parts[1]))


def _id(row: Any) -> str | None:
    name = row.get("scenario_id") if isinstance(row, Mapping) else None
    return name if isinstance(name, str) else None
