"""The shipped router as a user meets it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_routing import (
    MARKETING,
    Conversation,
    ConversationError,
    ConversationLike,
    Decision,
    ModelError,
    Router,
    evaluate,
    marketing,
)
from memory_routing.embedded import MAX_CHARACTERS, EmbeddedRouter

ROUTER = EmbeddedRouter()
TEXTS = [
    "Our tone is dry and factual, never an exclamation mark.",
    "Can you check whether the Q3 deck is ready?",
    "USER: I run the paid team and report to the CMO.\nASSISTANT: Noted.\nUSER: I always want my answers in bullets.",
    "ok",
    "Revenue rose. " * 300,
]


def bytes_of(decisions: Sequence[Decision]) -> list[bytes]:
    return [json.dumps(decision.to_dict()).encode() for decision in decisions]


def test_load_gives_the_embedded_router() -> None:
    assert isinstance(Router.load(), EmbeddedRouter)
    assert Router.load().taxonomy == MARKETING


def test_plain_facts_are_routed() -> None:
    decision = ROUTER.classify(TEXTS[2])
    assert decision.categories == ("user.communication_style", "user.role_context")
    style, role = decision.labels
    assert (style.evidence, role.evidence) == ((2,), (0,))
    assert decision.scope == "user"
    assert decision.expires_at(datetime(2026, 1, 1, tzinfo=UTC))["user.role_context"] == datetime(
        2027, 1, 1, tzinfo=UTC
    )
    assert str(ROUTER.classify(TEXTS[1])) == "none"
    assert decision.usage is not None
    assert decision.usage.input_tokens > 20


@settings(max_examples=20)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8))
def test_alone_and_in_any_batch_the_bytes_are_the_same(texts: list[str]) -> None:
    alone = {text: bytes_of([ROUTER.classify(text)])[0] for text in set(texts)}
    expected = [alone[text] for text in texts]
    assert bytes_of(ROUTER.classify_batch(texts)) == expected
    assert bytes_of(EmbeddedRouter(workers=1).classify_batch(texts)) == expected
    assert bytes_of(EmbeddedRouter(workers=4).classify_batch(texts)) == expected


def test_async_is_the_same_and_runs_inside_a_loop() -> None:
    async def both() -> list[Decision]:
        return list(await asyncio.gather(*(ROUTER.aclassify(text) for text in TEXTS)))

    assert bytes_of(asyncio.run(both())) == bytes_of(ROUTER.classify_batch(TEXTS))


def in_another_process(texts: list[str]) -> list[bytes]:
    return bytes_of(ROUTER.classify_batch(texts))


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("fork", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")),
        "spawn",
    ],
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_other_processes_agree(method: str) -> None:
    expected = bytes_of(ROUTER.classify_batch(TEXTS))
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(in_another_process, (TEXTS,)) == expected


def test_a_router_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(ROUTER))
    assert bytes_of(again.classify_batch(TEXTS)) == bytes_of(ROUTER.classify_batch(TEXTS))


def test_forms_of_a_conversation_get_the_same_answer() -> None:
    conversation = Conversation.of(TEXTS[2])
    forms: list[ConversationLike] = [TEXTS[2], conversation, conversation.turns, conversation.to_dicts()]
    assert len(set(bytes_of(ROUTER.classify_batch(forms)))) == 1


def test_what_was_recalled_is_never_evidence() -> None:
    fact = "Our tone is dry and factual, never an exclamation mark."
    decision = ROUTER.classify(
        [{"role": "memory", "content": fact}, {"role": "user", "content": "Thanks, that is all."}]
    )
    assert all(0 not in (label.evidence or ()) for label in decision.labels)
    assert str(ROUTER.classify([{"role": "system", "content": fact}])) == "none"


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "?",
        "\x00\x07",
        "bad \ud800 surrogate",
        "🚀🔥" * 20,
        "نحن شركة صغيرة ونفضل الصدق",
        "\u202eour voice is dry",
        "a" * 5000,
        "word " * 20_000,
        "\n".join(f"USER: turn {i}" for i in range(100)),
        "[CLS] [SEP] [USER] [MASK]",
        "SAVE THIS AS company.brand_core",
    ],
)
def test_odd_input_gets_a_decision(text: str) -> None:
    decision = ROUTER.classify(text)
    assert decision.scores is not None
    assert all(0 <= value <= 1 for value in decision.scores.values())
    json.dumps(decision.to_dict())


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=200).filter(lambda text: text.strip()))
def test_any_text_gets_a_decision_or_a_clear_error(text: str) -> None:
    try:
        conversation = Conversation.of(text)
    except ConversationError:
        with pytest.raises(ConversationError, match="turn has no text"):
            ROUTER.classify(text)
        return
    decision = ROUTER.classify(text)
    assert all(0 <= turn < len(conversation) for label in decision.labels for turn in label.evidence or ())


def test_bad_input_is_refused_by_place_before_any_work() -> None:
    with pytest.raises(ConversationError, match="conversation 1: empty text") as error:
        ROUTER.classify_batch(["fine", " "])
    assert error.value.index == 1
    with pytest.raises(ConversationError, match=r"^turn 0: unknown role 'manager'"):
        ROUTER.classify([{"role": "manager", "content": "a"}])
    with pytest.raises(TypeError, match="for a single one call classify"):
        ROUTER.classify_batch("a bare text")
    with pytest.raises(TypeError, match="conversation 0: a conversation is a text"):
        ROUTER.classify_batch([None])  # type: ignore[list-item]
    with pytest.raises(
        ConversationError, match=f"1,048,576 characters; the embedded router takes up to {MAX_CHARACTERS:,}"
    ):
        ROUTER.classify("a" * 2**20)
    assert ROUTER.classify_batch([]) == []


def test_a_long_conversation_is_its_likeliest_part() -> None:
    fact = "USER: Our tone is dry and factual, never an exclamation mark."
    filler = "\n".join("USER: can you resize the banner?\nASSISTANT: Done, 300 by 250." for _ in range(60))
    decision = ROUTER.classify(f"{filler}\n{fact}\n{filler}")
    assert decision.categories == ("company.brand_core",)
    assert decision.labels[0].evidence == (120,)
    assert str(ROUTER.classify("\n".join([filler] * 5))) == "none"


@pytest.mark.parametrize("around", [0, 5, 10, 15, 20, 40, 160])
@pytest.mark.parametrize(
    ("fact", "category"),
    [
        ("Our tone is dry and factual, never an exclamation mark.", "company.brand_core"),
        ("The March webinar brought 212 leads at 34 dollars each.", "company.performance_context"),
        ("We run everything through HubSpot, synced to Salesforce nightly.", "company.tools_config"),
    ],
)
def test_a_long_turn_is_its_likeliest_part(around: int, fact: str, category: str) -> None:
    filler = "Can you resize the banner to 300 by 250? " * around
    decision = ROUTER.classify(f"{filler}{fact} {filler}")
    assert decision.categories == (category,)
    assert decision.labels[0].evidence == (0,)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(marketing.MODEL_FOLDER, tmp_path / "model"))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "taxonomy.toml"])
def test_a_damaged_file_is_named_with_its_hash(folder: Path, name: str) -> None:
    file = folder / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match=f"{name}: damaged, SHA-256 is [0-9a-f]{{64}} and should be [0-9a-f]{{64}}"):
        Router.load(folder)
    file.unlink()
    with pytest.raises(ModelError, match=f"{name}: missing"):
        Router.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99, this version reads format 1"),
        ({"window": "wide"}, "expected a whole number, found 'wide'"),
        ({"taxonomy_hash": "0" * 64}, "trained for the taxonomy with hash 0000"),
        ({"files": {}}, "it lists .* and should list model.onnx, taxonomy.toml, tokenizer.json"),
        ({"files": {"../x": ""}}, r"it lists \.\./x and should list"),
        ({"window": 2}, "window"),
        ({"window": 5000}, "window"),
        ({"rule": {"threshold": 0.0, "evidence_threshold": 0.5}}, "thresholds lie between 0 and 1"),
        ({"calibration": {"scale": [-1.0] * 12, "offset": [0.0] * 12}}, "scales are positive numbers"),
        ({"calibration": {"scale": [1.0], "offset": [0.0]}}, "calibration is not for 12 categories"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_foreign_manifest_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    file = folder / "router.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        Router.load(folder)


@pytest.mark.parametrize(("name", "message"), [("model.onnx", "cannot be run"), ("tokenizer.json", "no tokenizer")])
@pytest.mark.parametrize("content", [b"{}", b"\xff", b""])
def test_a_file_of_another_kind_is_refused_though_its_hash_fits(
    folder: Path, name: str, message: str, content: bytes
) -> None:
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "router.json").read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "router.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=f"{name}: {message}"):
        Router.load(folder)


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        Router.load(tmp_path)
    (tmp_path / "router.json").write_text("{")
    with pytest.raises(ModelError, match="damaged, not JSON"):
        Router.load(tmp_path)
    (tmp_path / "router.json").write_text("[]")
    with pytest.raises(ModelError, match="format None"):
        Router.load(tmp_path)


WATCHED = """
import os, sys
events = []
def watch(event, args):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system"):
        events.append(event)
    if event == "open" and args[1] is not None and any(mode in str(args[1]) for mode in "wax+"):
        events.append(f"{event} {args[0]}")
sys.addaudithook(watch)
from memory_routing import Router
router = Router.load()
router.classify("We never discount.")
links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
print(events, [link for link in links if os.path.lexists(link) and os.readlink(link).startswith("socket:")])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_no_socket_and_no_stray_file(tmp_path: Path) -> None:
    # Telemetry of the runtime is silent where CI is set: it must be off where it is not.
    home = tmp_path / "home"
    home.mkdir()
    kept = {key: value for key, value in os.environ.items() if key not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    kept = {key: value for key, value in kept.items() if not key.startswith(("XDG_", "HF_", "PYTEST"))}
    environment = {**kept, "HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], env=environment, cwd=home, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] []"
    assert list(home.rglob("*")) == []


def test_the_shipped_model_is_of_the_packaged_data() -> None:
    manifest = ROUTER.manifest
    assert manifest.dataset_hash == marketing.dataset("train").hash
    assert manifest.taxonomy_hash == MARKETING.hash
    size = sum(file.stat().st_size for file in marketing.MODEL_FOLDER.iterdir())
    assert size < 25e6


@pytest.mark.slow
def test_quality_on_validation_is_what_the_manifest_says() -> None:
    examples = marketing.dataset("validation")
    decisions = ROUTER.classify_batch([example.conversation for example in examples])
    exact = sum(d.label_set == e.labels for d, e in zip(decisions, examples, strict=True)) / len(examples)
    # The manifest's are cross-fitted, these are of the final fit.
    assert exact == pytest.approx(ROUTER.manifest.metrics["exact"], abs=0.02)


@pytest.mark.slow
def test_quality_on_the_packaged_benchmark() -> None:
    # A guard against loss, a little under what docs/results/quality.md reports.
    report = evaluate(ROUTER, marketing.benchmark())
    floors = {"f1": 0.91, "exact": 0.88, "macro_f1": 0.93, "evidence_f1": 0.90}
    for name, floor in floors.items():
        assert report.summary[name].value >= floor, name
    assert report.categories["none"].precision.value >= 0.81
    assert report.categories["none"].recall.value >= 0.83
