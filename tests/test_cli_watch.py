"""`memory-routing watch`: rows as they come."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from memory_routing.cli.watch import curve, table
from memory_routing.errors import DatasetError
from memory_routing.runs import METRICS, RunFolder, read_rows
from memory_routing.watch import PAIRS, Watch

from .test_cli import lines, on_a_terminal, run


@contextlib.contextmanager
def watching(path: Path, every: float) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """The command with its output and errors; killed at the end, or when it says nothing for too long."""
    command = [sys.executable, "-m", "memory_routing", "watch", str(path), "--every", str(every)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(30, process.kill)
        timer.start()
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process, process.stdout, process.stderr
        finally:
            timer.cancel()
            process.kill()


def test_a_run_is_followed_while_it_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {"seed": 1})
    folder.log(step=1, loss=2.5)
    with watching(tmp_path, 0.05) as (process, output, _):
        assert json.loads(output.readline()) == {"step": 1, "loss": 2.5}
        for step in (2, 3):
            folder.log(step=step, loss=2.5 / step)
            assert json.loads(output.readline())["step"] == step
        # A resumed run takes rows back and writes them again.
        folder.keep(lambda row: row["step"] < 3)
        time.sleep(0.3)
        folder.log(step=3, loss=0.5)
        assert json.loads(output.readline()) == {"step": 3, "loss": 0.5}
        if sys.platform != "win32":
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130


def test_on_a_terminal_it_is_a_table_with_curves(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {})
    for step in range(100):
        folder.log(step=step, phase="sft", loss=5 * math.exp(-step / 20))
    code, output = on_a_terminal("watch", str(tmp_path), "--once")
    assert code == 0
    assert "100 rows" in output
    assert "loss" in output
    assert "█" in output
    assert output.count("sft") == 1, "the phase is no curve"
    assert len(lines(run("watch", str(tmp_path), "--once"))) == 100


@pytest.mark.parametrize(("name", "said", "code"), [("absent", "no run folder", 2), (".", "no metrics yet", 1)])
def test_what_is_no_run_says_so(tmp_path: Path, name: str, said: str, code: int) -> None:
    done = run("watch", str(tmp_path / name), "--once")
    assert done.returncode == code
    assert said in done.stderr.decode()


@given(st.lists(st.floats(), min_size=1, max_size=200), st.integers(8, 90))
@example([1e308, -1e308], 8)
def test_a_curve_rises_where_its_values_do(values: list[float], width: int) -> None:
    drawn = curve(values, width)
    assert 1 <= len(drawn) <= width
    if len(values) <= width:
        assert [bar == " " for bar in drawn] == [not math.isfinite(value) for value in values]
        # The bars are in order as characters, too.
        known = [(value, bar) for value, bar in zip(values, drawn, strict=True) if math.isfinite(value)]
        bars = [bar for _, bar in sorted(known)]
        assert bars == sorted(bars)


def both_phases(path: Path) -> RunFolder:
    """A run that measures as much as a real one does."""
    folder = RunFolder(path, {"rl": {"watch": {"warning": 0.1, "critical": 0.2}}})
    for step in range(1, 101):
        folder.log(phase="sft", step=step, loss=5.0 / step, learning_rate=0.1)
    for step in range(1, 101):
        parts = {f"reward/{name}": step / 200 for name in ("f1", "horizon", "scope", "efficiency")}
        more = {f"{kind}_of_something_rather_long/{i}": 1.0 for kind in ("mean", "sum") for i in range(12)}
        kl = {f"kl/{pair}/k{i}": 0.05 * (PAIRS.index(pair) + 1) + 1e-13 for i in (1, 2, 3) for pair in PAIRS}
        folder.log(phase="rl", step=step, **more, **kl, reward=0.0 if step < 100 else 1.0, malformed=0.0, **parts)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no pseudo-terminals")
def test_what_matters_is_seen_on_a_small_terminal(tmp_path: Path) -> None:
    import pty

    both_phases(tmp_path)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "memory_routing", "watch", str(tmp_path), "--every", "60"]
    env = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=slave, stderr=slave, stdin=subprocess.DEVNULL, env=env) as process:
        os.close(slave)
        timer = threading.Timer(30, process.kill)
        timer.start()
        output = b""
        while b"--once" not in output:
            output += os.read(master, 65536)
        timer.cancel()
        process.terminate()
    os.close(master)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    shown = [line.rstrip() for line in plain.split("\r\n")]
    assert len(shown) < 24
    assert max(map(len, shown)) <= 80
    assert shown[0].startswith("phase rl, step 100, 100 rows: ")
    names = [line.split("  ")[0] for line in shown[2:]]
    assert names[:4] == ["reward", "kl/sampler/k3 fine", "kl/step/k3 warning", "kl/sft/k3 warning"]
    assert {"malformed", "reward/f1", "reward/horizon", "reward/scope", "reward/efficiency"} <= set(names)
    # The newest measurement is there: the only one that is not the least.
    assert shown[2].endswith("▁█")
    assert re.fullmatch(r"\d+ more with --once", shown[-1])


def test_once_shows_all_of_every_phase(tmp_path: Path) -> None:
    rows = both_phases(tmp_path).rows()
    code, output = on_a_terminal("watch", str(tmp_path), "--once")
    assert code == 0
    assert all(name in output for row in rows for name in row)
    console = Console(width=40)
    with console.capture() as capture:
        console.print(table(tmp_path, rows[100:], 40, Watch()))
    shown = capture.get().splitlines()
    assert all(len(line) <= 40 for line in shown)
    assert shown[1].split() == ["metric", "last", "curve"]
    assert shown[2].startswith("reward ")
    assert shown[2].endswith("▁█")


def test_rows_taken_back_and_written_again_between_two_looks(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {})
    for step in range(10):
        folder.log(step=step, loss=1.0)
    with watching(tmp_path, 0.5) as (_, output, _):
        assert [json.loads(output.readline())["step"] for _ in range(10)] == list(range(10))
        again = [*folder.rows()[:6], *({"step": step, "loss": 0.5} for step in range(6, 12))]
        (tmp_path / "new").write_text("".join(json.dumps(row) + "\n" for row in again))
        (tmp_path / "new").replace(tmp_path / METRICS)
        assert [json.loads(output.readline()) for _ in range(6)] == again[6:]


def test_a_folder_without_metrics_is_waited_for_aloud(tmp_path: Path) -> None:
    with watching(tmp_path, 1) as (_, _, errors):
        assert errors.readline() == f"waiting for {tmp_path / METRICS}\n"


ODD = '{"step": 1, "loss": NaN}\n{"st\n[1]\n{"step": 2, "loss": -Infinity}\n{"step": 3, "loss": %s}\n{"step": 4, "lo'


def test_rows_that_are_odd_or_damaged(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text(ODD % ("9" * 400))
    with pytest.raises(DatasetError, match=r"metrics\.jsonl: line 2: damaged"):
        read_rows(tmp_path)
    found = read_rows(tmp_path, damaged=lambda _: None)
    assert math.isnan(found[0]["loss"])
    assert [row["loss"] for row in found[1:]] == [-math.inf, math.inf]
    done = run("watch", str(tmp_path), "--once")
    assert done.returncode == 0
    assert lines(done) == [{"step": step, "loss": None} for step in (1, 2, 3)]
    assert re.findall(r"line (\d): damaged", done.stderr.decode()) == ["2", "3"]
    code, output = on_a_terminal("watch", str(tmp_path), "--once")
    assert code == 0
    assert "nan" in output


def test_damage_is_told_once(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_text('{"st\n{"step": 1}\n')
    with watching(tmp_path, 0.05) as (process, output, errors):
        assert output.readline() == '{"step": 1}\n'
        time.sleep(0.5)
        process.kill()
        assert errors.read().count("line 1: damaged") == 1


def test_a_resumed_run_keeps_what_is_not_finite(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, {})
    for step, loss in enumerate([1.0, math.nan, math.inf, 2.0]):
        folder.log(step=step, loss=loss)
    folder.keep(lambda row: row["step"] < 3)
    assert [str(row["loss"]) for row in folder.rows()] == ["1.0", "nan", "inf"]
