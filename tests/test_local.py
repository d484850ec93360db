"""Training on this machine: it learns, it can be killed, and what is served is what was trained."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")

from safetensors.torch import load_file

from memory_routing import Dataset, Router, TrainingError, evaluate
from memory_routing.conversation import Conversation
from memory_routing.embedded.encoding import ConversationEncoder
from memory_routing.embedded.runtime import Graph
from memory_routing.embedded.scoring import score
from memory_routing.example import Scenario
from memory_routing.local import LocalConfig, LocalTrainer
from memory_routing.local.batches import collate, encode, mask_words
from memory_routing.local.encoder import Encoder, Pretrained
from memory_routing.local.export import export_graph
from memory_routing.local.fitting import calibrate
from memory_routing.local.model import TurnModel, conversation_logits
from memory_routing.local.quantise import quantised
from memory_routing.local.state import save_state
from memory_routing.local.trainer import _tokenizer

from . import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")

# Nothing is masked: in the small data one word is the whole truth.
CONFIG = LocalConfig(
    epochs=2,
    members=2,
    batch=8,
    learning_rate=3e-3,
    head_learning_rate=3e-2,
    layer_decay=1.0,
    average=0.9,
    masking=0.0,
    window=48,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    # On a busy machine small operations wait far longer for a second thread than they take.
    torch.set_num_threads(1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pretrained, "read", classmethod(lambda cls, folder=None: tiny.pretrained()))


def network(seed: int = 0) -> tuple[TurnModel, ConversationEncoder]:
    base = tiny.pretrained()
    torch.manual_seed(seed)
    model = TurnModel(Encoder(base, 0.1), len(tiny.TAXONOMY), 0.1).eval()
    torch.nn.init.normal_(model.value.weight, std=0.3)
    torch.nn.init.normal_(model.attention.weight, std=0.3)
    return model, ConversationEncoder(_tokenizer(base), 24)


def folder_bytes(folder: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


def scenarios(data: Dataset) -> list[Scenario]:
    return [Scenario(e.conversation, (e.labels,), e.id, e.annotation.evidence) for e in data]


def test_it_learns_and_serves_what_it_learned(small: None, tmp_path: Path) -> None:
    train, validation, test = tiny.dataset(400, 1), tiny.dataset(100, 2), tiny.dataset(200, 3)
    checkpoint = LocalTrainer(attrs.evolve(CONFIG, epochs=5)).fit(train, validation, tmp_path)
    router = Router.load(checkpoint.weights)
    report = evaluate(router, scenarios(test))
    assert report.summary["f1"].value > 0.95
    assert report.summary["evidence_f1"].value > 0.9
    assert report.categories["none"].recall.value > 0.9
    first, *rows = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert set(first) == {"step", "data/train", "data/validation"}
    losses = [row["train_loss"] for row in rows]
    assert losses[-1] < 0.4 * losses[0]
    assert checkpoint.metrics["f1"] > 0.95
    registry = json.loads((tmp_path / "checkpoints.jsonl").read_text())
    assert registry["dataset_hash"] == checkpoint.dataset_hash == train.hash
    assert registry["weights"] == checkpoint.weights
    assert json.loads((tmp_path / "config.json").read_text())["members"] == CONFIG.members


def test_the_same_run_gives_the_same_bytes_and_another_seed_others(small: None, tmp_path: Path) -> None:
    train, validation = tiny.dataset(64, 1), tiny.dataset(30, 2)

    def run(name: str, seed: int) -> dict[str, bytes]:
        config = LocalConfig(epochs=1, members=2, batch=8, window=48, seed=seed)
        return folder_bytes(LocalTrainer(config).fit(train, validation, tmp_path / name).weights)

    first = run("a", 0)
    assert run("b", 0) == first
    assert run("c", 1)["model.onnx"] != first["model.onnx"]


def test_what_is_exported_is_the_mean_of_the_members(small: None, tmp_path: Path) -> None:
    train, validation = tiny.dataset(64, 1), tiny.dataset(30, 2)

    def weights(members: int, part: str) -> dict[str, Any]:
        config = attrs.evolve(CONFIG, epochs=1, members=members)
        folder = tmp_path / str(members)
        if not folder.exists():
            LocalTrainer(config).fit(train, validation, folder)
        state = load_file(folder / "state.safetensors")
        return {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}

    first, second, mean = weights(1, "average/"), weights(2, "average/"), weights(2, "mean/")
    torch.testing.assert_close(weights(1, "mean/"), first)
    assert any((first[name] - second[name]).abs().max() > 1e-4 for name in first)
    torch.testing.assert_close(mean, {name: (first[name] + second[name]) / 2 for name in first})


class KilledError(Exception):
    pass


@pytest.mark.parametrize("epoch", range(CONFIG.members * CONFIG.epochs))
@pytest.mark.parametrize("place", ["before the state is kept", "after the state is kept"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, place: str
) -> None:
    train, validation = tiny.dataset(64, 1), tiny.dataset(30, 2)
    whole = LocalTrainer(CONFIG).fit(train, validation, tmp_path / "whole")

    def dies(path: Path, *rest: Any) -> None:
        if place.startswith("after"):
            save_state(path, *rest)
        if rest[-1] == epoch + 1:
            raise KilledError
        save_state(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("memory_routing.local.trainer.save_state", dies)
        with pytest.raises(KilledError):
            LocalTrainer(CONFIG).fit(train, validation, tmp_path / "cut")
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10000, "half a li')
    again = LocalTrainer(CONFIG).fit(train, validation, tmp_path / "cut")
    assert folder_bytes(again.weights) == folder_bytes(whole.weights)
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


KILLABLE = """
import sys
import torch
from pathlib import Path
from memory_routing.local import LocalConfig, LocalTrainer
from memory_routing.local.encoder import Pretrained
from tests import tiny
Pretrained.read = classmethod(lambda cls, folder=None: tiny.pretrained())
torch.set_num_threads(1)
config = LocalConfig(epochs=2, members=2, batch=8, window=48)
print(LocalTrainer(config).fit(tiny.dataset(200, 1), tiny.dataset(30, 2), Path(sys.argv[1])).weights)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_run_that_was_really_killed_goes_on(tmp_path: Path, rows: int) -> None:
    root = Path(__file__).parents[1]

    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLABLE, str(tmp_path / name)]
        return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    whole = start("whole").communicate()[0].strip()
    process = start("cut")
    metrics = tmp_path / "cut" / "metrics.jsonl"
    while process.poll() is None and (not metrics.exists() or len(metrics.read_bytes().splitlines()) < rows):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    again = start("cut").communicate()[0].strip()
    assert folder_bytes(again) == folder_bytes(whole)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_torch_and_numpy_pool_alike_alone_and_padded(seed: int, size: int) -> None:
    model, windows = network(seed)
    data = tiny.dataset(size, seed)
    batch = collate([encode(example, windows) for example in data])
    with torch.no_grad():
        turns = model(batch)
        conversations = conversation_logits(turns)
    graph = Graph(export_graph(model).SerializeToString())
    for i, example in enumerate(data):
        parts = windows.windows(example.conversation)
        logits = score(parts, [graph(w.ids) for w in parts], [not t.is_context for t in example.conversation.turns])
        n = len(example.conversation)
        seen = np.isfinite(logits.turns)
        np.testing.assert_allclose(turns[i, :n].numpy()[seen], logits.turns[seen], atol=1e-4)
        if len(parts) == 1 and seen.any():
            np.testing.assert_allclose(conversations[i].numpy(), logits.conversation, atol=1e-4)


@given(st.integers(0, 10_000), st.floats(0, 0.9))
def test_masking_hides_words_alone(seed: int, share: float) -> None:
    _, windows = network()
    batch = collate([encode(example, windows) for example in tiny.dataset(20, seed)])
    kept = torch.tensor([0, 1, 2, 3])
    torch.manual_seed(seed)
    masked = mask_words(batch, share, 4, kept)
    changed = masked.ids != batch.ids
    assert (masked.ids[changed] == 4).all()
    assert not torch.isin(batch.ids[changed], kept).any()
    words = int((~torch.isin(batch.ids, kept)).sum())
    assert abs(int(changed.sum()) - share * words) < 6 * (words / 4) ** 0.5


def test_quantisation_keeps_the_outputs_near() -> None:
    model, windows = network()
    exported = export_graph(model)
    parts = [w for e in tiny.dataset(40, 5) for w in windows.windows(e.conversation)]
    full, small = Graph(exported.SerializeToString()), Graph(quantised(exported, parts[:10]))
    a, b = (np.concatenate([graph(w.ids) for w in parts]) for graph in (full, small))
    assert np.abs(a - b).std() < 0.05 * a.std()


def test_the_encoder_is_the_published_one() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    base = tiny.pretrained()
    config = transformers.BertConfig(
        vocab_size=len(base.vocabulary),
        hidden_size=tiny.WIDTH,
        num_hidden_layers=tiny.LAYERS,
        num_attention_heads=tiny.HEADS,
        intermediate_size=tiny.INNER,
        max_position_embeddings=128,
    )
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    theirs.load_state_dict(base.weights)
    ids = torch.randint(0, len(base.vocabulary), (3, 20))
    mask = torch.arange(20)[None] < torch.tensor([20, 7, 1])[:, None]
    with torch.no_grad():
        ours = Encoder(base, 0.0).eval()(ids, mask)
        reference = theirs(ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours[mask], reference[mask], atol=1e-5, rtol=1e-5)


@given(st.floats(0.3, 3), st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.integers(0, 100))
@settings(max_examples=20)
def test_calibration_finds_what_made_the_labels(scale: float, offsets: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(4000, 3))
    chance = 1 / (1 + np.exp(-(scale * logits + np.array(offsets))))
    found = calibrate(logits, rng.random(chance.shape) < chance)
    np.testing.assert_allclose(found.scale, scale, rtol=0.15)
    np.testing.assert_allclose(found.offset, offsets, atol=0.4)


def bare(data: Dataset) -> Dataset:
    import attrs

    annotation = attrs.evolve(data[0].annotation, evidence=None)
    return Dataset(data.taxonomy, (attrs.evolve(data[0], annotation=annotation), *data.examples[1:]))


def test_what_cannot_be_trained_is_said_before_it_starts(small: None, tmp_path: Path) -> None:
    train, validation = tiny.dataset(16, 1), tiny.dataset(8, 2)
    trainer = LocalTrainer(LocalConfig(epochs=1, members=1, batch=8, window=48))
    with pytest.raises(TrainingError, match="1 training examples have no evidence turns, the first is 1-0"):
        trainer.fit(bare(train), validation, tmp_path / "a")
    with pytest.raises(TrainingError, match="the validation dataset is empty"):
        trainer.fit(train, validation[:0], tmp_path / "a")
    assert not (tmp_path / "a").exists()
    trainer.fit(train, validation, tmp_path / "b")
    with pytest.raises(TrainingError, match="holds a run with another epochs, train: name another folder"):
        LocalTrainer(LocalConfig(epochs=2, members=1, batch=8, window=48)).fit(train[:8], validation, tmp_path / "b")
    (tmp_path / "b" / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(TrainingError, match=r"state\.safetensors: damaged"):
        trainer.fit(train, validation, tmp_path / "b")


@pytest.mark.parametrize("change", [{"epochs": 0}, {"dropout": 1.0}, {"window": 600}, {"learning_rate": 0.0}])
def test_settings_out_of_range_are_refused(change: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        LocalConfig(**change)


def test_another_encoder_is_refused_by_hash(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not the encoder sentence-transformers/all-MiniLM-L6-v2"):
        Pretrained.read(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {}}}')
    with pytest.raises(TrainingError, match=r"model\.safetensors: SHA-256 is 2d711642b726b044"):
        Pretrained.read(tmp_path)


def test_a_diverging_run_says_so(small: None, tmp_path: Path) -> None:
    config = LocalConfig(epochs=1, batch=8, window=48, learning_rate=1e30, head_learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf); lower the learning rate"):
        LocalTrainer(config).fit(tiny.dataset(64, 1), tiny.dataset(8, 2), tmp_path)


@pytest.mark.slow
def test_the_real_encoder_trains(tmp_path: Path) -> None:
    try:
        Pretrained.read()
    except TrainingError as reason:
        pytest.skip(str(reason))
    from memory_routing import marketing

    config = LocalConfig(epochs=1, members=1, learning_rate=3e-4, average=0.5)
    train, validation = marketing.dataset("train")[:160], marketing.dataset("validation")[:40]
    checkpoint = LocalTrainer(config).fit(train, validation, tmp_path)
    losses = [json.loads(line)["train_loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()[1:]]
    assert losses[-1] < 0.8  # of 0.73 · 1.5 at the start
    decision = Router.load(checkpoint.weights).classify(Conversation.of("We never discount."))
    assert decision.scores is not None
