"""Files: whole or not at all, and lines that say where they are wrong."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from memory_routing.errors import BadLine

__all__ = ["read_bytes", "read_json_lines", "write_json_lines", "write_whole"]


def read_bytes(path: str | Path) -> bytes:
    """A file's content, unpacked where its name ends in `.gz`."""
    data = Path(path).read_bytes()
    return gzip.decompress(data) if str(path).endswith(".gz") else data


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_json_lines(data: bytes) -> Iterator[tuple[int, Any | BadLine]]:
    """Each line that is not blank, with its 1-based number: its value, or why it is not JSON."""
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            yield number, BadLine(number, f"not UTF-8 at byte {error.start}")
        except json.JSONDecodeError as error:
            yield number, BadLine(number, f"not JSON: {error.msg} at column {error.colno}")
        except RecursionError:
            yield number, BadLine(number, "not usable: nested too deeply")


def write_json_lines(path: str | Path, rows: Iterable[Any]) -> None:
    """Write one object a line, whole or not at all."""
    text = "".join(json.dumps(row, ensure_ascii=_has_surrogate(row)) + "\n" for row in rows)
    write_whole(path, text.encode("utf-8"))


def _has_surrogate(row: Any) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
