"""Publishing and fetching, with the real client library against a hub on this machine."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")
pytest.importorskip("jinja2", reason="the extra 'hub' is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from memory_routing import MARKETING, DatasetError, Decision, ModelError, Router, evaluate, marketing
from memory_routing.card import model_card
from memory_routing.cli import app
from memory_routing.conversation import ConversationLike
from memory_routing.errors import HubError
from memory_routing.hub import _UNSTABLE as UNSTABLE
from memory_routing.hub import _apart, _comparable, check_publishable, check_repository, fetch, publish, save_pretrained
from memory_routing.marketing import MODEL_FOLDER
from memory_routing.published import PublishedModel

from .hub_server import KEY, Hub, running

# The client library's own call of its HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

SCENARIOS = marketing.benchmark()[:12]
REPO = "org/router"
FILES = ("model.onnx", "tokenizer.json", "taxonomy.toml", "router.json", "README.md", "report.json")


@cache
def told() -> dict[str, Any]:
    report: dict[str, Any] = evaluate(Router.load(), SCENARIOS).to_dict()
    return report


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with running() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", KEY)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        # Other tests keep the library from the network; here the network is the test's own.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        # The other way of storing large files is a protocol of its own, which this hub does not speak.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        sleep = time.sleep
        monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
        yield found


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that may be published; not to be changed."""
    return save_pretrained(MODEL_FOLDER, tmp_path_factory.mktemp("complete"), model_card(MODEL_FOLDER, told()), told())


@pytest.fixture
def folder(complete: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    shutil.copytree(complete, tmp_path / "folder")
    return tmp_path / "folder"


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published was checked before, which other tests are about and which takes a second each time."""
    read = PublishedModel.read
    monkeypatch.setattr("memory_routing.hub._checked", lambda folder, base: (read(folder), dict.fromkeys(FILES, 1)))


def decisions(folder: Path | None) -> bytes:
    router = Router.load(folder)
    found = router.classify_batch([scenario.conversation for scenario in SCENARIOS])
    return json.dumps([decision.to_dict() for decision in found]).encode()


def test_round_trip(hub: Hub, complete: Path) -> None:
    address = publish(complete, REPO)
    assert address.startswith(f"{hub.url}/{REPO}/commit/")
    assert hub.files(REPO) == {name: (complete / name).read_bytes() for name in FILES}
    assert hub.private[REPO] is True
    found = fetch(REPO)
    assert sorted(path.name for path in found.iterdir()) == sorted(FILES)
    assert decisions(found) == decisions(None)


def test_a_published_folder_can_be_published_again(hub: Hub, complete: Path) -> None:
    publish(complete, REPO, private=False)
    assert hub.private[REPO] is False
    publish(fetch(REPO), "org/copy")
    assert hub.files("org/copy") == hub.files(REPO)


def test_a_new_version_replaces_the_old_and_both_can_be_fetched(hub: Hub, folder: Path) -> None:
    first = publish(folder, REPO).rpartition("/")[2]
    changed = json.loads((folder / "router.json").read_text()) | {"name": "second"}
    (folder / "router.json").write_text(json.dumps(changed))
    report = evaluate(Router.load(folder), SCENARIOS).to_dict()
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "README.md").write_text(model_card(folder, report))
    publish(folder, REPO)
    assert Router.load(fetch(REPO)).classify("ok thanks").router == "second"
    assert Router.load(fetch(REPO, first)).classify("ok thanks").router == "embedded"
    with pytest.raises(HubError, match="no such revision"):
        fetch(REPO, "v9")


@pytest.mark.usefixtures("checked")
def test_without_a_network_the_cache_serves(hub: Hub, complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(complete, REPO)
    online = fetch(REPO)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch(REPO) == online
    with pytest.raises(HubError, match="not in the cache"):
        fetch("org/never-fetched")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub.faults[r"GET /api/.*"] = 500
    assert fetch(REPO) == online


@pytest.mark.usefixtures("checked")
def test_only_the_files_of_a_model_come_and_go(hub: Hub, folder: Path) -> None:
    (folder / "private.txt").write_text("mine")
    publish(folder, REPO)
    assert set(hub.files(REPO)) == set(FILES)
    hub.files(REPO)["evil.py"] = b"raise SystemExit"
    hub.files(REPO)["pickle.bin"] = b"\x80"
    assert {path.name for path in fetch(REPO).iterdir()} == set(FILES)


@pytest.mark.usefixtures("checked")
def test_a_damaged_download_is_refused(hub: Hub, complete: Path) -> None:
    publish(complete, REPO)
    hub.files(REPO)["taxonomy.toml"] += b"\n# other\n"
    with pytest.raises(ModelError, match=r"taxonomy\.toml: damaged"):
        Router.load(fetch(REPO))


def refused(hub: Hub, folder: Path, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        publish(folder, REPO)
    assert hub.requests == []


def test_missing_weights_are_refused_before_anything_is_sent(hub: Hub, folder: Path) -> None:
    (folder / "model.onnx").unlink()
    refused(hub, folder, ModelError, r"model\.onnx: missing")


def test_damaged_weights_are_refused(hub: Hub, folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    refused(hub, folder, ModelError, r"model\.onnx: damaged")


@pytest.mark.parametrize("name", ["README.md", "report.json"])
def test_a_folder_that_is_not_complete_is_refused(hub: Hub, folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(hub, folder, HubError, f"{name}: missing")


def test_a_card_edited_to_a_better_number_is_refused(hub: Hub, folder: Path) -> None:
    card = (folder / "README.md").read_text()
    value = told()["summary"]["f1"]["value"]
    assert f"value: {value}" in card
    (folder / "README.md").write_text(card.replace(f"value: {value}", "value: 0.999"))
    refused(hub, folder, HubError, r"summary\.f1: the card says 0\.999")


def test_a_text_edited_to_a_better_number_is_refused(hub: Hub, folder: Path) -> None:
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("## Limits", "It reaches 0.99.\n\n## Limits"))
    refused(hub, folder, HubError, "the text below the front matter")


def test_card_and_report_edited_to_the_same_better_number_are_refused(hub: Hub, folder: Path) -> None:
    better = copy.deepcopy(told())
    better["summary"]["f1"]["value"] = 0.999
    (folder / "report.json").write_text(json.dumps(better))
    (folder / "README.md").write_text(model_card(folder, better))
    refused(hub, folder, HubError, r"the report is not of this model.*\n  summary\.f1\.value: the report says 0\.999")


def test_the_report_of_another_model_is_refused(hub: Hub, folder: Path) -> None:
    plain = json.loads((folder / "router.json").read_text())
    plain["rule"]["threshold"] = 0.999
    (folder / "router.json").write_text(json.dumps(plain))
    refused(hub, folder, HubError, "model: the card is of")
    (folder / "README.md").write_text(model_card(folder, told()))
    refused(hub, folder, HubError, "model: the card is of")
    # A report that does not say of which model it is gives itself away by its numbers.
    nameless = {**told(), "model": None}
    (folder / "README.md").write_text(model_card(folder, nameless))
    (folder / "report.json").write_text(json.dumps(nameless))
    refused(hub, folder, HubError, "the report is not of this model")


def test_what_is_no_report_is_refused(hub: Hub, folder: Path) -> None:
    (folder / "report.json").write_text("{}")
    refused(hub, folder, DatasetError, "expected a report")


def test_a_folder_is_not_written_with_a_card_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="front matter"):
        save_pretrained(MODEL_FOLDER, tmp_path / "out", "# My model\n", told())
    assert not (tmp_path / "out").exists()


def test_without_a_key_nothing_is_sent(hub: Hub, complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    refused(hub, complete, HubError, "set HF_TOKEN")


@pytest.mark.usefixtures("checked")
def test_a_wrong_key_is_said_and_not_shown(hub: Hub, complete: Path) -> None:
    with pytest.raises(HubError, match=r"401.*HF_TOKEN") as caught:
        publish(complete, REPO, "hf_wrongkey")
    assert "wrongkey" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert REPO not in hub.repos


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("key", ["hf_right key", "hf_right\nkey", "hf_ri\x00ghtkey", "hf_rightkéy"])
def test_what_can_be_no_key_is_not_sent_and_not_shown(hub: Hub, complete: Path, key: str) -> None:
    with pytest.raises(HubError, match="characters that no key has") as caught:
        publish(complete, REPO, key)
    assert "right" not in str(caught.value)
    assert hub.requests == []


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("key", ["", " ", "\n"])
def test_an_empty_key_is_none(hub: Hub, complete: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(complete, REPO, f" {KEY}\n", private=False)
    monkeypatch.setenv("HF_TOKEN", key)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nowhere")
    assert fetch(REPO).is_dir()
    with pytest.raises(HubError, match="set HF_TOKEN"):
        publish(complete, REPO)


@pytest.mark.usefixtures("checked")
def test_a_repository_of_something_else_is_not_written_over_unasked(hub: Hub, complete: Path) -> None:
    hub.repos[REPO] = {"0" * 40: {"README.md": b"a card of BERT", "pytorch_model.bin": b"x", ".gitattributes": b""}}
    with pytest.raises(HubError, match=r"holds something else \(README.md, pytorch_model.bin\).*--replace"):
        publish(complete, REPO)
    assert hub.files(REPO)["README.md"] == b"a card of BERT"
    publish(complete, REPO, replace=True)
    assert "router.json" in hub.files(REPO)
    # One that holds nothing yet, and one that holds such a model, are as good as new.
    hub.repos["org/empty"] = {"0" * 40: {".gitattributes": b""}}
    publish(complete, "org/empty")
    publish(complete, "org/empty")


@pytest.mark.parametrize("name", ["router", "a/b/c", "org/..", "", "org/na me", "/router"])
def test_a_name_without_an_organisation_creates_nothing(hub: Hub, complete: Path, name: str) -> None:
    with pytest.raises(HubError, match="organisation/name"):
        publish(complete, name)
    with pytest.raises(HubError, match="organisation/name"):
        check_repository(name)
    assert hub.requests == []


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(HubError, match="not empty"):
        save_pretrained(MODEL_FOLDER, tmp_path, model_card(MODEL_FOLDER, told()), told())
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.usefixtures("checked")
def test_a_damaged_cache_is_fetched_again(hub: Hub, complete: Path) -> None:
    publish(complete, REPO)
    found = fetch(REPO) / "taxonomy.toml"
    found.resolve().write_bytes(found.read_bytes()[:-5])
    with pytest.raises(ModelError, match="damaged"):
        Router.load(found.parent)
    assert Router.load(f"hub:{REPO}").classify("ok thanks") == Router.load().classify("ok thanks")


@pytest.mark.usefixtures("checked")
def test_what_is_no_model_is_named(hub: Hub) -> None:
    hub.repos["org/bert"] = {"0" * 40: {"README.md": b"BERT", "config.json": b"{}"}}
    with pytest.raises(ModelError, match=r"org/bert: it holds no model that can be loaded"):
        Router.load("hub:org/bert")
    with pytest.raises(ModelError, match="hub:organisation/name"):
        Router.load("org/bert")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    here = list(inside)
    for key, item in here:
        yield from leaves(item, (*path, key))
    if not here:
        yield path


TAKEN_AS_THEY_ARE = {"timing", "leakage", "failures", "reliability", "model"}


@settings(max_examples=80)
@given(st.data())
def test_any_part_of_a_report_that_is_changed_is_found(data: st.DataObject) -> None:
    places = [
        path for path in leaves(told()) if path[0] not in TAKEN_AS_THEY_ARE and not {"decision", *UNSTABLE} & {*path}
    ]
    path = data.draw(st.sampled_from(places))
    other = copy.deepcopy(told())
    at = other
    for key in path[:-1]:
        at = at[key]
    before = at[path[-1]]
    if data.draw(st.booleans()) and isinstance(at, dict):
        del at[path[-1]]
        changed = before is not None
    else:
        at[path[-1]] = not before if isinstance(before, bool) else before + 0.001 if isinstance(before, float) else "x"
        changed = True
    assert bool(list(_apart(_comparable(other), _comparable(told())))) is changed


@pytest.mark.parametrize("name", UNSTABLE)
def test_what_hangs_on_the_machine_may_differ_a_little(name: str) -> None:
    other = copy.deepcopy(told())
    other["summary"][name]["value"] -= 0.01
    assert list(_apart(_comparable(other), _comparable(told()))) == []
    other["summary"][name]["value"] -= 0.02
    (difference,) = _apart(_comparable(other), _comparable(told()))
    assert difference.startswith(f"summary.{name}.value: the report says")


def test_a_report_with_labels_that_are_none_is_named(hub: Hub, folder: Path) -> None:
    other = copy.deepcopy(told())
    other["results"][3]["accepted"] = [["company.wisdom"]]
    (folder / "report.json").write_text(json.dumps(other))
    (folder / "README.md").write_text(model_card(folder, other))
    refused(hub, folder, DatasetError, r"report\.json: result 3: .*company\.wisdom")


def test_the_command_compares_with_another_report(hub: Hub, report: Path, tmp_path: Path) -> None:
    other = evaluate(_Silent(), SCENARIOS).to_dict()
    (tmp_path / "silent.json").write_text(json.dumps(other))
    line = ["publish", str(MODEL_FOLDER), "--to", REPO, "--report", str(report), "--dry-run"]
    line += ["--against", str(tmp_path / "silent.json"), "--out", str(tmp_path / "kept"), "--authors", "Acme"]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    card = (tmp_path / "kept/README.md").read_text()
    assert "Against others on the same scenarios" in card
    assert "silent" in card
    assert 'Router.load("hub:org/router")' in card
    (tmp_path / "silent.json").write_text(json.dumps({**other, "results": other["results"][1:]}))
    failed = CliRunner().invoke(app, line[:-4])
    assert failed.exit_code == 2
    assert "silent.json" in failed.stderr


class _Silent(Router):
    taxonomy = MARKETING

    def classify_batch(self, conversations: Sequence[ConversationLike]) -> list[Decision]:
        return [Decision(MARKETING, (), router="silent") for _ in conversations]


@pytest.mark.parametrize("key", [KEY, None])
def test_a_missing_repository_is_said(hub: Hub, key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if key is None:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nowhere")
    with pytest.raises(HubError, match="no such repository"):
        fetch("org/missing")


@pytest.mark.usefixtures("checked")
def test_a_name_that_is_none(hub: Hub, complete: Path) -> None:
    for name in ("a/b/c", "org/..", ""):
        with pytest.raises(HubError):
            fetch(name)
    assert hub.repos == {}


FAULTS = {
    "server error at the large file": (r"PUT /storage/.*", 500),
    "connection cut at the large file": (r"PUT /storage/.*", None),
    "server error at the commit": (r"POST /api/models/.*/commit/.*", 500),
    "connection cut at the commit": (r"POST /api/models/.*/commit/.*", None),
    "refused": (r"POST /api/models/.*/preupload/.*", 403),
    "server error at the start": (r"POST /api/repos/create", 503),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("checked")
def test_an_interrupted_upload_leaves_nothing_half(hub: Hub, complete: Path, fault: str) -> None:
    pattern, status = FAULTS[fault]
    before = {"README.md": b"before", "router.json": b"{}"}
    hub.repos[REPO] = {"0" * 40: before}
    hub.faults[pattern] = status
    said = r"403.*make a key" if status == 403 else "published whole or not at all; try again"
    with pytest.raises(HubError, match=said) as caught:
        publish(complete, REPO)
    assert hub.files(REPO) == before
    assert KEY not in str(caught.value)
    hub.faults.clear()
    publish(complete, REPO)
    assert set(hub.files(REPO)) == set(FILES)


@pytest.mark.parametrize("status", [500, None])
@pytest.mark.usefixtures("checked")
def test_an_interrupted_download_goes_on_the_next_time(hub: Hub, complete: Path, status: int | None) -> None:
    publish(complete, REPO)
    hub.faults[r"GET /.*/model\.onnx"] = status
    with pytest.raises(HubError, match="again"):
        fetch(REPO)
    hub.faults.clear()
    assert decisions(fetch(REPO)) == decisions(None)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(told()))
    return path


def test_the_command_checks_and_sends_nothing_on_a_dry_run(
    hub: Hub, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    kept = tmp_path / "kept"
    line = ["publish", str(MODEL_FOLDER), "--to", REPO, "--report", str(report), "--dry-run", "--out", str(kept)]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["files"]) == set(FILES)
    assert hub.requests == []
    assert check_publishable(kept)["model.onnx"] > 1_000_000
    again = CliRunner().invoke(app, line)
    assert again.exit_code == 2
    assert "not empty" in again.stderr


def test_the_command_refuses_what_is_not_the_models(hub: Hub, report: Path) -> None:
    better = copy.deepcopy(told())
    better["summary"]["exact"]["value"] = 1.0
    report.write_text(json.dumps(better))
    done = CliRunner().invoke(app, ["publish", str(MODEL_FOLDER), "--to", REPO, "--report", str(report)])
    assert isinstance(done.exception, HubError)
    assert "summary.exact" in str(done.exception)
    assert hub.requests == []


def test_the_command_publishes_and_the_model_is_loaded_by_its_name(hub: Hub, report: Path, tmp_path: Path) -> None:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
        known |= {"HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        known |= environment
        line = [sys.executable, "-m", "memory_routing", *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=False, env=known)

    line = ("publish", str(MODEL_FOLDER), "--to", REPO, "--report", str(report), "--public")
    shown = run(*line, HF_TOKEN=KEY)
    assert shown.returncode == 2
    assert "12 conversations in full" in shown.stderr
    assert hub.requests == []
    wrong = run(*line, "--with-conversations", HF_TOKEN="hf_wrongkey")
    assert wrong.returncode == 2
    assert "HF_TOKEN" in wrong.stderr
    assert "wrongkey" not in wrong.stderr + wrong.stdout
    assert "Traceback" not in wrong.stderr
    # A mounted secret often ends in a line end.
    done = run(*line, "--with-conversations", HF_TOKEN=f"{KEY}\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commit"].startswith(hub.url)
    assert hub.private[REPO] is False
    loaded = run("classify", "We never discount.", "--model", f"hub:{REPO}")
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout) == Router.load().classify("We never discount.").to_dict()
    # The hub is told who asks, and nothing of the machine.
    agents = {headers.get("user-agent", "") for headers in hub.headers} - {""}
    assert any(agent.startswith("memory-routing/") for agent in agents)
    assert not any("torch" in agent or "agent/" in agent for agent in agents)
    # The storage's address is signed: it gets no key.
    asked = zip(hub.requests, hub.headers, strict=True)
    assert [headers.get("authorization") for request, headers in asked if "PUT" in request] == [None]


@pytest.mark.usefixtures("checked")
def test_router_load_takes_the_name(hub: Hub, complete: Path) -> None:
    publish(complete, REPO)
    commit = list(hub.repos[REPO])[-1]
    for name in (f"hub:{REPO}", Path(f"hub:{REPO}"), f"hub:{REPO}@{commit}"):
        assert Router.load(name).classify("ok thanks") == Router.load().classify("ok thanks")
