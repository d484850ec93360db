"""Immutable values: a mapping that cannot be changed, and the way from a value to plain data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import attrs

__all__ = ["FrozenMapping", "plain", "value_hash", "without_nan"]

K = TypeVar("K")
V = TypeVar("V")


class FrozenMapping(Mapping[K, V]):
    """Read-only like `types.MappingProxyType`, and, unlike it, open to `pickle` and `copy.deepcopy`.

    Equal to every mapping with the same items.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


def plain(value: Any) -> Any:
    """What `json` writes, of attrs values, mappings and sequences in each other."""
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def value_hash(value: Any) -> str:
    """SHA-256 of what `json` writes of a value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def without_nan(value: Any) -> Any:
    """Plain data with `None` for what is not a number, which JSON cannot write."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
