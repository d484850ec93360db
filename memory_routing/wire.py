"""One strict converter between plain data (TOML, JSON) and the library's values.

Strict: an unknown key is an error, a number is not taken for a text, and all mistakes of a record are
collected, each with its path (`$.category[2].horizon`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

from cattrs import Converter, transform_error
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.v import format_exception

from memory_routing.errors import MemoryRoutingError

__all__ = ["mistakes", "strict_converter", "structure"]

T = TypeVar("T")


class WireError(MemoryRoutingError, ValueError):
    """A value that does not fit, with the remedy as its text."""


def strict_converter(*, forbid_extra_keys: bool = True) -> Converter:
    """A cattrs converter that does not coerce and, unless told otherwise, refuses unknown keys."""
    converter = Converter(forbid_extra_keys=forbid_extra_keys)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _exactly)

    def structure_list(value: Any, kind: Any) -> list[Any]:
        # Left to itself, cattrs takes a text for a list of its letters.
        if not isinstance(value, list):
            raise WireError(f"expected a list, found {_kind(value)}")
        items: list[Any] = []
        errors: list[Exception] = []
        for i, item in enumerate(value):
            try:
                items.append(converter.structure(item, get_args(kind)[0]))
            except Exception as error:
                error.add_note(IterableValidationNote(f"item {i}", i, kind))
                errors.append(error)
        if errors:
            raise IterableValidationError("a list with mistakes", errors, kind)
        return items

    def structure_tuple(value: Any, kind: Any) -> tuple[Any, ...]:
        return tuple(structure_list(value, kind))

    converter.register_structure_hook_func(_is_list, structure_list)
    converter.register_structure_hook_func(_is_long_tuple, structure_tuple)
    return converter


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


def _is_long_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


def structure(converter: Converter, data: Any, kind: type[T]) -> T:
    """Build a value, or raise `ValueError` whose text lists every mistake with its path."""
    if not isinstance(data, Mapping):
        raise WireError(f"expected an object, found {_kind(data)}")
    try:
        return converter.structure(data, kind)
    except Exception as error:
        raise WireError("; ".join(mistakes(error))) from None


def mistakes(error: BaseException) -> list[str]:
    """Each mistake behind a failed conversion, with its path."""
    return [text.removesuffix(" @ $") for text in transform_error(error, format_exception=_format)]


def _exactly(value: Any, kind: type[T]) -> T:
    fits = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
    if not fits and not (kind is float and type(value) is int):
        raise WireError(f"expected {_NAMES[kind]}, found {_kind(value)}")
    return kind(value)  # type: ignore[call-arg]


_NAMES: dict[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def _kind(value: Any) -> str:
    names = ((type(None), "nothing"), (list, "a list"), (dict, "an object"))
    return next((name for kind, name in names if isinstance(value, kind)), repr(value)[:60])


def _format(error: BaseException, kind: type | None) -> str:
    if isinstance(error, MemoryRoutingError):
        return str(error)
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if type(error) is ValueError:
        return str(error)
    return format_exception(error, kind)
