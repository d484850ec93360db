"""Checkpoints of the local Tinker service, through restarts, exports and the cookbook's own loops."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tinker = pytest.importorskip("tinker", reason="the extra 'server' is not installed")
for package in ("fastapi", "peft", "transformers"):
    pytest.importorskip(package, reason="the extra 'server' is not installed")

import torch
from tinker import types

from memory_routing import cli
from memory_routing.server.checkpoints import Store

from . import tiny_llama
from .service import KEY, WAIT, connected, running, sweep, threaded
from .test_server import (
    NAME,
    PROMPT,
    draw,
    forward,
    learn,
    refused,
    result,
    same,
    supervised,
    tokens,
    trainer,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    # The cookbook calls what the SDK deprecates.
    pytest.mark.filterwarnings("ignore:DEPRECATED:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Using the future as:FutureWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    sweep()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.write(tmp_path_factory.mktemp("model"))


@pytest.fixture
def url(folder: Path, tmp_path: Path) -> Iterator[str]:
    with threaded(NAME, folder, tmp_path / "store") as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with connected(url) as found:
        yield found


@pytest.fixture
def rest(url: str) -> Any:
    return tinker.RestClient(base_url=url, api_key=KEY)


def saved(model: Any, name: str = "state", **options: Any) -> str:
    return str(result(model.save_state(name, **options)).path)


def resumed(client: Any, path: str) -> Any:
    return result(client.create_training_client_from_state_with_optimizer(path))


def restarted(client: Any, path: str) -> Any:
    return result(client.create_training_client_from_state(path))


def test_a_resumed_trainer_goes_on_bit_by_bit(client: Any) -> None:
    whole = trainer(client)
    learn(whole, [supervised()], steps=3)
    path = saved(whole)
    other = resumed(client, path)
    fresh = restarted(client, path)
    assert same(forward(whole), forward(other))
    assert same(forward(whole), forward(fresh))
    for model in (whole, other, fresh):
        learn(model, [supervised()], steps=2)
    assert same(forward(whole), forward(other))
    assert not same(forward(whole), forward(fresh)), "without its moments the optimiser begins anew"
    with pytest.warns(FutureWarning, match="load_state"):
        result(fresh.load_state_with_optimizer(path))
    learn(fresh, [supervised()], steps=2)
    assert same(forward(whole), forward(fresh))


def test_everything_survives_a_kill_and_another_process_computes_the_same(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"

    def script(client: Any) -> tuple[Any, str, str]:
        model = trainer(client, seed=4)
        losses = learn(model, [supervised()], steps=3)
        state = saved(model)
        sampler = str(result(model.save_weights_for_sampler("sampler")).path)
        drawn = draw(result(client.create_sampling_client(model_path=sampler)), 3)
        losses += learn(model, [supervised()], steps=2)
        return (losses, tokens(drawn), [list(s.logprobs) for s in drawn.sequences]), state, sampler

    with running(NAME, folder, store) as server:
        client = tinker.ServiceClient(base_url=server.url, api_key=KEY)
        first, state, path = script(client)
        model, sampler = trainer(client), result(client.create_sampling_client(model_path=path))
        params = types.SamplingParams(max_tokens=3000, stop=[])
        pending = sampler.sample(types.ModelInput.from_ints(PROMPT), 64, params)
        waiting = model.forward([supervised()], "cross_entropy")
        time.sleep(0.5)
        server.kill()
        for half in ("runs/0-0/weights/.cut.0123", "snapshots/left"):
            (store / half).mkdir(parents=True)
        port = int(server.url.rpartition(":")[2])
        with running(NAME, folder, store, port=port) as again:
            began = time.monotonic()
            with pytest.raises(tinker.RequestFailedError, match="the server was restarted"):
                result(waiting)
            with pytest.raises(tinker.TinkerError, match="the server was restarted"):
                result(pending)
            with pytest.raises(tinker.NotFoundError, match="go on from your last checkpoint"):
                result(model.forward_backward([supervised()], "cross_entropy"))
            with pytest.raises(tinker.NotFoundError, match="go on from your last checkpoint"):
                draw(sampler)
            with pytest.raises(tinker.NotFoundError, match="go on from your last checkpoint"):
                result(client.create_lora_training_client(NAME))
            assert time.monotonic() - began < 30
            with connected(again.url) as other:
                assert learn(resumed(other, state), [supervised()], steps=2) == first[0][3:]
                assert tokens(draw(result(other.create_sampling_client(model_path=path)), 3)) == first[1]
                assert script(other)[0] == first
    assert not list(store.glob("runs/*/*/.*"))
    assert not list((store / "snapshots").iterdir())


def test_whoever_waits_hears_of_the_end(folder: Path, tmp_path: Path) -> None:
    with running(NAME, folder, tmp_path) as server:
        client = tinker.ServiceClient(base_url=server.url, api_key=KEY)
        model = trainer(client)
        path = saved(model)
        sampler = result(client.create_sampling_client(base_model=NAME))
        params = types.SamplingParams(max_tokens=3000, stop=[])
        pending = [sampler.sample(types.ModelInput.from_ints(PROMPT), 64, params) for _ in range(2)]
        time.sleep(0.5)
        waiting = model.save_state("later")
        time.sleep(0.5)
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        for one in (*pending, waiting):
            with pytest.raises(tinker.RequestFailedError, match="the server is being stopped"):
                result(one)
        assert server.process.wait(WAIT) == 0
        assert time.monotonic() - began < 10
        assert server.process.stderr is not None
        assert not server.process.stderr.read()
    with threaded(NAME, folder, tmp_path) as url, connected(url) as client:
        assert same(forward(resumed(client, path)), forward(trainer(client)))


def test_a_checkpoint_half_replaced_is_put_back(tmp_path: Path) -> None:
    Store(tmp_path).close()
    place = tmp_path / "runs" / "run" / "weights"
    for name in (".step.1.0123.old", ".step.2.4567.old", ".step.2.89ab", "step.2"):
        (place / name).mkdir(parents=True)
        (place / name / "which").write_text(name)
    Store(tmp_path).close()
    assert {one.name: (one / "which").read_text() for one in place.iterdir()} == {
        "step.1": ".step.1.0123.old",
        "step.2": "step.2",
    }


def test_names(client: Any) -> None:
    model = trainer(client)
    path = saved(model, user_metadata={"step": "0"})
    began = time.monotonic()
    assert f"the checkpoint {path} already exists" in refused(model.save_state("state"))
    assert time.monotonic() - began < 5
    before = forward(model)
    learn(model, [supervised()])
    assert saved(model, overwrite=True) == path
    assert same(forward(restarted(client, path)), forward(model))
    assert not same(forward(model), before)
    for name in ("", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a b", "x" * 129, "é", "a\n", "a\0"):
        assert "is no name for a checkpoint" in refused(model.save_state(name))
    saved(model, "step-000010.final_2+x=1@home")


def test_paths_that_lead_nowhere(client: Any, rest: Any) -> None:
    model = trainer(client)
    path = saved(model)
    run = path.split("/")[2]
    for wrong, expected in (
        (f"tinker://{run}/weights/other", f"there is no checkpoint .*: this run has {path}"),
        (f"tinker://{run}/weights/..", "is no name for a checkpoint"),
        (f"tinker://{run}/other/state", "is no checkpoint's path"),
        ("tinker://../weights/state", "is no training run"),
        ("tinker://x", "is no checkpoint's path"),
    ):
        with pytest.raises(tinker.RequestFailedError, match=expected) as caught:
            resumed(client, wrong)
        assert caught.value.category is types.RequestErrorCategory.User
        with pytest.raises(tinker.BadRequestError, match=expected):
            result(client.create_sampling_client(model_path=wrong))
    sampler = result(model.save_weights_for_sampler("sampler")).path
    assert "has no optimizer.safetensors" in refused(client.create_training_client_from_state_with_optimizer(sampler))
    assert same(forward(restarted(client, sampler)), forward(model))
    external = result(model.save_weights_external("export")).path
    assert "is an export" in refused(client.create_training_client_from_state(external))
    with pytest.raises(tinker.BadRequestError, match="is an export"):
        result(client.create_sampling_client(model_path=external))
    other = client.create_training_client_from_state(path, base_model="some/model")
    assert "cannot be loaded as some/model" in refused(other)


def test_lists_lives_and_removal(client: Any, rest: Any) -> None:
    model = trainer(client, user_metadata={"purpose": "test"})
    state, sampler = saved(model, ttl_seconds=3600), result(model.save_weights_for_sampler("sampler")).path
    run = state.split("/")[2]
    found = {one.tinker_path: one for one in result(rest.list_checkpoints(run)).checkpoints}
    assert set(found) == {state, sampler}
    assert found[state].checkpoint_type == "training"
    assert found[state].expires_at is not None
    assert found[sampler].expires_at is None
    assert found[state].size_bytes > found[sampler].size_bytes > 0
    assert {one.tinker_path for one in result(rest.list_user_checkpoints()).checkpoints} == {state, sampler}
    (listed,) = result(rest.list_training_runs()).training_runs
    assert (listed.training_run_id, listed.user_metadata) == (run, {"purpose": "test"})
    assert listed.last_sampler_checkpoint.tinker_path == sampler
    assert result(rest.get_training_run_by_tinker_path(state)).last_checkpoint.tinker_path == state
    info = result(rest.get_weights_info_by_tinker_path(state))
    assert (info.base_model, info.lora_rank, info.train_mlp) == (NAME, 16, True)
    result(rest.set_checkpoint_ttl_from_tinker_path(state, None))
    assert all(one.expires_at is None for one in result(rest.list_checkpoints(run)).checkpoints)
    result(rest.set_checkpoint_ttl_from_tinker_path(state, 1))
    assert "ttl_seconds is 0" in refused(model.save_state("short", ttl_seconds=0))
    result(rest.delete_checkpoint_from_tinker_path(sampler))
    time.sleep(1.1)
    assert not result(rest.list_checkpoints(run)).checkpoints
    with pytest.raises(tinker.BadRequestError, match="there is no checkpoint"):
        result(rest.delete_checkpoint_from_tinker_path(sampler))
    with pytest.raises(tinker.RequestFailedError, match="there is no checkpoint"):
        resumed(client, state)
    assert saved(model) == state, "a name is free again when its checkpoint has expired"


def test_damaged_checkpoints(client: Any, tmp_path: Path) -> None:
    model = trainer(client)
    path = saved(model)
    (weights,) = (tmp_path / "store").rglob("weights/state/files/adapter_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    assert "adapter_model.safetensors is damaged" in refused(client.create_training_client_from_state(path))
    (about,) = (tmp_path / "store").rglob("weights/state/checkpoint.json")
    about.write_text("{}")
    assert "checkpoint.json of state is damaged" in refused(client.create_training_client_from_state(path))
    before = forward(model)
    saved(model, "whole")
    assert same(before, forward(model))


def test_an_overwritten_checkpoint_is_not_taken_for_what_it_was(client: Any) -> None:
    model = trainer(client)
    path = saved(model)
    sampler = result(client.create_sampling_client(model_path=path))
    learn(model, [supervised()])
    saved(model, overwrite=True)
    assert "was overwritten after this sampler was created" in refused(
        sampler.compute_logprobs(types.ModelInput.from_ints(PROMPT))
    )


@pytest.mark.parametrize("kind", ["external", "encrypted"])
def test_an_export_is_the_adapter(client: Any, url: str, folder: Path, tmp_path: Path, kind: str,
                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    weights = pytest.importorskip("tinker_cookbook.weights", reason="the cookbook is not installed")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("TINKER_API_KEY", KEY)
    model = trainer(client)
    learn(model, [supervised()], steps=3)
    # The cookbook encrypts what it fetches from a state on its own.
    path = saved(model) if kind == "encrypted" else result(model.save_weights_external("export")).path
    fetched = weights.download(tinker_path=path, output_dir=str(tmp_path / "adapter"), base_url=url)
    assert sorted(file.name for file in Path(fetched).iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert json.loads((Path(fetched) / "adapter_config.json").read_text())["r"] == 16
    weights.build_lora_adapter(base_model=str(folder), adapter_path=fetched, output_path=str(tmp_path / "peft"))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    adapted: Any = PeftModel.from_pretrained(base, str(tmp_path / "peft")).eval()
    datum = supervised()
    inputs = torch.tensor([datum.model_input.to_ints()])
    targets = torch.tensor(datum.loss_fn_inputs["target_tokens"].tolist())
    with torch.no_grad():
        found = adapted(input_ids=inputs).logits[0].log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    np.testing.assert_allclose(found.numpy(), forward(model, [datum])[0], atol=1e-4)


def test_exports_to_nobody(client: Any) -> None:
    pending = trainer(client).save_weights_external("export", age_encryption_recipients=["age1nobody"])
    assert "'age1nobody' is no age recipient" in refused(pending)


# The cookbook's loops


@pytest.fixture
def cookbook(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizers = pytest.importorskip("tinker_cookbook.tokenizer_utils", reason="the cookbook is not installed")
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    tokenizers.register_tokenizer(NAME, tiny_llama.tokenizer)


def metrics(log: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (log / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("cookbook")
def test_the_cookbooks_supervised_loop(url: str, tmp_path: Path) -> None:
    from tinker_cookbook.supervised import data, train
    from tinker_cookbook.supervised.types import ChatDatasetBuilderCommonConfig

    lines = [
        {"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": "brand"}]}
        for i in range(24)
    ]
    file = tmp_path / "conversations.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    common = ChatDatasetBuilderCommonConfig(
        model_name_for_tokenizer=NAME, renderer_name="role_colon", max_length=64, batch_size=8
    )
    config = train.Config(
        log_path=str(tmp_path / "log"),
        model_name=NAME,
        recipe_name="test",
        renderer_name="role_colon",
        dataset_builder=data.FromConversationFileBuilder(file_path=str(file), common_config=common),
        learning_rate=1e-2,
        lora_rank=16,
        num_epochs=3,
        base_url=url,
        save_every=3,
    )
    asyncio.run(train.main(config))
    losses = [row["train_mean_nll"] for row in metrics(tmp_path / "log") if "train_mean_nll" in row]
    assert losses[-1] < 0.5 * losses[0]
    kept = [json.loads(line) for line in (tmp_path / "log" / "checkpoints.jsonl").read_text().splitlines()]
    assert kept[-1]["name"] == "final"
    with connected(url) as client:
        assert len(draw(result(client.create_sampling_client(model_path=kept[-1]["sampler_path"])), 2).sequences) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("cookbook")
def test_the_cookbooks_reinforcement_loop(url: str, tmp_path: Path) -> None:
    chz = pytest.importorskip("chz", reason="the cookbook is not installed")
    from tinker_cookbook.renderers import get_renderer
    from tinker_cookbook.rl import train
    from tinker_cookbook.rl.problem_env import ProblemEnv, ProblemGroupBuilder
    from tinker_cookbook.rl.types import RLDataset, RLDatasetBuilder

    class Short(ProblemEnv):
        def get_question(self) -> str:
            return "say something"

        def check_answer(self, sample_str: str) -> bool:
            return "e" in sample_str

        def check_format(self, sample_str: str) -> bool:
            return True

        def get_reference_answer(self) -> str:
            return "e"

    def environment() -> Short:
        return Short(get_renderer("role_colon", tiny_llama.tokenizer()))

    class Problems(RLDataset):
        def get_batch(self, index: int) -> Sequence[Any]:
            return [ProblemGroupBuilder(env_thunk=environment, num_envs=4) for _ in range(4)]

        def __len__(self) -> int:
            return 2

    @chz.chz
    class Builder(RLDatasetBuilder):
        async def __call__(self) -> tuple[RLDataset, RLDataset | None]:
            return Problems(), None

    config = train.Config(
        learning_rate=1e-3,
        dataset_builder=Builder(),
        model_name=NAME,
        recipe_name="test",
        max_tokens=8,
        log_path=str(tmp_path / "log"),
        base_url=url,
        lora_rank=8,
        renderer_name="role_colon",
        compute_post_kl=True,
    )
    asyncio.run(train.main(config))
    rows = metrics(tmp_path / "log")
    assert len(rows) >= 2
    assert abs(rows[0]["optim/kl_sample_train_v1"]) < 1e-4


# The command


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr("sys.argv", ["memory-routing", "tinker-server", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    out = capsys.readouterr()
    assert not out.out
    return out.err


def test_bad_command_lines(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*arguments: str) -> str:
        return command(capsys, monkeypatch, *arguments)

    store, model = ("--store", str(tmp_path / "store")), ("--model", f"{NAME}={folder}")
    assert "write NAME=FOLDER" in said("--model", NAME, *store)
    assert "there is no folder" in said("--model", f"{NAME}={tmp_path / 'none'}", *store)
    assert "names test/tiny-llama twice" in said(*model, *model, *store)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no language model" in said("--model", f"{NAME}={empty}", *store)
    (empty / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert "has a config.json but no weights" in said("--model", f"{NAME}={empty}", *store)
    file = tmp_path / "file"
    file.touch()
    assert "name another folder with --store" in said(*model, "--store", str(file))
    assert "the device nonsense cannot be used here" in said(*model, *store, "--device", "nonsense")
    assert "dtype" in said(*model, *store, "--dtype", "int4")
    with threaded(NAME, folder, tmp_path / "used") as url:
        assert "name another with --port" in said(*model, *store, "--port", url.rpartition(":")[2])
        assert "another server uses the store" in said(*model, "--store", str(tmp_path / "used"), "--port", "0")


def test_without_its_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['fastapi'] = None; import memory_routing.server"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError: the local Tinker service needs fastapi" in done.stderr
    assert "pip install 'memory-routing[server]'" in done.stderr
