"""Pools: what a plan draws people, situations and look-alikes from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import attrs

from memory_routing.errors import GenerationError
from memory_routing.marketing import MARKETING, POOLS
from memory_routing.taxonomy import Taxonomy
from memory_routing.wire import strict_converter, structure

__all__ = ["Pools"]

SUBJECT: Final = "{subject}"
"""Stands in a look-alike for the description of a category."""


def _distinct(_: Pools, attribute: attrs.Attribute[Any], values: Sequence[object]) -> None:
    if not values:
        raise GenerationError(f"pools: {attribute.name} is empty")
    if len({str(value) for value in values}) < len(values):
        raise GenerationError(f"pools: {attribute.name} names something twice")


def _names_subject(_: Pools, attribute: attrs.Attribute[Any], values: Sequence[str]) -> None:
    for value in values:
        if SUBJECT not in value:
            raise GenerationError(f"pools: {attribute.name}: {value!r} lacks {SUBJECT}")


@attrs.frozen
class Pools:
    """What briefs are made of. Raises `GenerationError` for an empty pool, a repeat or a pair that is none."""

    industries: tuple[str, ...] = attrs.field(validator=_distinct)
    roles: tuple[str, ...] = attrs.field(validator=_distinct)
    situations: tuple[str, ...] = attrs.field(validator=_distinct)
    tones: tuple[str, ...] = attrs.field(validator=_distinct)
    openings: tuple[str, ...] = attrs.field(validator=_distinct)
    """How a conversation that is already under way begins."""
    lookalikes: tuple[str, ...] = attrs.field(validator=[_distinct, _names_subject])
    """Ways to touch a `{subject}` and state nothing of it."""
    exchanges: tuple[str, ...] = attrs.field(validator=[_distinct, _names_subject])
    """More such ways, which take an exchange of several messages."""
    errands: tuple[str, ...] = attrs.field(validator=_distinct)
    """Conversations in which nothing is worth remembering."""
    pairs: tuple[tuple[str, ...], ...] = attrs.field(factory=tuple)
    """Categories that go together naturally or are easily confused; left out, every two of the taxonomy."""

    @classmethod
    def load(cls, path: str | Path | None, taxonomy: Taxonomy) -> Pools:
        """The pools of a TOML file, with the general ones for what it leaves out.

        Without a file, those of the marketing taxonomy for it, the general ones for others. Raises
        `GenerationError` that names the file.
        """
        if path is None and taxonomy == MARKETING:
            path = POOLS
        general = files(__package__).joinpath("pools.toml").read_text(encoding="utf-8")
        try:
            given = {} if path is None else tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
            pools = structure(strict_converter(), {**tomllib.loads(general), **given}, cls)
            return pools._checked(taxonomy)
        except ValueError as error:
            raise GenerationError(f"{path}: {error}") from None

    def _checked(self, taxonomy: Taxonomy) -> Pools:
        for pair in self.pairs:
            if len(set(pair)) != 2:
                raise GenerationError(f"pools: a pair is two categories, not {', '.join(pair) or 'none'}")
            taxonomy.labels(*pair)
        return self if self.pairs else attrs.evolve(self, pairs=tuple(combinations(taxonomy.names, 2)))

    def to_dict(self) -> Mapping[str, Any]:
        """Plain data for JSON."""
        return attrs.asdict(self)
