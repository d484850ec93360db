"""Training and routing while the service, the network, the disk or the user fails, with the real SDK over HTTP."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

torch = pytest.importorskip("torch", reason="the extra 'server' is not installed")

from . import test_tinker, tiny, tiny_llama
from .faults import Layer, answers, cuts, hangs, only
from .service import running, sweep, threaded
from .test_tinker import SMALL, measured, rows, small_data

from memory_routing import Checkpoint, LabelSet, RouterError, TrainingError  # isort: skip
from memory_routing.tinker import CookbookRenderer, TinkerRouter, TinkerTrainer  # isort: skip
from memory_routing.tinker.service import Learner  # isort: skip

pytestmark = test_tinker.pytestmark

SECRET = "tml-secret-0123456789abcdef"


def fit(url: str, model: Path, run: Path, *, timeout: float = 60, key: str | None = None) -> Checkpoint:
    trainer = TinkerTrainer(SMALL, base_url=url, tokenizer=model, timeout=timeout, api_key=key)
    return trainer.fit(*small_data(), run)


def place(run: Path) -> str:
    """How an error names where a run goes on."""
    found = Checkpoint.read_all(run) if (run / "checkpoints.jsonl").exists() else []
    if not found:
        return f"{run} has no checkpoint yet: the same call starts anew"
    return f"the last checkpoint in {run} is {found[-1].phase} step {found[-1].step}: the same call goes on there"


def fails(what: str, url: str, model: Path, run: Path, *, timeout: float = 60, key: str | None = None) -> str:
    """Train into a failure, which is one sentence that ends with the last checkpoint."""
    with pytest.raises(TrainingError) as caught:
        fit(url, model, run, timeout=timeout, key=key)
    said = str(caught.value)
    assert what in said
    assert said.endswith(place(run))
    assert "\n" not in said
    return "".join(traceback.format_exception(caught.value))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a model that has learned nothing; whatever it says is read as some label, so that rewards differ."""

    def parse(self: CookbookRenderer, tokens: Sequence[int], *, complete: bool = True) -> LabelSet:
        return self.taxonomy.labels(self.taxonomy.names[sum(tokens) % len(self.taxonomy.names)])

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CookbookRenderer, "parse", parse)
        yield tiny_llama.write(tmp_path_factory.mktemp("model"))
    sweep()


@pytest.fixture(scope="module")
def layered(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Layer]]:
    layer = Layer()
    with threaded(tiny_llama.NAME, model, tmp_path_factory.mktemp("store"), wrap=layer.around) as url:
        yield url, layer


@pytest.fixture
def url(layered: tuple[str, Layer]) -> str:
    return layered[0]


@pytest.fixture
def layer(layered: tuple[str, Layer]) -> Iterator[Layer]:
    layered[1].clear()
    yield layered[1]
    layered[1].clear()


@pytest.fixture(scope="module")
def whole(model: Path, layered: tuple[str, Layer], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a run measures that nothing disturbs."""
    run = tmp_path_factory.mktemp("whole")
    fit(layered[0], model, run)
    found = measured(run)
    assert sum(row.get("datums", 0) > 0 for row in found) >= 2
    return found


def test_a_server_that_is_killed_and_started_again_goes_on_with_the_run(
    model: Path, whole: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store, submit = tmp_path / "run", tmp_path / "store", Learner.submit
    with running(tiny_llama.NAME, model, store) as server:
        # Four supervised steps and one of reinforcement learning go well; the next is under way.
        left = iter(range(5))

        def killing(self: Learner, *arguments: Any) -> Any:
            found = submit(self, *arguments)
            if next(left, None) is None:
                server.kill()
            return found

        monkeypatch.setattr(Learner, "submit", killing)
        fails("no answer within 2 seconds", server.url, model, run, timeout=2)
    monkeypatch.undo()
    with running(tiny_llama.NAME, model, store, port=urlsplit(server.url).port or 0) as again:
        assert again.url == server.url
        fit(again.url, model, run)
    assert measured(run) == whole


def test_a_busy_service_is_waited_for(
    url: str, layer: Layer, model: Path, whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    for path in ("forward_backward", "optim_step", "asample"):
        layer.inject(path, answers(429, headers={"retry-after": "1"}), after=1)
        layer.inject(path, answers(429), after=2)
    fit(url, model, tmp_path)
    assert layer.broken == {"forward_backward": 2, "optim_step": 2, "asample": 2}
    assert measured(tmp_path) == whole


def test_a_name_that_is_taken_gives_way_to_another(
    url: str, layer: Layer, model: Path, whole: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["first", "first", "second", *map(str, range(9))])
    monkeypatch.setattr("memory_routing.tinker.service.secrets.token_hex", lambda _: next(names))
    save = Learner.save

    def twice(self: Learner, name: str) -> Any:
        monkeypatch.setattr(Learner, "save", save)
        self.save(name)
        return self.save(name)

    monkeypatch.setattr(Learner, "save", twice)
    fit(url, model, tmp_path)
    assert [row["state"].rpartition("/")[2] for row in rows(tmp_path, "checkpoints.jsonl")][:2] == [
        "sft-000002-second",
        "sft-000004-0",
    ]
    assert measured(tmp_path) == whole


def test_a_conflict_over_http_ends_the_run_or_gives_way(
    url: str, layer: Layer, model: Path, whole: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = answers(409, '{"detail": "taken"}', {"x-should-retry": "false"})
    layer.inject("save_weights", taken, times=100, after=1)
    fails("saving sft-000004-", url, model, tmp_path, timeout=2)
    # The SDK takes a conflict for a busy server for five minutes, and then raises it.
    monkeypatch.setattr(
        "tinker.lib.internal_client_holder.InternalClientHolder._is_retryable_status_code", lambda code: code != 409
    )
    fails("saving sft-000004-", url, model, tmp_path)
    layer.clear()
    layer.inject("save_weights", taken, times=2)
    fit(url, model, tmp_path)
    assert layer.broken == {"save_weights": 2}
    assert measured(tmp_path) == whole


def test_bursts_of_errors_are_outlasted(
    url: str, layer: Layer, model: Path, whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    paths = ["create_session", "forward_backward", "optim_step", "asample", "retrieve_future", "save_weights"]
    for path in paths:
        layer.inject(path, answers(500, "oh"), times=2)
    fit(url, model, tmp_path)
    assert layer.broken == dict.fromkeys(paths, 2)
    assert measured(tmp_path) == whole


def test_silence_ends_in_a_sentence(
    url: str, layer: Layer, model: Path, whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    for path, after in (
        ("create_session", 0),
        ("forward_backward", 3),
        ("save_weights", 0),
        ("load_weights", 0),
        ("asample", 20),
    ):
        layer.inject(path, hangs(5), times=100, after=after)
        started = time.monotonic()
        fails("no answer within 1.5 seconds", url, model, tmp_path, timeout=1.5)
        assert time.monotonic() - started < 10
        assert path in layer.broken
        layer.clear()
    fit(url, model, tmp_path)
    assert measured(tmp_path) == whole


def test_silence_at_first_contact_ends_in_a_sentence(url: str, layer: Layer, model: Path, tmp_path: Path) -> None:
    layer.inject("config", hangs(3), times=1)
    # Another key, so that nothing is known of the service yet.
    fails(
        "asking for the models that are served: no answer within 1 seconds",
        url,
        model,
        tmp_path,
        timeout=1,
        key="tml-new",
    )


def test_work_whose_answer_is_lost_counts_once(
    url: str, layer: Layer, model: Path, whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    paths = ["create_session", "create_model", "forward_backward", "optim_step", "asample", "retrieve_future"]
    paths += ["save_weights", "save_weights_for_sampler", "load_weights", "create_sampling_session", "get_info"]
    for path in paths:
        layer.inject(path, cuts())
    for path in paths[2:5]:
        layer.inject(path, answers(502, "<html>", done=True), after=4)
    fit(url, model, tmp_path)
    assert set(layer.broken) == set(paths)
    assert [layer.broken[path] for path in paths[2:5]] == [2, 2, 2]
    assert measured(tmp_path) == whole
    assert len(rows(tmp_path, "samples.jsonl")) == 6


def test_a_promise_that_is_broken_ends_in_a_sentence(
    url: str, layer: Layer, model: Path, whole: list[dict[str, Any]], tmp_path: Path
) -> None:
    layer.inject("retrieve_future", answers(410), after=9)
    fails("", url, model, tmp_path)
    layer.clear()
    layer.inject("optim_step", answers(404, '{"detail": "gone"}'), after=1)
    fails("gone", url, model, tmp_path)
    fit(url, model, tmp_path)
    assert measured(tmp_path) == whole


class Disk:
    """`os` for the run folder, with a disk that is full once: some of what was written last is lost."""

    def __init__(self, file: str, after: int) -> None:
        self.file, self.after = file, after

    def fsync(self, handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().name == self.file:
            self.after -= 1
            if self.after == -1:
                os.ftruncate(handle, os.fstat(handle).st_size - 30)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(sys.platform != "linux", reason="looks up open files in /proc")
def test_a_full_disk_ends_in_a_sentence_and_half_a_line_is_no_harm(
    url: str,
    layer: Layer,
    model: Path,
    whole: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for file, after in (("metrics.jsonl", 0), ("metrics.jsonl", 5), ("checkpoints.jsonl", 0), ("samples.jsonl", 3)):
        monkeypatch.setattr("memory_routing.runs.os", Disk(file, after))
        fails(f"{tmp_path} cannot be written: No space left on device", url, model, tmp_path)
        assert not (tmp_path / file).read_text().endswith("\n")
    fit(url, model, tmp_path)
    assert measured(tmp_path) == whole
    assert [row["step"] for row in rows(tmp_path, "checkpoints.jsonl")] == [2, 4, 2, 3]
    assert [row["step"] for row in rows(tmp_path, "samples.jsonl")] == [1, 1, 2, 2, 3, 3]


def test_a_disk_that_is_full_from_the_start_ends_in_a_sentence(
    url: str, layer: Layer, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    run = tmp_path / "run"
    monkeypatch.setattr("memory_routing.runs.write_whole", full)
    fails(f"{run} cannot be written: No space left on device", url, model, run)
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.undo()
    fails(f"{blocked / 'run'} cannot be written: Not a directory", url, model, blocked / "run")


def command(tmp_path: Path, url: str, model: Path) -> subprocess.Popen[str]:
    """The command as a user would give it."""
    train, validation = small_data()
    files = {name: tmp_path / name for name in ("train.jsonl", "validation.jsonl", "taxonomy.toml", "run.toml")}
    train.write(files["train.jsonl"])
    validation.write(files["validation.jsonl"])
    files["taxonomy.toml"].write_text(tiny.TAXONOMY.to_toml())
    files["run.toml"].write_text(
        f'base_model = "{tiny_llama.NAME}"\nrank = 4\nrenderer = "role_colon"\nmax_tokens = 8\nvalidation = 4\n'
        "[sft]\nsteps = 4\nbatch = 4\nlearning_rate = 1e-3\nevery = 2\n"
        "[rl]\niterations = 1\ngroups = 2\ngroup_size = 2\n"
    )
    arguments = ["--out", tmp_path / "run", "--config", files["run.toml"], "--train", files["train.jsonl"]]
    arguments += ["--validation", files["validation.jsonl"], "--taxonomy", files["taxonomy.toml"]]
    arguments += ["--base-url", url, "--tokenizer", model]
    return subprocess.Popen(
        [sys.executable, "-m", "memory_routing", "train", "tinker", *map(str, arguments)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TINKER_TELEMETRY": "0", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
def test_an_interrupted_command_says_how_to_go_on(url: str, layer: Layer, model: Path, tmp_path: Path) -> None:
    layer.inject("optim_step", hangs(60), after=2)
    interrupted = command(tmp_path, url, model)
    limit = time.monotonic() + 60
    while not layer.broken:
        assert interrupted.poll() is None, interrupted.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)
    interrupted.send_signal(signal.SIGINT)
    out, said = interrupted.communicate(timeout=30)
    assert interrupted.returncode == 130
    run = tmp_path / "run"
    assert (out, said) == ("", f"error: stopped; the same command goes on after the last checkpoint in {run}\n")
    assert [row["step"] for row in rows(run, "checkpoints.jsonl")] == [2]
    again = command(tmp_path, url, model)
    out, said = again.communicate(timeout=60)
    assert (again.returncode, said) == (0, "")
    assert json.loads(out)["model"] in {item.weights for item in Checkpoint.read_all(run)}
    assert [row["step"] for row in rows(run, "checkpoints.jsonl")] == [2, 4, 1]
    assert [row["step"] for row in rows(run) if "loss" in row] == [1, 2, 3, 4]


def test_the_key_is_written_nowhere(
    url: str,
    layer: Layer,
    model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    echoed = answers(400, json.dumps({"detail": f"what is Bearer {SECRET}?"}))
    for place, (path, after) in enumerate(
        [("forward_backward", 1), ("optim_step", 1), ("asample", 5), ("retrieve_future", 9), ("save_weights", 1)]
    ):
        layer.inject(path, echoed, times=100, after=after)
        said.append(fails("…", url, model, tmp_path / str(place), key=SECRET))
        layer.clear()
    for path in ("config", "create_session", "forward_backward", "asample", "retrieve_future"):
        layer.inject(path, answers(401, json.dumps({"detail": f"api_key {SECRET} is unknown"})), times=100)
        said.append(fails("the service refused the key", url, model, tmp_path / path, key=SECRET + path))
        layer.clear()
    fit(url, model, tmp_path / "0", key=SECRET)
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert SECRET not in "".join(written)
    assert SECRET not in "".join(said)
    assert SECRET not in "".join(capfd.readouterr())
    assert [record.name for record in caplog.records if SECRET in record.getMessage()] == []


@pytest.mark.parametrize("scores", [False, True], ids=["answers", "scores"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [(answers(400, '{"detail": "no more"}'), "no more"), (hangs(4), "no answer within 2 seconds")],
    ids=["refused", "silent"],
)
def test_a_router_that_fails_gives_what_it_had_decided(
    scores: bool, fault: Any, words: str, url: str, layer: Layer, model: Path
) -> None:
    router = TinkerRouter(
        tiny_llama.NAME, tiny.TAXONOMY, renderer="role_colon", tokenizer=model, base_url=url, timeout=2,
        max_tokens=8, scores=scores,
    )  # fmt: skip
    asked = [example.conversation for example in tiny.dataset(6, 5)]
    whole = router.classify_batch(asked)
    # The client numbers its questions: six prompts, and with scores some for each of them; the fourth prompt fails,
    # or the third one's scores.
    each = (layer.calls["asample"] - 6) // 6
    layer.inject("asample", fault, times=100, where=only(seq_id=6 * (1 + each) + (6 + 2 * each if scores else 3)))
    with pytest.raises(RouterError, match=f"^sampling: .*{words}|^computing logprobs: .*{words}") as caught:
        router.classify_batch(asked)
    assert caught.value.decided == dict(enumerate(whole[: 2 if scores else 3]))
    layer.clear()
    assert router.classify_batch(asked) == whole
    router.close()


def test_a_router_that_cannot_start_says_why(url: str, layer: Layer, model: Path) -> None:
    layer.inject("create_sampling_session", answers(400, '{"detail": "not today"}'))
    with pytest.raises(RouterError, match="not today") as caught:
        TinkerRouter(tiny_llama.NAME, tiny.TAXONOMY, renderer="role_colon", tokenizer=model, base_url=url)
    assert caught.value.decided == {}
