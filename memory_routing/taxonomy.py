"""What can be remembered: horizons, categories, and the taxonomy that orders them."""

from __future__ import annotations

import hashlib
import json
import re
import string
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import attrs
from cattrs.gen import make_dict_structure_fn, override

from memory_routing.errors import TaxonomyError
from memory_routing.labels import LabelSet, Malformed
from memory_routing.wire import strict_converter, structure

__all__ = ["Category", "Horizon", "Taxonomy", "TaxonomyDiff"]

NONE: Final = "none"
"""How the empty label set is written. Never a category."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)+")
_BULLET = re.compile(r"^(?:[-*•–]\s+|[-*•–](?=\w))")
_RESERVED_SCOPES: Final = ("none", "mixed")
"""What `LabelSet.scope` says of no label, and of labels with several scopes."""
_LONGEST: Final = timedelta(days=36_500)
_QUOTES = "\"'`“”‘’"


class Horizon(Enum):
    """How long a memory matters."""

    SHORT = "short"
    MEDIUM = "medium"
    ROLLING = "rolling"
    EVOLVING = "evolving"
    LONG = "long"

    @property
    def rank(self) -> int:
        """0 (short), 1 (medium, rolling, evolving) or 2 (long): what the reward compares."""
        return {Horizon.SHORT: 0, Horizon.LONG: 2}.get(self, 1)

    @property
    def lifetime(self) -> timedelta | None:
        """How long a memory lives; `None` where it has no end."""
        days = {Horizon.SHORT: 90, Horizon.MEDIUM: 180, Horizon.ROLLING: 180}.get(self)
        return None if days is None else timedelta(days=days)

    @property
    def review_after(self) -> timedelta | None:
        """When a memory without an end should be looked at again; `None` for the others."""
        return timedelta(days=365) if self.lifetime is None else None


@attrs.frozen
class Category:
    """One thing worth remembering.

    `lifetime`, in whole days, is the horizon's unless given. Raises `TaxonomyError` for a name that is not
    lower-case words joined by dots, for the scopes `none` and `mixed`, an empty description or another lifetime.
    """

    name: str
    description: str
    horizon: Horizon
    lifetime: timedelta | None = attrs.field(default=attrs.Factory(lambda self: self.horizon.lifetime, takes_self=True))

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TaxonomyError(
                f"category name {self.name!r}: write 'scope.name' in lower-case letters, digits, '_' and '-'"
            )
        if self.scope in _RESERVED_SCOPES:
            raise TaxonomyError(f"category {self.name}: {self.scope!r} is no scope of its own; name another")
        if not self.description.strip():
            raise TaxonomyError(f"category {self.name}: give it a description, prompts are made of it")
        if self.lifetime is None:
            return
        if not timedelta(0) < self.lifetime <= _LONGEST or self.lifetime % timedelta(days=1):
            raise TaxonomyError(
                f"category {self.name}: a lifetime is 1 to {_LONGEST.days:,} whole days, or none for no end"
            )

    @property
    def scope(self) -> str:
        """Whose memory it is: the part of the name before the first dot."""
        return self.name.partition(".")[0]


def _categories(value: Iterable[Category]) -> tuple[Category, ...]:
    return tuple(value)


@attrs.frozen
class Taxonomy:
    """An ordered set of categories. `none` is not one of them but the empty label set.

    The order is the order in which labels are written and ties are broken.
    Raises `TaxonomyError` where a name occurs twice or there is no category.
    """

    name: str
    version: str
    categories: tuple[Category, ...] = attrs.field(converter=_categories)

    def __attrs_post_init__(self) -> None:
        for label, value in (("name", self.name), ("version", self.version)):
            if not value.strip():
                raise TaxonomyError(f"taxonomy {label} is empty")
        if not self.categories:
            raise TaxonomyError(f"taxonomy {self.name}: it has no categories")
        names = [category.name for category in self.categories]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise TaxonomyError(f"taxonomy {self.name}: categories named twice: {', '.join(twice)}")

    def __len__(self) -> int:
        return len(self.categories)

    def __iter__(self) -> Iterator[Category]:
        return iter(self.categories)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __getitem__(self, name: str) -> Category:
        return self.categories[self.index(name)]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {category.name: i for i, category in enumerate(self.categories)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Category names in taxonomy order."""
        return tuple(self._index)

    def index(self, name: str) -> int:
        """0-based place of a category. Raises `TaxonomyError` for an unknown name."""
        try:
            return self._index[name]
        except KeyError:
            known = ", ".join(self.names)
            raise TaxonomyError(
                f"{name!r} is no category of taxonomy {self.name}; its categories are {known}"
            ) from None

    def labels(self, *names: str) -> LabelSet:
        """The label set of these categories; without arguments, `none`. Raises `TaxonomyError`."""
        return LabelSet(self, tuple(self.names[i] for i in sorted({self.index(name) for name in names})))

    @property
    def none(self) -> LabelSet:
        """The empty label set: nothing is worth storing."""
        return self.labels()

    def write(self, labels: LabelSet) -> str:
        """`a, b` in taxonomy order, or `none`. Raises `TaxonomyError` for labels of another taxonomy."""
        if labels.taxonomy != self:
            raise TaxonomyError(
                f"labels of taxonomy {labels.taxonomy.name} {labels.taxonomy.version} cannot be written "
                f"in {self.name} {self.version}"
            )
        return ", ".join(labels.names) or NONE

    def read(self, text: str) -> LabelSet | Malformed:
        """Read written labels; never raises.

        Forgiven: case, white space, bullets, quotes, a final full stop, line breaks for commas, repeats.
        Nothing else: an unknown label, `none` beside another, or nothing at all is `Malformed`.
        """
        lines = [line.strip() for line in text.strip().removesuffix(".").splitlines()]
        lines = [line for line in lines if line]
        items = [
            _bare(item)
            for i, line in enumerate(lines)
            for item in (line.removesuffix(",") if i < len(lines) - 1 else line).split(",")
        ]
        if not items or items == [""]:
            return Malformed(text, "empty")
        unknown = [item for item in items if item != NONE and item not in self._index]
        if unknown:
            return Malformed(text, f"unknown label {unknown[0]!r}")
        if NONE in items and any(item != NONE for item in items):
            return Malformed(text, "none beside another label")
        return self.labels(*(item for item in items if item != NONE))

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the canonical values: equal for equal taxonomies, in every process."""
        canonical = json.dumps(_plain(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @classmethod
    def from_toml(cls, text: str) -> Taxonomy:
        """Read a taxonomy; see `to_toml` for the format. Raises `TaxonomyError` naming the place."""
        try:
            return structure(_CONVERTER, tomllib.loads(text), cls)
        except tomllib.TOMLDecodeError as error:
            raise TaxonomyError(f"not valid TOML: {error}") from None
        except RecursionError:
            raise TaxonomyError("not usable: nested too deeply") from None
        except ValueError as error:
            raise TaxonomyError(str(error)) from None

    @classmethod
    def load(cls, path: str | Path) -> Taxonomy:
        """Read a taxonomy file. Raises `TaxonomyError` naming the file, or `OSError`."""
        try:
            return cls.from_toml(Path(path).read_text(encoding="utf-8-sig"))
        except (TaxonomyError, UnicodeDecodeError) as error:
            raise TaxonomyError(f"{path}: {error}") from None

    def to_toml(self) -> str:
        """`name`, `version` and a `[[category]]` table each.

        A table has name, description, horizon and, where it is not the horizon's own, `lifetime_days`
        (0: no end).
        """
        parts = [f"name = {_quote(self.name)}\nversion = {_quote(self.version)}\n"]
        for plain in _plain(self)["categories"]:
            rows = [f"{key} = {value if isinstance(value, int) else _quote(value)}" for key, value in plain.items()]
            parts.append("[[category]]\n" + "\n".join(rows) + "\n")
        return "\n".join(parts)

    def diff(self, newer: Taxonomy) -> TaxonomyDiff:
        """What changed from this version to a newer one."""
        common = [name for name in self.names if name in newer]
        return TaxonomyDiff(
            added=tuple(name for name in newer.names if name not in self),
            removed=tuple(name for name in self.names if name not in newer),
            changed={name: changes for name in common if (changes := _changes(self[name], newer[name]))},
            reordered=common != [name for name in newer.names if name in self],
        )


@attrs.frozen
class TaxonomyDiff:
    """What changed between two taxonomies: stored labels survive unless `removed` names them."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    """Category to its changes, each `field: before -> after`."""
    reordered: bool

    def __str__(self) -> str:
        lines = [f"+ {name}" for name in self.added] + [f"- {name}" for name in self.removed]
        lines += [f"~ {name} {change}" for name, changes in self.changed.items() for change in changes]
        if self.reordered:
            lines.append("~ the order of the categories, which breaks ties")
        return "\n".join(lines) or "no difference"


def _bare(item: str) -> str:
    return _BULLET.sub("", item.strip()).strip(_QUOTES + string.whitespace).casefold()


def _days(lifetime: timedelta | None) -> int:
    return 0 if lifetime is None else lifetime.days


def _plain(taxonomy: Taxonomy) -> dict[str, Any]:
    categories = [
        {"name": c.name, "description": c.description, "horizon": c.horizon.value}
        | ({"lifetime_days": _days(c.lifetime)} if c.lifetime != c.horizon.lifetime else {})
        for c in taxonomy.categories
    ]
    return {"name": taxonomy.name, "version": taxonomy.version, "categories": categories}


def _changes(before: Category, after: Category) -> tuple[str, ...]:
    pairs = [
        ("description", before.description, after.description),
        ("horizon", before.horizon.value, after.horizon.value),
        ("lifetime_days", _days(before.lifetime), _days(after.lifetime)),
    ]
    return tuple(f"{field}: {old} -> {new}" for field, old, new in pairs if old != new)


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, but for the one control character that JSON leaves bare.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _structure_days(days: object, _: object) -> timedelta | None:
    if type(days) is not int or not 0 <= days <= _LONGEST.days:
        raise TaxonomyError(f"lifetime_days is a whole number of days up to {_LONGEST.days:,}, 0 for no end")
    return timedelta(days=days) if days else None


def _structure_horizon(name: object, _: object) -> Horizon:
    try:
        return Horizon(name)
    except ValueError:
        known = ", ".join(horizon.value for horizon in Horizon)
        raise TaxonomyError(f"{name!r} is no horizon; write one of {known}") from None


_CONVERTER = strict_converter()
_CONVERTER.register_structure_hook(Horizon, _structure_horizon)
_CONVERTER.register_structure_hook(
    Category,
    make_dict_structure_fn(
        Category,
        _CONVERTER,
        _cattrs_forbid_extra_keys=True,
        lifetime=override(rename="lifetime_days", struct_hook=_structure_days),
    ),
)
_CONVERTER.register_structure_hook(
    Taxonomy,
    make_dict_structure_fn(
        Taxonomy, _CONVERTER, _cattrs_forbid_extra_keys=True, categories=override(rename="category")
    ),
)
