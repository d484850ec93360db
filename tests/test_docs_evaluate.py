"""The page on measuring and comparing routers: its files, commands and code, in their order."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "evaluate.md"


def test_the_page_works(tmp_path: Path) -> None:
    said: list[tuple[int, str]] = []
    for kind, name, text in re.findall(r'```(\w+)(?: title="(.+?)")?\n(.*?)```', PAGE.read_text("utf-8"), re.DOTALL):
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        command = [sys.executable, "-c", text]
        if kind == "bash":
            command = [sys.executable, "-m", "memory_routing", *shlex.split(text)[1:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        said.append((done.returncode, done.stdout))
    (shipped, other, compared, ready) = said
    assert [code for code, _ in said] == [0, 0, 0, 1]
    assert json.loads(shipped[1])["leakage"]["clean"]
    assert len(json.loads(other[1])["failures"]) == 1
    assert "n = 2, 1 without a decision by other left out" in compared[1]
    assert "beats" not in compared[1]
    assert json.loads(ready[1])["verdict"] == "NOT READY"
    assert json.loads(ready[1])["thresholds"]["ready"] == {"any_match": 0.85, "f1": 0.75}
    assert (tmp_path / "results" / "shipped.json").exists()
