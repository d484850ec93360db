"""The command line, as a process and through a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memory_routing import MARKETING, marketing

FACT = "Our tone is dry and factual, never an exclamation mark."


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "memory_routing", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def on_a_terminal(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a command whose output is a terminal of 120 columns."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "memory_routing", *arguments],
        stdout=slave,
        stderr=slave,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "120", "TERM": "xterm"},
    )
    os.close(slave)
    output = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break
        if not chunk:
            break
        output += chunk
    os.close(master)
    return process.wait(), output.decode("utf-8", "replace")


def test_classify_a_text() -> None:
    done = run("classify", FACT)
    assert done.returncode == 0
    (decision,) = lines(done)
    assert decision["categories"] == ["company.brand_core"]
    assert decision["labels"][0]["evidence"] == [0]
    assert done.stderr == b""


def test_classify_on_a_terminal_is_a_table() -> None:
    code, output = on_a_terminal("classify", FACT)
    assert code == 0
    assert "company.brand_core" in output
    assert "no end" in output
    assert FACT in " ".join(output.split())
    assert "{" not in output
    assert "worth storing" in on_a_terminal("classify", "ok thanks")[1]


def test_classify_a_file(tmp_path: Path) -> None:
    transcript = tmp_path / "talk.txt"
    transcript.write_text(f"USER: {FACT}\nASSISTANT: Noted.", encoding="utf-8")
    turns = tmp_path / "talk.json"
    turns.write_text(json.dumps([{"role": "user", "content": FACT}, {"role": "assistant", "content": "Noted."}]))
    answers = [run("classify", "--file", str(transcript)), run("classify", "--file", str(turns))]
    answers.append(run("classify", "--file", "-", stdin=transcript.read_bytes()))
    assert {done.stdout for done in answers} == {answers[0].stdout}
    assert lines(answers[0])[0]["categories"] == ["company.brand_core"]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"[{", "x.json", "not JSON: Expecting property name"),
        (b"\xff", "x.txt", "not UTF-8 at byte 0"),
        (b" ", "x.txt", "empty text"),
        (b'[{"role": "user"}]', "x.json", "turn 0: 'content' is missing"),
        (b"3", "x.json", "a conversation is a text"),
        (b"[" * 100_000, "x.json", "nested too deeply"),
        (b'[{"role": "user"}]', "x.txt", "turn 0: 'content' is missing"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, name: str, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    done = run("classify", "--file", str(file))
    assert (done.returncode, done.stdout) == (1, b"")
    assert message in done.stderr.decode()
    assert str(file) in done.stderr.decode().replace("\n", "")


def test_classify_lines_in_order_with_errors_in_their_place(tmp_path: Path) -> None:
    rows = [
        json.dumps({"id": "a", "conversation": FACT}),
        "{broken",
        json.dumps({"id": "c", "conversation": [{"role": "boss", "content": "x"}]}),
        json.dumps({"id": "d"}),
        "",
        "9" * 5000,
        json.dumps({"scenario_id": "e", "conversation": "x" * 300_000}),
        json.dumps({"id": 6, "conversation": "ok thanks"}),
    ]
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(rows))
    done = run("classify", "--jsonl", str(file))
    assert done.returncode == 1
    answers = lines(done)
    assert [answer["id"] for answer in answers] == ["a", None, "c", "d", None, "e", 6]
    assert answers[0]["categories"] == ["company.brand_core"]
    assert "line 2: not JSON" in answers[1]["error"]
    assert "line 3: turn 0: unknown role 'boss'" in answers[2]["error"]
    assert "line 4: expected an object" in answers[3]["error"]
    assert "line 6: " in answers[4]["error"]
    assert "300,000 characters" in answers[5]["error"]
    assert answers[6]["categories"] == ["none"]
    assert run("classify", "--jsonl", "-", stdin=file.read_bytes()).stdout == done.stdout


def test_a_line_is_answered_when_it_comes() -> None:
    command = [sys.executable, "-m", "memory_routing", "classify", "--jsonl", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name in ("a", "b"):
            process.stdin.write(json.dumps({"id": name, "conversation": FACT}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == name
        process.stdin.close()
        assert process.wait() == 0


def test_no_lines_is_said() -> None:
    done = run("classify", "--jsonl", "-")
    assert (done.returncode, done.stdout, done.stderr.decode().strip()) == (0, b"", "-: no lines in it")


def test_lines_that_are_all_well_exit_with_0() -> None:
    row = json.dumps({"id": "a", "conversation": FACT}).encode()
    done = run("classify", "--jsonl", "-", stdin=b"\n".join([row] * 150))
    assert done.returncode == 0
    assert len(lines(done)) == 150


def test_lines_on_a_terminal_are_for_reading(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps({"id": "a", "conversation": FACT}) + "\n" + json.dumps({"id": "b", "conversation": ""}))
    code, output = on_a_terminal("classify", "--jsonl", str(file))
    assert code == 1
    assert "company.brand_core" in output
    assert "empty text" in output
    assert "{" not in output


def test_a_conversation_cannot_steer_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "turns.json"
    file.write_text(json.dumps([{"role": "user", "content": f"{FACT} \x1b]0;owned\x07 \ud800"}]))
    code, output = on_a_terminal("classify", "--file", str(file))
    assert code == 0
    assert "owned" in output
    assert "\x1b]0" not in output
    lines_file = tmp_path / "in.jsonl"
    lines_file.write_text(json.dumps({"id": "a\ud800\x1b[31m", "conversation": FACT}))
    code, output = on_a_terminal("classify", "--jsonl", str(lines_file))
    assert code == 0
    assert "\x1b[31m" not in output


def test_turns_through_a_pipe_are_known_as_json() -> None:
    turns = [{"role": "user", "content": FACT}]
    expected = lines(run("classify", FACT))
    for value in (turns, {"id": "a", "conversation": turns}):
        assert lines(run("classify", "--file", "-", stdin=json.dumps(value).encode())) == expected


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl.gz"
    marketing.dataset("validation")[:20].write(file)
    whole = file.read_bytes()
    for data in (whole[:-20], whole[:50] + b"xxxx" + whole[54:], b"plain"):
        file.write_bytes(data)
        for command in (["dataset", "stats"], ["benchmark"]):
            done = run(*command, str(file))
            assert done.returncode == 2
            assert "data.jsonl.gz: damaged gzip file" in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify"], "give exactly one of TEXT"),
        (["classify", "a", "--file", "b"], "give exactly one of TEXT"),
        (["classify", "--file", "absent.txt"], "absent.txt"),
        (["classify", "--jsonl", "absent.jsonl"], "absent.jsonl"),
        (["classify", "a", "--model", "absent"], "absent: no model folder"),
        (["classify", "a", "--bogus"], "No such option"),
        (["bogus"], "No such command"),
        (["benchmark", "absent.json"], "absent.json: there is no such file"),
        (["benchmark", "."], ".: is a folder; name a file"),
        (["benchmark", "--out", "."], ". is a folder"),
        (["dataset", "check", "a", "--similarity", "2"], "--similarity must lie above 0"),
        (["dataset", "check", "a", "--similarity", "nan"], "--similarity must lie above 0"),
        (["dataset", "stats", os.devnull], "no examples in it"),
        (["taxonomy", "check", "absent.toml"], "absent.toml"),
        (["dataset", "split", "a.jsonl", "--out", "x", "--fraction", "2"], "between 0 and 1"),
        (["train", "local", "--out", "x", "--validation", "a"], "--validation needs --train"),
        (["train", "local", "--out", "x", "--taxonomy", "a"], "--taxonomy needs --train"),
    ],
)
def test_what_cannot_run_exits_with_2_and_says_why(arguments: list[str], message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "memory_routing", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    row = json.dumps({"id": "a", "conversation": "ok"}).encode()
    process = subprocess.Popen(
        [sys.executable, "-m", "memory_routing", "classify", "--jsonl", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(b"\n".join([row] * 400))
    process.stdin.close()
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


COMMANDS = [
    ["classify"],
    ["benchmark"],
    ["taxonomy", "show"],
    ["taxonomy", "check"],
    ["taxonomy", "diff"],
    ["dataset", "check"],
    ["dataset", "stats"],
    ["dataset", "split"],
    ["train", "local"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_an_example(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert f"Example: memory-routing {' '.join(command)}" in " ".join(done.stdout.decode().split())


def test_the_examples_of_the_help_work(tmp_path: Path) -> None:
    (tmp_path / "my_taxonomy.toml").write_text(MARKETING.to_toml(), encoding="utf-8")
    (tmp_path / "v1.toml").write_text(MARKETING.to_toml(), encoding="utf-8")
    (tmp_path / "v2.toml").write_text(MARKETING.to_toml(), encoding="utf-8")
    for name in ("conversations.jsonl", "part-1.jsonl", "part-2.jsonl"):
        marketing.dataset("validation")[:40].write(tmp_path / name)

    def example(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "memory_routing", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)

    assert json.loads(example("taxonomy", "check", "my_taxonomy.toml").stdout)["hash"] == MARKETING.hash
    assert json.loads(example("taxonomy", "diff", "v1.toml", "v2.toml").stdout)["added"] == []
    assert json.loads(example("dataset", "stats", "conversations.jsonl").stdout)["examples"] == 40
    parts = ["part-1.jsonl", "part-2.jsonl"]
    assert json.loads(example("dataset", "split", *parts, "--out", "data").stdout)["validation"] == 12
    assert len(example("taxonomy", "show").stdout.splitlines()) == 12


def test_a_changed_taxonomy_exits_with_1(tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text(MARKETING.to_toml(), encoding="utf-8")
    new.write_text(MARKETING.to_toml().replace('horizon = "rolling"', 'horizon = "short"'), encoding="utf-8")
    done = run("taxonomy", "diff", str(old), str(new))
    assert done.returncode == 1
    assert "company.performance_context" in lines(done)[0]["changed"]


def test_dataset_check(tmp_path: Path) -> None:
    pytest.importorskip("datasketch", reason="the extra 'data' is not installed")
    file = tmp_path / "data.jsonl"
    dataset = marketing.dataset("validation")[:20]
    dataset.write(file)
    clean = run("dataset", "check", str(file))
    assert (clean.returncode, lines(clean)) == (0, [{"examples": 20, "contrast_pairs": 0, "faults": 0}])
    file.write_bytes(file.read_bytes() + file.read_bytes().splitlines()[0] + b"\n{\n")
    found = run("dataset", "check", str(file), "--against", str(file.with_name("bench.jsonl")))
    assert found.returncode == 2  # there is no such benchmark
    (dataset[3:4]).write(file.with_name("bench.jsonl"))
    found = run("dataset", "check", str(file), "--against", str(file.with_name("bench.jsonl")))
    assert found.returncode == 1
    assert [row.get("fault") for row in lines(found)] == ["bad line", "duplicate", "leak", None]
    other = file.with_name("bench.jsonl")
    found = run("dataset", "check", str(file), str(other))
    assert [row.get("fault") for row in lines(found)] == ["bad line", "duplicate", "duplicate", None]
    assert lines(found)[0]["where"].startswith(f"{file}: line 22")
    counted = run("dataset", "stats", str(other), str(other))
    assert lines(counted)[0]["examples"] == 2


def test_benchmark_of_a_file(tmp_path: Path) -> None:
    file, report = tmp_path / "scenarios.jsonl", tmp_path / "report.json"
    marketing.dataset("validation")[:25].write(file)
    done = run("benchmark", str(file), "--out", str(report))
    assert done.returncode == 0
    (summary,) = lines(done)
    assert summary["summary"]["f1"]["n"] == 25
    assert set(summary["groups"]) == {"difficulty", "domain", "labels", "length", "category"}
    assert "results" not in summary
    assert len(json.loads(report.read_text())["results"]) == 25
    code, output = on_a_terminal("benchmark", str(file))
    assert code == 0
    for word in ("macro_f1", "95 % interval", "by category", "by difficulty", "not exact"):
        assert word in output


def test_stored_predictions_are_scored_and_compared(tmp_path: Path) -> None:
    scenarios = [
        {"id": f"s{i}", "conversation": f"{FACT} {i}", "categories": ["company.brand_core"], "difficulty": "easy"}
        for i in range(30)
    ]
    (tmp_path / "bench.json").write_text(json.dumps(scenarios), encoding="utf-8")
    right, wrong = ({"predicted": [name]} for name in ("company.brand_core", "company.tools_config"))
    models = {
        "good": [{"id": f"s{i}", **right} for i in range(30)],
        "bad": [{"id": f"s{i}", **(right if i % 2 else wrong)} for i in range(30)],
    }
    (tmp_path / "both.json").write_text(json.dumps({"detailed_results": models}), encoding="utf-8")
    arguments = ("benchmark", str(tmp_path / "bench.json"), "--predictions", str(tmp_path / "both.json"))
    good, bad, between = lines(run(*arguments, "--out", str(tmp_path / "reports")))
    assert (good["router"], good["summary"]["exact"]["value"]) == ("good", 1.0)
    assert (bad["router"], bad["summary"]["exact"]["value"]) == ("bad", 0.5)
    assert "exact match: good beats bad" in between["sentences"][1]
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["bad.json", "good.json"]
    code, output = on_a_terminal(*arguments)
    assert code == 0
    assert "good beats bad" in " ".join(output.split())
    # What was written is read again.
    (again,) = lines(run(*arguments[:2], "--predictions", str(tmp_path / "reports" / "bad.json")))
    assert again["summary"] == bad["summary"]


@pytest.fixture
def stored(tmp_path: Path) -> tuple[str, ...]:
    """Arguments that score the predictions of two models whose names differ in their signs alone."""
    rows = [{"id": f"s{i}", "conversation": f"{FACT} {i}", "categories": ["company.brand_core"]} for i in range(3)]
    (tmp_path / "bench.json").write_text(json.dumps(rows), encoding="utf-8")
    said = [{"id": f"s{i}", "predicted": ["none"]} for i in range(3)]
    (tmp_path / "two.json").write_text(json.dumps({"detailed_results": {"!": said, "?": said}}), encoding="utf-8")
    return ("benchmark", str(tmp_path / "bench.json"), "--predictions", str(tmp_path / "two.json"))


def test_reports_of_several_models_have_files_of_their_own(stored: tuple[str, ...], tmp_path: Path) -> None:
    assert run(*stored, "--out", str(tmp_path / "reports")).returncode == 0
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["1-report.json", "2-report.json"]
    assert run(*stored, "--out", str(tmp_path / "reports")).returncode == 0
    (tmp_path / "reports" / "1-report.json").write_text("{}")
    kept = run(*stored, "--out", str(tmp_path / "reports"))
    assert kept.returncode == 2
    assert "exists and is no report" in kept.stderr.decode()
    assert (tmp_path / "reports" / "1-report.json").read_text() == "{}"
    assert run(*stored, "--out", str(tmp_path / "reports"), "--force").returncode == 0
    assert "is a file; name a folder" in run(*stored, "--out", stored[1]).stderr.decode()


def test_a_report_replaces_no_file_that_is_read(tmp_path: Path) -> None:
    bench, train = tmp_path / "bench.jsonl", tmp_path / "train.jsonl"
    marketing.dataset("validation")[:2].write(bench)
    marketing.dataset("validation")[2:4].write(train)
    for out in (bench, train):
        before = out.read_bytes()
        done = run("benchmark", str(bench), "--train", str(train), "--out", str(out), "--force")
        assert done.returncode == 2
        assert "is read by this command" in done.stderr.decode()
        assert out.read_bytes() == before
    (tmp_path / "notes.json").write_text("[]")
    refused = run("benchmark", str(bench), "--out", str(tmp_path / "notes.json"))
    assert (refused.returncode, (tmp_path / "notes.json").read_text()) == (2, "[]")
    assert run("benchmark", str(bench), "--out", str(tmp_path / "notes.json"), "--force").returncode == 0


def test_where_leakage_was_not_checked_it_is_said(stored: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*stored)
    assert done.stderr.decode().strip() == "leakage was not checked: name the training data with --train"
    assert [row["leakage"] for row in lines(done)[:2]] == [None, None]
    assert "leakage was not checked" in on_a_terminal(*stored)[1]
    # A model that was trained on the packaged data, named as any other.
    named = run("benchmark", stored[1], "--model", str(marketing.MODEL_FOLDER))
    assert named.stderr == b""
    assert lines(named)[0]["leakage"]["clean"]


def test_predictions_that_cannot_be_scored_exit_with_2(stored: tuple[str, ...], tmp_path: Path) -> None:
    rows = json.loads((tmp_path / "bench.json").read_text())
    rows[1]["conversation"] = rows[0]["conversation"]
    (tmp_path / "bench.json").write_text(json.dumps(rows), encoding="utf-8")
    twice = run(*stored)
    assert (twice.returncode, twice.stdout) == (2, b"")
    assert "bench.json: 1 scenarios occur twice; a comparison needs each once" in twice.stderr.decode()
    (tmp_path / "two.json").write_text('{"detailed_results": {"m": []}}', encoding="utf-8")
    missing = run(*stored)
    assert missing.returncode == 2
    assert "two.json: m: no prediction for 3 of 3 scenarios" in missing.stderr.decode()


def test_intervals_of_categories_groups_and_times_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "scenarios.jsonl"
    marketing.dataset("validation")[:10].write(file)
    output = on_a_terminal("benchmark", str(file), "--timed")[1]
    for words in ("p50, ms", "decisions a second", "calibration error, said", "any match"):
        assert words in output
    (row,) = [line for line in output.splitlines() if "decisions a second" in line]
    assert "10" in row
    none = next(line for line in output.split("found or not")[1].splitlines() if "none" in line)
    # Precision, recall and F1, each with its interval, as far as it has a value.
    assert none.count("[") + none.count("–") == 3
    labels = next(line for line in output.split("scenarios by labels")[1].splitlines() if "[0." in line)
    assert labels.count("[0.") == 3


def test_training_data_that_give_a_benchmark_away_are_told(tmp_path: Path) -> None:
    row = {"conversation": [{"role": "user", "content": FACT}], "labels": {"categories": ["company.brand_core"]}}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    scenario = {"id": "s", "conversation": FACT, "categories": ["company.brand_core"]}
    (tmp_path / "bench.json").write_text(json.dumps([scenario]), encoding="utf-8")
    bench = str(tmp_path / "bench.json")
    (found,) = lines(run("benchmark", bench, "--train", str(tmp_path / "train.jsonl"), "--timed"))
    assert (found["leakage"]["clean"], len(found["leakage"]["exact"])) == (False, 1)
    assert found["timing"]["p50"]["value"] > 0
    assert "LEAKAGE: of 1 scenarios" in on_a_terminal("benchmark", bench, "--train", str(tmp_path / "train.jsonl"))[1]
    (clean,) = lines(run("benchmark", bench))
    assert clean["leakage"]["clean"]
