"""Files: whole or not at all, and lines that say where they are wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from memory_routing.errors import BadLine, DatasetError

__all__ = ["file_hash", "json_text", "parse_json", "read_bytes", "read_json_lines", "write_json_lines", "write_whole"]


def read_bytes(path: str | Path) -> bytes:
    """A file's content, unpacked where its name ends in `.gz`. Raises `DatasetError` for a damaged one."""
    data = Path(path).read_bytes()
    if not str(path).endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise DatasetError(f"{path}: damaged gzip file ({error}); fetch or pack it again") from None


def write_whole(path: str | Path, data: bytes) -> None:
    """Replace a file by this content, or leave it as it was: never half of it.

    Content for a name that ends in `.gz` is packed, with the same bytes on every day.
    """
    path = Path(path)
    if path.name.endswith(".gz"):
        data = gzip.compress(data, compresslevel=9, mtime=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def file_hash(path: Path) -> str:
    """SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def parse_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8. Raises `ValueError` that says where it is none, and no other error."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno} " if b"\n" in data.strip() else ""
        raise ValueError(f"not JSON: {error.msg} at {line}column {error.colno}") from None
    except RecursionError:
        raise ValueError("not usable: nested too deeply") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"not JSON: {name} is no number of JSON")


def read_json_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Any | BadLine]]:
    """Each line that is not blank, with its 1-based number: its value, or why it is not JSON."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, parse_json(line)
        except ValueError as error:
            yield number, BadLine(number, str(error))


def write_json_lines(path: str | Path, rows: Iterable[Any]) -> None:
    """Write one object a line, whole or not at all."""
    write_whole(path, "".join(json_text(row) + "\n" for row in rows).encode("utf-8"))


def json_text(value: Any) -> str:
    """JSON in one line, readable, and escaped where a lone surrogate has no UTF-8."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text
