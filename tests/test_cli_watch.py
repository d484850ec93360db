"""`memory-routing watch`: rows as they come."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing.cli.watch import curve
from memory_routing.runs import RunFolder

from .test_cli import lines, on_a_terminal, run


def test_a_run_is_followed_while_it_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {"seed": 1})
    folder.log(step=1, loss=2.5)
    command = [sys.executable, "-m", "memory_routing", "watch", str(tmp_path), "--every", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"step": 1, "loss": 2.5}
        for step in (2, 3):
            folder.log(step=step, loss=2.5 / step)
            assert json.loads(process.stdout.readline())["step"] == step
        # A resumed run takes rows back and writes them again.
        folder.keep(lambda row: row["step"] < 3)
        time.sleep(0.3)
        folder.log(step=3, loss=0.5)
        assert json.loads(process.stdout.readline()) == {"step": 3, "loss": 0.5}
        if sys.platform != "win32":
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        else:
            process.kill()


def test_on_a_terminal_it_is_a_table_with_curves(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {})
    for step in range(100):
        folder.log(step=step, phase="sft", loss=5 * math.exp(-step / 20))
    code, output = on_a_terminal("watch", str(tmp_path), "--once")
    assert code == 0
    assert "100 rows" in output
    assert "loss" in output
    assert "█" in output
    assert "sft" not in output
    assert len(lines(run("watch", str(tmp_path), "--once"))) == 100


@pytest.mark.parametrize(("name", "said", "code"), [("absent", "no run folder", 2), (".", "no metrics yet", 1)])
def test_what_is_no_run_says_so(tmp_path: Path, name: str, said: str, code: int) -> None:
    done = run("watch", str(tmp_path / name), "--once")
    assert done.returncode == code
    assert said in done.stderr.decode()


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=200))
def test_a_curve_rises_where_its_values_do(values: list[float]) -> None:
    drawn = curve(values)
    assert 1 <= len(drawn) <= 40
    if len(values) <= 40:
        # The bars are in order as characters, too.
        bars = [bar for _, bar in sorted(zip(values, drawn, strict=True))]
        assert bars == sorted(bars)
