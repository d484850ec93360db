"""Exported models on one's own hardware: what is decoded is always a label set, and the logprobs are the service's."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tinker_cookbook", reason="the extra 'transformers' is not installed")
pytest.importorskip("peft", reason="the extra 'transformers' is not installed")
pytest.importorskip("fastapi", reason="the extra 'server' is not installed")

import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from memory_routing import (
    MARKETING,
    Category,
    Checkpoint,
    ConversationError,
    Horizon,
    LabelSet,
    ModelError,
    Router,
    RouterError,
    SamplerWeights,
    Taxonomy,
    TrainingError,
    TrainingState,
    evaluate,
)
from memory_routing.cli import app
from memory_routing.example import Scenario
from memory_routing.runs import read_rows
from memory_routing.selection import best_supervised
from memory_routing.tinker import CookbookRenderer, TinkerRouter, TinkerTrainer
from memory_routing.tinker.service import Service
from memory_routing.transformers import Exported, TransformersRouter, export
from memory_routing.transformers.grammar import AnswerGrammar

from . import tiny, tiny_llama
from .hub_server import KEY, running
from .strategies import label_sets
from .test_tinker import LEARNING

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
]

# One name is the beginning of another.
NESTED = Taxonomy(
    "nested", "1", tuple(Category(name, name, Horizon.LONG) for name in ("a.b", "a.bc", "a.b_d", "nones.x", "z.none"))
)
names = st.sampled_from(["role_colon", "llama3"])


@functools.cache
def grammar(name: str, taxonomy: Taxonomy = MARKETING) -> tuple[CookbookRenderer, AnswerGrammar]:
    renderer = CookbookRenderer(taxonomy, tiny_llama.tokenizer(), name)
    return renderer, AnswerGrammar(renderer)


@settings(max_examples=50)
@given(names, st.sampled_from([MARKETING, NESTED]), st.randoms(use_true_random=False))
def test_whatever_is_chosen_among_the_allowed_is_a_label_set(name: str, taxonomy: Taxonomy, random: object) -> None:
    renderer, allowed = grammar(name, taxonomy)
    text = ""
    tokens: list[int] = []
    while True:
        token, piece = random.choice(allowed.next(text))  # type: ignore[attr-defined]
        text, tokens = text + piece, [*tokens, token]
        answer = allowed.read(text)
        if answer is not None and (not piece or allowed.stops_by_text):
            break
        assert len(tokens) < 200
    assert isinstance(answer, LabelSet)
    said = text if not allowed.stops_by_text else text.rstrip("\n")
    assert renderer.taxonomy.read(said) == answer


@settings(max_examples=50)
@given(names, label_sets())
def test_every_answer_that_is_trained_on_is_allowed(name: str, labels: LabelSet) -> None:
    renderer, allowed = grammar(name)
    text = ""
    for token in renderer.target(labels):
        choices = dict(allowed.next(text))
        assert token in choices
        text += choices[token]
        if allowed.read(text) is not None and (not choices[token] or allowed.stops_by_text):
            break
    assert allowed.read(text) == labels


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "run"


@pytest.fixture(scope="module")
def trained(llama: Path, service: str, run: Path) -> Checkpoint:
    assert LEARNING.rl is not None
    config = attrs.evolve(LEARNING, validation=20, rl=None)
    trainer = TinkerTrainer(config, base_url=service, tokenizer=llama, timeout=60)
    return trainer.fit(tiny.dataset(2000, 1), tiny.dataset(100, 2), run)


@pytest.fixture(scope="module")
def exported(trained: Checkpoint, llama: Path, service: str, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    out = tmp_path_factory.mktemp("export") / "model"
    return export(trained, tiny.TAXONOMY, out, base=llama, base_url=service, timeout=60)


@pytest.fixture
def remote(trained: Checkpoint, llama: Path, service: str) -> Iterator[TinkerRouter]:
    router = TinkerRouter(trained, tiny.TAXONOMY, tokenizer=llama, scores=True, base_url=service, timeout=60)
    yield router
    router.close()


def conversations(n: int) -> list[Scenario]:
    return [Scenario(e.conversation, (e.labels,), e.id) for e in tiny.dataset(n, 5)]


def test_the_merged_model_and_the_adapter_give_the_services_logprobs(
    trained: Checkpoint, exported: Exported, llama: Path, service: str
) -> None:
    renderer = CookbookRenderer(tiny.TAXONOMY, tiny_llama.tokenizer(), trained.renderer)
    sequences = [[*renderer.prompt(e.conversation), *renderer.target(e.labels)] for e in tiny.dataset(8, 4)]
    connection = Service(service, timeout=60)
    by_service = connection.sampler(weights=trained.weights).logprobs(sequences)
    connection.close(finished=True)
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), exported.adapter)
    for model in (AutoModelForCausalLM.from_pretrained(exported.merged), adapted):
        model.eval()
        for sequence, theirs in zip(sequences, by_service, strict=True):
            with torch.inference_mode():
                logprobs = torch.log_softmax(model(torch.tensor([sequence])).logits[0, :-1], -1)
            ours = logprobs.gather(-1, torch.tensor(sequence[1:])[:, None])[:, 0]
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def test_merged_adapter_and_service_route_alike(exported: Exported, remote: TinkerRouter, llama: Path) -> None:
    scenarios = conversations(40)
    texts = [scenario.conversation for scenario in scenarios]
    by_service = remote.classify_batch(texts)
    for router in (TransformersRouter(exported.merged), TransformersRouter(exported.adapter, base=llama)):
        assert router.taxonomy == tiny.TAXONOMY
        decisions = router.classify_batch(texts)
        assert all(decision.malformed is None for decision in decisions)
        for ours, theirs in zip(decisions, by_service, strict=True):
            if theirs.malformed is None:
                assert ours.categories == theirs.categories
                assert ours.scores == pytest.approx(dict(theirs.scores or {}), abs=1e-3)
    assert evaluate(router, scenarios).summary["f1"].value > 0.6


def test_decisions_do_not_depend_on_the_batch(exported: Exported, remote: TinkerRouter) -> None:
    texts = [scenario.conversation for scenario in conversations(6)]
    for router in (TransformersRouter(exported.merged), remote):
        together = router.classify_batch(texts)
        assert together == [router.classify(text) for text in texts]
        assert together == router.classify_batch(texts[::-1])[::-1]
        assert router.classify_batch([]) == []


def test_even_an_untrained_model_answers_with_label_sets(exported: Exported, tmp_path: Path, llama: Path) -> None:
    random = tiny_llama.write(tmp_path / "random")
    shutil.copy(exported.merged / "taxonomy.toml", random)
    # As exports of earlier versions are, which name no files.
    manifest = json.loads((exported.merged / "memory_routing.json").read_text()) | {"files": {}}
    (random / "memory_routing.json").write_text(json.dumps(manifest))
    router = TransformersRouter(random)
    for decision in router.classify_batch([scenario.conversation for scenario in conversations(10)]):
        assert decision.malformed is None
        assert decision.scores is not None
        assert all(0 <= score <= 1 for score in decision.scores.values())
        assert decision.usage is not None
        assert decision.usage.output_tokens >= 1


def test_it_works_where_a_loop_runs_already(remote: TinkerRouter) -> None:
    async def notebook() -> tuple[str, str]:
        return str(remote.classify("some frost again")), str(await remote.aclassify("some frost again"))

    at_once, awaited = asyncio.run(notebook())
    assert at_once == awaited


def test_without_scores_there_are_none(exported: Exported, trained: Checkpoint, llama: Path, service: str) -> None:
    local = TransformersRouter(exported.merged, scores=False)
    remote = TinkerRouter(trained, tiny.TAXONOMY, tokenizer=llama, base_url=service, timeout=60)
    for router in (local, remote):
        decision = router.classify("there was some frost again")
        assert decision.scores is None
        assert all(label.score is None for label in decision.labels)
    remote.close()


def test_a_base_model_routes_too_and_its_cut_answers_are_flagged(llama: Path, service: str) -> None:
    router = TinkerRouter(
        tiny_llama.NAME,
        tiny.TAXONOMY,
        renderer="role_colon",
        tokenizer=llama,
        base_url=service,
        max_tokens=1,
        timeout=60,
    )
    decision = router.classify("there was some frost again")
    router.close()
    assert decision.malformed is not None
    assert decision.malformed.reason == "cut by length"
    assert not decision.store


def test_bad_input_is_refused_before_anything_is_sent(exported: Exported, remote: TinkerRouter) -> None:
    for router in (TransformersRouter(exported.merged), remote):
        with pytest.raises(ConversationError, match=r"conversation 1: \d+ tokens .* more than the 4096"):
            router.classify_batch(["short", "frost " * 5000])
        with pytest.raises(TypeError, match="a single one"):
            router.classify_batch("short")


def test_what_does_not_fit_the_checkpoint_is_refused(
    trained: Checkpoint, llama: Path, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="another taxonomy than marketing"):
        TinkerRouter(trained, MARKETING, tokenizer=llama, base_url=service)
    with pytest.raises(ModelError, match="the renderer role_colon, not with llama3"):
        TinkerRouter(trained, tiny.TAXONOMY, renderer="llama3", tokenizer=llama, base_url=service)
    with pytest.raises(TrainingError, match="another taxonomy than marketing"):
        export(trained, MARKETING, tmp_path / "x", base=llama, base_url=service)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(TrainingError, match="is not empty"):
        export(trained, tiny.TAXONOMY, tmp_path / "full", base=llama, base_url=service)
    homeless = attrs.evolve(trained, base_model="no/such-model")
    with pytest.raises(TrainingError, match=r"no tokenizer for no/such-model: .* \(base\)"):
        export(homeless, tiny.TAXONOMY, tmp_path / "y", base_url=service)
    with monkeypatch.context() as patch:
        # The function of the same name hides the module in its package.
        patch.setattr(sys.modules["memory_routing.transformers.export"], "load_tokenizer", lambda _: None)
        with pytest.raises(TrainingError, match=r"no/such-model cannot be loaded: .* folder \(base\)"):
            export(homeless, tiny.TAXONOMY, tmp_path / "y", base_url=service)
    gone = attrs.evolve(
        trained, state=TrainingState(trained.state[:-4] + "none"), weights=SamplerWeights(trained.weights[:-4] + "none")
    )
    with pytest.raises(TrainingError, match=r"exporting tinker://"):
        export(gone, tiny.TAXONOMY, tmp_path / "gone", base=llama, base_url=service, timeout=60)
    assert not (tmp_path / "gone").exists()
    with pytest.raises(RouterError, match=r"tinker://"):
        TinkerRouter(gone, tiny.TAXONOMY, tokenizer=llama, base_url=service, timeout=60)


def test_a_card_of_an_export_has_the_stages_of_its_run(
    exported: Exported, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")
    pytest.importorskip("jinja2", reason="the extra 'hub' is not installed")
    from memory_routing.card import CardDetails, model_card
    from memory_routing.hub import check_publishable, fetch, publish, save_pretrained

    report = evaluate(TransformersRouter(exported.merged), conversations(8))
    card = model_card(exported.merged, report, run, details=CardDetails(repository="org/language"))
    (last,) = [
        row for row in read_rows(run) if row.get("phase") == "sft" and row.get("step") == 0 and "validation/f1" in row
    ]
    rows = {line.split("|")[1].strip(): line for line in card.splitlines() if line.count("|") > 3}
    assert f"{last['validation/f1']:.3f}" in rows["base"]
    found = Checkpoint.read_all(run)
    assert f"{best_supervised(found).metrics['f1']:.3f}" in rows["SFT (this model)"]
    assert "n = 20, which chose the settings" in card
    assert 'TransformersRouter(fetch("org/language"))' in card
    assert "ONNX" not in card
    folder = save_pretrained(exported.merged, tmp_path / "complete", card, report)
    sizes = check_publishable(folder)
    assert {"model.safetensors", "config.json", "tokenizer.json", "memory_routing.json", "README.md"} <= set(sizes)
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        import huggingface_hub

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        publish(folder, "org/language", KEY, private=False)
        assert set(hub.files("org/language")) == set(sizes)
        # Where the model was exported from is nobody's business.
        text = b"".join(data for name, data in hub.files("org/language").items() if name.endswith(".json"))
        assert b"/tmp" not in text
        router = TransformersRouter(fetch("org/language"))
        with pytest.raises(ModelError, match="TransformersRouter loads"):
            Router.load("hub:org/language")
    again = evaluate(router, conversations(8))
    assert [r.predicted for r in again.results] == [r.predicted for r in report.results]
    assert again.model == report.model


def test_the_commands_take_an_export_as_a_model(exported: Exported, tmp_path: Path) -> None:
    rows = [
        {"id": s.id, "conversation": s.conversation.to_dicts(), "expected": list(s.gold) or ["none"]}
        for s in conversations(5)
    ]
    (tmp_path / "scenarios.json").write_text(json.dumps(rows))
    line = ["benchmark", str(tmp_path / "scenarios.json"), "--model", str(exported.merged)]
    done = CliRunner().invoke(app, [*line, "--out", str(tmp_path / "report.json")])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["router"], len(report["results"])) == ("transformers", 5)
    said = CliRunner().invoke(app, ["classify", "some frost again", "--model", str(exported.merged)])
    assert json.loads(said.stdout) == TransformersRouter(exported.merged).classify("some frost again").to_dict()


def test_an_adapter_is_published_without_the_place_of_its_base(exported: Exported) -> None:
    told = json.loads((exported.adapter / "adapter_config.json").read_text())
    assert (
        told["base_model_name_or_path"]
        == json.loads((exported.adapter / "memory_routing.json").read_text())["base_model"]
    )


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "taxonomy.toml"])
def test_a_damaged_export_is_refused(exported: Exported, tmp_path: Path, name: str) -> None:
    shutil.copytree(exported.merged, tmp_path / "model")
    with (tmp_path / "model" / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ModelError, match=f"{name}: damaged"):
        TransformersRouter(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(ModelError, match=f"{name}.* missing"):
        TransformersRouter(tmp_path / "model")


def test_a_folder_that_is_no_export_is_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="memory-routing export makes such folders"):
        TransformersRouter(tmp_path)
    manifest = json.loads((exported.merged / "memory_routing.json").read_text())
    (tmp_path / "taxonomy.toml").write_bytes((exported.merged / "taxonomy.toml").read_bytes())
    (tmp_path / "memory_routing.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(ModelError, match="has format 2; this version reads 1"):
        TransformersRouter(tmp_path)
    (tmp_path / "memory_routing.json").write_text(json.dumps({**manifest, "taxonomy_hash": "0"}))
    with pytest.raises(ModelError, match="is not the taxonomy"):
        TransformersRouter(tmp_path)
    (tmp_path / "memory_routing.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        TransformersRouter(tmp_path)
    (tmp_path / "memory_routing.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=str(tmp_path)):
        TransformersRouter(tmp_path)
