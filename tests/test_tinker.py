"""Training over the service's protocol, with the real SDK over HTTP."""

from __future__ import annotations

import hashlib
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
from hypothesis import given
from hypothesis import strategies as st

tinker = pytest.importorskip("tinker", reason="the extra 'tinker' is not installed")
pytest.importorskip("fastapi", reason="the extra 'server' is not installed")

from memory_routing import Checkpoint, Dataset, TrainingError
from memory_routing.datums import align
from memory_routing.reward import RoutingReward
from memory_routing.tinker import (
    Prices,
    ReinforcementConfig,
    SupervisedConfig,
    TinkerConfig,
    TinkerTrainer,
    read_config,
)
from memory_routing.tinker.greedy import validation_loss
from memory_routing.tinker.job import Job
from memory_routing.tinker.preparation import Order, prepare
from memory_routing.tinker.renderer import CookbookRenderer
from memory_routing.tinker.service import Learner, Sampler, Service, ServiceError, to_datum
from memory_routing.watch import Watch

from . import tiny, tiny_llama

pytestmark = [
    pytest.mark.filterwarnings("error::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TIMES = {"seconds", "cpu_seconds", "tokens", "usd"}
"""What a resumed run may differ in: it takes longer and costs more."""

FEW = ReinforcementConfig(
    iterations=3,
    groups=3,
    group_size=4,
    learning_rate=1e-3,
    every=2,
    watched=8,
    watch=Watch(halt_after={"sampler": 1}),
)
SMALL = TinkerConfig(
    base_model=tiny_llama.NAME,
    rank=4,
    renderer="role_colon",
    max_tokens=8,
    validation=4,
    sft=SupervisedConfig(steps=4, batch=4, learning_rate=1e-3, every=2),
    rl=FEW,
)
LEARNING = attrs.evolve(
    SMALL,
    rank=32,
    max_tokens=24,
    validation=100,
    sft=SupervisedConfig(steps=20, batch=32, learning_rate=1e-3, every=10),
    rl=attrs.evolve(FEW, iterations=10, groups=16, group_size=8, every=5, watched=64),
)


def trainer(config: TinkerConfig, llama: Path, url: str, **options: Any) -> TinkerTrainer:
    return TinkerTrainer(config, base_url=url, tokenizer=llama, timeout=60, **options)


def rows(run: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def measured(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows(run)]


def small_data() -> tuple[Dataset, Dataset]:
    return tiny.dataset(20, 1), tiny.dataset(10, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_both_phases_learn(
    seed: int, llama: Path, service: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = attrs.evolve(LEARNING, seed=seed)
    found = trainer(config, llama, service).fit(tiny.dataset(2000, 1), tiny.dataset(100, 2), tmp_path)
    metrics = rows(tmp_path)
    losses = [row["validation/loss"] for row in metrics if "validation/loss" in row]
    assert min(losses) <= 0.4 * losses[0]
    supervised = max(
        (row for row in rows(tmp_path, "checkpoints.jsonl") if row["phase"] == "sft"),
        key=lambda row: -row["metrics"]["loss"],
    )
    before, after = supervised["metrics"]["reward"], found.metrics["reward"]
    constant = next(row["constant/reward"] for row in metrics if "constant/reward" in row)
    with capsys.disabled():
        print(f"\nseed {seed}: greedy reward {before:.3f}, with RL {after:.3f}; best constant {constant:.3f}")  # noqa: T201
    assert found.phase == "rl"
    assert after > before
    assert after > constant
    # With a fresh snapshot and one step, sampler and learner differ by rounding alone.
    assert max(row["kl/sampler/k3"] for row in metrics if "kl/sampler/k3" in row) < 1e-6
    steps = [row for row in metrics if "cpu_seconds" in row]
    assert sum(row["cpu_seconds"] for row in steps) < 0.05 * sum(row["seconds"] for row in steps)


def test_the_run_folder_tells_the_run(llama: Path, service: str, tmp_path: Path) -> None:
    train, validation = small_data()
    seen: list[tuple[dict[str, Any], int | None]] = []

    class Sink:
        def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
            seen.append((metrics, step))

    found = trainer(SMALL, llama, service, prices=Prices(1, 2, 3), sinks=[Sink()]).fit(train, validation, tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    assert told["base_model"] == tiny_llama.NAME
    assert told["sft"]["batch"] == 4
    assert told["train"] == train.hash == found.dataset_hash
    metrics = rows(tmp_path)
    assert len(seen) == len(metrics)
    assert metrics[0]["data/train"]["conversations"] == 20
    assert metrics[0]["data/train"]["tokens"] > 0
    assert [row["step"] for row in metrics if "loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in metrics if row["phase"] == "rl" and "entropy" in row] == [1, 2, 3]
    assert [row["step"] for row in metrics if row["phase"] == "rl" and "validation/reward" in row] == [2, 3]
    for row in metrics:
        if "entropy" in row:
            assert {*(f"reward/{name}" for name in RoutingReward().weights), "malformed", "complete", "labels"} <= set(
                row
            )
    tokens = metrics[-1]["tokens"]
    assert metrics[-1]["usd"] == pytest.approx((tokens["prefill"] + 2 * tokens["sample"] + 3 * tokens["train"]) / 1e6)
    samples = rows(tmp_path, "samples.jsonl")
    assert len(samples) == 3 * 2
    assert all(len(row["rollouts"]) == 4 for row in samples)
    assert {"text", "reward", "parts", "complete", "malformed"} == set(samples[0]["rollouts"][0])
    checkpoints = Checkpoint.read_all(tmp_path)
    assert [(item.phase, item.step) for item in checkpoints] == [("sft", 2), ("sft", 4), ("rl", 2), ("rl", 3)]
    assert found in checkpoints
    for item in checkpoints:
        assert "/weights/" in item.state
        assert "/sampler_weights/" in item.weights
        assert item.renderer == "role_colon"
        assert item.parent == (
            None if item.phase == "sft" else min(checkpoints[:2], key=lambda c: c.metrics["loss"]).state
        )


class Killed(BaseException):
    """What no code of ours catches."""


def digest(datums: list[Any]) -> str:
    found = hashlib.sha256()
    for datum in datums:
        found.update(np.array(datum.model_input.to_ints()).tobytes())
        for name, values in sorted(datum.loss_fn_inputs.items()):
            found.update(name.encode() + values.to_numpy().tobytes())
    return found.hexdigest()


def spy(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], list[str]]:
    """The digests of the datums of every step, in the order in which they were sent."""
    sent: dict[tuple[str, int], list[str]] = {}
    submit, log = Learner.submit, Job.log
    last: list[str] = []

    def submitting(self: Learner, datums: list[Any], *rest: Any) -> Any:
        last.append(digest(datums))
        return submit(self, datums, *rest)

    def logging(self: Job, phase: Any, step: int, measured: Mapping[str, Any]) -> None:
        log(self, phase, step, measured)
        if last:
            sent.setdefault((phase, step), []).append(last.pop())

    monkeypatch.setattr(Learner, "submit", submitting)
    monkeypatch.setattr(Job, "log", logging)
    return sent


def test_a_run_killed_at_any_step_ends_as_one_that_was_not(
    llama: Path, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = small_data()
    sent = spy(monkeypatch)
    whole = trainer(SMALL, llama, service).fit(train, validation, tmp_path / "whole")
    expected, digests = measured(tmp_path / "whole"), dict(sent)
    monkeypatch.undo()
    places = len(expected)
    for place in range(places):
        count = iter(range(place))

        run = tmp_path / f"killed-{place}"
        sent = spy(monkeypatch)
        log = Job.log

        def killing(self: Job, *row: Any, count: Any = count, log: Any = log) -> None:
            if next(count, None) is None:
                monkeypatch.undo()
                raise Killed
            log(self, *row)

        monkeypatch.setattr(Job, "log", killing)
        with pytest.raises(Killed):
            trainer(SMALL, llama, service).fit(train, validation, run)
        before, sent = sent, spy(monkeypatch)
        found = trainer(SMALL, llama, service).fit(train, validation, run)
        assert measured(run) == expected, f"killed before row {place}"
        monkeypatch.undo()
        for step, seen in [*before.items(), *sent.items()]:
            assert seen == digests[step], f"killed before row {place}: other datums at {step}"
        assert (found.phase, found.step, found.metrics) == (whole.phase, whole.step, whole.metrics)
        assert [row["step"] for row in rows(run, "checkpoints.jsonl")] == [2, 4, 2, 3]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_survives_sigkill_three_times(llama: Path, service: str, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.test_tinker import SMALL, small_data, trainer\n"
        "trainer(SMALL, Path(sys.argv[1]), sys.argv[2]).fit(*small_data(), Path(sys.argv[3]))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TINKER_TELEMETRY": "0"}

    def start(run: Path) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-c", script, str(llama), service, str(run)]
        return subprocess.Popen(arguments, env=environment, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)

    def has(run: Path, phase: str, step: int) -> bool:
        path = run / "metrics.jsonl"
        return path.exists() and any(
            f'"phase": "{phase}", "step": {step},' in line for line in path.read_text().splitlines()
        )

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait(120) == 0
    for phase, step in (("sft", 1), ("sft", 3), ("rl", 3)):
        process = start(killed)
        limit = time.monotonic() + 120
        while not has(killed, phase, step):
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert start(killed).wait(120) == 0
    assert measured(killed) == measured(whole)


def test_evaluation_leaves_gradients_and_weights_as_they_are(llama: Path, service: str) -> None:
    renderer = CookbookRenderer(tiny.TAXONOMY, tiny_llama.tokenizer(), "role_colon")
    items = prepare(tiny.dataset(8, 1), renderer, "x").items
    datums = [to_datum(align(item.datum)) for item in items]
    connection = Service(service, timeout=60)
    found = []
    for evaluates in (False, True):
        learner = connection.new(tiny_llama.NAME, 4, 0)
        for _ in range(2):
            pending = learner.submit(datums[:4], "cross_entropy", 1e-3, SMALL.adam)
            pending.wait()
            if evaluates:
                learner.forward(datums[4:])
        found.append(learner.forward(datums))
    connection.close(finished=True)
    for plain, evaluated in zip(*found, strict=True):
        assert plain.tobytes() == evaluated.tobytes()


def test_a_state_goes_on_with_its_optimiser(llama: Path, service: str) -> None:
    renderer = CookbookRenderer(tiny.TAXONOMY, tiny_llama.tokenizer(), "role_colon")
    datums = [to_datum(align(item.datum)) for item in prepare(tiny.dataset(8, 1), renderer, "x").items]
    connection = Service(service, timeout=60)
    unbroken = connection.new(tiny_llama.NAME, 4, 0)
    for _ in range(3):
        unbroken.submit(datums, "cross_entropy", 1e-3, SMALL.adam).wait()
    state, weights = unbroken.save("three")
    loaded = connection.resume(state)
    for learner in (unbroken, loaded):
        learner.submit(datums, "cross_entropy", 1e-3, SMALL.adam).wait()
    after = [learner.forward(datums) for learner in (unbroken, loaded)]
    for ours, theirs in zip(*after, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    # And the sampler's weights are the state's.
    sampler, fresh = connection.sampler(weights=weights), connection.resume(state)
    item = prepare(tiny.dataset(8, 1), renderer, "x").items[0]
    (by_sampler,) = sampler.logprobs([[*item.prompt, *item.target]])
    (by_learner,) = fresh.forward(datums[:1])
    np.testing.assert_allclose(by_sampler, by_learner, atol=1e-4)
    connection.close(finished=True)


def test_a_stale_sampler_temperature_and_shifted_tokens_make_the_watch_fire(
    llama: Path, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = small_data()
    config = attrs.evolve(SMALL, sft=attrs.evolve(SMALL.sft, learning_rate=3e-3))

    def fails(name: str, changed: TinkerConfig = config) -> None:
        with pytest.raises(TrainingError, match=r"k3 of the pair 'sampler' is .*the last checkpoint in"):
            trainer(changed, llama, service).fit(train, validation, tmp_path / name)

    assert config.rl is not None
    fails("temperature", attrs.evolve(config, rl=attrs.evolve(config.rl, temperature=1.6)))

    snapshot, sample = Learner.snapshot, Sampler.sample
    taken: dict[int, Sampler] = {}

    def stale(self: Learner) -> Sampler:
        return taken.setdefault(id(self), snapshot(self))

    def shifted(self: Sampler, *arguments: Any, **options: Any) -> Any:
        for group in sample(self, *arguments, **options):
            yield [attrs.evolve(rollout, logprobs=(*rollout.logprobs[1:], rollout.logprobs[0])) for rollout in group]

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "snapshot", stale)
        fails("stale", attrs.evolve(config, rl=attrs.evolve(config.rl, groups=8, group_size=8, learning_rate=1e-2)))
    with monkeypatch.context() as patch:
        # The hand-over would see it first.
        patch.setattr("memory_routing.tinker.reinforcement._Reinforcement._hand_over", lambda *_: None)
        patch.setattr(Sampler, "sample", shifted)
        fails("shifted")


def test_a_state_that_is_not_the_supervised_policy_is_refused(
    llama: Path, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = attrs.evolve(SMALL, sft=attrs.evolve(SMALL.sft, learning_rate=3e-3))
    monkeypatch.setattr(Service, "resume", lambda self, state: self.new(tiny_llama.NAME, 4, 0))
    with pytest.raises(TrainingError, match="is not the policy of"):
        trainer(config, llama, service).fit(*small_data(), tmp_path)


def test_a_batch_of_constant_groups_is_skipped(
    llama: Path, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memory_routing.tinker.reinforcement.group_datums", lambda group, scale: [])
    trainer(SMALL, llama, service).fit(*small_data(), tmp_path)
    learned = [row for row in rows(tmp_path) if "entropy" in row]
    assert [row["skipped"] for row in learned] == ["every group has constant reward"] * 3
    assert all(row["datums"] == 0 and "kl/sampler/k3" not in row for row in learned)


def test_early_stopping_and_the_best_is_released(
    llama: Path, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.6, 9.0])
    monkeypatch.setattr("memory_routing.tinker.greedy.validation_loss", lambda *_: next(losses))
    config = attrs.evolve(SMALL, rl=None, sft=attrs.evolve(SMALL.sft, steps=40, every=1, patience=2))
    found = trainer(config, llama, service).fit(*small_data(), tmp_path)
    assert found.step == 1
    assert [row["step"] for row in rows(tmp_path, "checkpoints.jsonl")] == [1, 2, 3]
    # Called again, an ended run says the same and trains no more.
    assert trainer(config, llama, service).fit(*small_data(), tmp_path) == found


def test_the_forecast_is_an_upper_bound_and_the_budget_holds(llama: Path, service: str, tmp_path: Path) -> None:
    prices = Prices(10, 20, 30)
    data = small_data()
    ahead = trainer(SMALL, llama, service, prices=prices).forecast(*data)
    assert ahead.usd is not None
    trainer(SMALL, llama, service, prices=prices).fit(*data, tmp_path / "whole")
    spent = rows(tmp_path / "whole")[-1]
    for kind, count in spent["tokens"].items():
        assert 0 < count <= getattr(ahead.total, kind)
    assert spent["usd"] <= ahead.usd
    # Groups of constant reward teach nothing and cost nothing: what is left is mostly prompts.
    assert spent["usd"] >= 0.2 * ahead.usd
    budget = 0.6 * spent["usd"]
    with pytest.raises(TrainingError, match=r"the budget of .* ends before step \d of (sft|rl).*the last checkpoint"):
        trainer(SMALL, llama, service, prices=prices, budget=budget).fit(*data, tmp_path / "run")
    assert rows(tmp_path / "run")[-1]["usd"] <= budget
    # With more it goes on, and ends as if nothing had been.
    trainer(SMALL, llama, service, prices=prices, budget=10 * spent["usd"]).fit(*data, tmp_path / "run")
    assert measured(tmp_path / "run") == measured(tmp_path / "whole")
    with pytest.raises(TrainingError, match="a budget needs prices"):
        trainer(SMALL, llama, service, budget=1.0)
    # Nothing is sent where not even the first evaluation can be paid.
    with pytest.raises(TrainingError, match=r"0.0000 USD are spent.*has no checkpoint yet"):
        trainer(SMALL, llama, service, prices=prices, budget=1e-6).fit(*data, tmp_path / "poor")


def test_what_was_spent_is_never_forgotten(
    llama: Path, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Job.log

    def killing(self: Job, phase: Any, step: int, measured: Mapping[str, Any]) -> None:
        log(self, phase, step, measured)
        if (phase, step) == ("sft", 3):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Job, "log", killing)
        with pytest.raises(Killed):
            trainer(SMALL, llama, service).fit(*small_data(), tmp_path)
    spent = rows(tmp_path)[-1]["tokens"]["train"]

    def down(self: Service, state: str) -> Any:
        raise ServiceError("down")

    with monkeypatch.context() as patch:
        patch.setattr(Service, "resume", down)
        for _ in range(2):
            with pytest.raises(TrainingError, match=r"down; the last checkpoint in .* is sft step 2"):
                trainer(SMALL, llama, service).fit(*small_data(), tmp_path)
    assert rows(tmp_path)[-1]["tokens"]["train"] < spent
    trainer(attrs.evolve(SMALL), llama, service).fit(*small_data(), tmp_path)
    third = next(row for row in rows(tmp_path) if row["step"] == 3 and "loss" in row)
    second = next(row for row in rows(tmp_path) if row["step"] == 2 and "validation/loss" in row)
    assert third["tokens"]["train"] - second["tokens"]["train"] >= 2 * (spent - second["tokens"]["train"])


def test_what_cannot_start_says_why(llama: Path, service: str, tmp_path: Path) -> None:
    train, validation = small_data()

    def fails(match: str, config: TinkerConfig = SMALL, data: Dataset = train) -> None:
        with pytest.raises(TrainingError, match=match):
            trainer(config, llama, service).fit(data, validation, tmp_path / "run")

    fails(
        f"is not served; these models are: {tiny_llama.NAME}", attrs.evolve(SMALL, base_model="meta-llama/Llama-3.1-8B")
    )
    fails("name a learning rate|name one", attrs.evolve(SMALL, sft=attrs.evolve(SMALL.sft, learning_rate=None)))
    fails("no renderer is known", attrs.evolve(SMALL, renderer=None))
    fails("the training dataset cannot be used: it is empty", data=Dataset(tiny.TAXONOMY, ()))
    trainer(attrs.evolve(SMALL, rl=None), llama, service).fit(train, validation, tmp_path / "run")
    with pytest.raises(TrainingError, match="holds a run with another"):
        trainer(attrs.evolve(SMALL, rl=None, seed=1), llama, service).fit(train, validation, tmp_path / "run")


def test_long_conversations_are_left_out_with_a_warning(
    llama: Path, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = small_data()
    renderer = CookbookRenderer(tiny.TAXONOMY, tiny_llama.tokenizer(), "role_colon")
    longest = prepare(train, renderer, "x").counts()["longest"]
    monkeypatch.setattr(Service, "models", lambda _: {tiny_llama.NAME: int(longest) + SMALL.max_tokens - 1})
    with pytest.warns(UserWarning, match="1 training conversations are longer than"):
        trainer(attrs.evolve(SMALL, rl=None), llama, service).fit(train, validation, tmp_path)
    assert rows(tmp_path)[0]["data/train"]["too_long"] == 1


def test_the_order_of_the_examples_changes_nothing() -> None:
    renderer = CookbookRenderer(tiny.TAXONOMY, tiny_llama.tokenizer(), "role_colon")
    data = tiny.dataset(20, 1)
    turned = Dataset(tiny.TAXONOMY, data.examples[::-1])
    assert turned.hash == data.hash
    assert prepare(turned, renderer, "x") == prepare(data, renderer, "x")


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 20), st.text(max_size=3))
def test_batches_go_round_the_data_and_can_begin_anywhere(n: int, size: int, start: int, seed: str) -> None:
    order = Order(n, size, seed)
    seen = [index for step in range(start + 3) for index in order(step)]
    assert [index for step in range(start, start + 3) for index in Order(n, size, seed)(step)] == seen[start * size :]
    for first in range(0, len(seen) - n + 1, n):
        assert sorted(seen[first : first + n]) == list(range(n))


def test_a_number_that_is_none_ends_the_run_with_a_sentence(
    llama: Path, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sampler.sample

    def broken(self: Sampler, *arguments: Any, **options: Any) -> Any:
        for group in sample(self, *arguments, **options):
            yield [attrs.evolve(rollout, logprobs=(float("nan"),) * len(rollout.tokens)) for rollout in group]

    monkeypatch.setattr("memory_routing.tinker.reinforcement._Reinforcement._hand_over", lambda *_: None)
    monkeypatch.setattr("memory_routing.tinker.rollouts.is_constant", lambda _: False)
    monkeypatch.setattr(Sampler, "sample", broken)
    with pytest.raises(TrainingError, match=r"iteration 1: .* not finite; lower rl.learning_rate; the last"):
        trainer(SMALL, llama, service).fit(*small_data(), tmp_path)


def test_long_conversations_are_counted() -> None:
    renderer = CookbookRenderer(tiny.TAXONOMY, tiny_llama.tokenizer(), "role_colon")
    data = tiny.dataset(20, 1)
    whole = prepare(data, renderer, "x")
    limit = sorted(map(len, whole.items))[9]
    found = prepare(data, renderer, "x", limit)
    assert len(found.items) + len(found.too_long) == 20
    assert found.counts()["longest"] <= limit
    assert set(found.too_long) == {item.id for item in whole.items if len(item) > limit}
    with pytest.raises(TrainingError, match="none of the 20 conversations fits 3 tokens"):
        prepare(data, renderer, "x", 3)


def test_settings_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'base_model = "Qwen/Qwen3-8B-Base"\n[sft]\nsteps = 5\n[rl]\nloss = "ppo"\nwatch = {critical = 0.02}\n'
    )
    found = read_config(path)
    assert (found.base_model, found.sft.steps, found.sft.batch) == ("Qwen/Qwen3-8B-Base", 5, 128)
    assert found.rl is not None
    assert (found.rl.loss, found.rl.watch.critical, found.rl.group_size) == ("ppo", 0.02, 32)
    path.write_text("[sft]\nstep = 5\n")
    with pytest.raises(TrainingError, match=r"run.toml: .*step"):
        read_config(path)


def test_defaults_are_those_of_the_original_system() -> None:
    config = TinkerConfig()
    assert (config.base_model, config.rank, config.max_tokens) == ("meta-llama/Llama-3.1-8B", 32, 100)
    assert (config.sft.steps, config.sft.batch) == (100, 128)
    assert (config.adam.beta1, config.adam.beta2, config.adam.eps) == (0.9, 0.95, 1e-8)
    assert config.rl is not None
    assert (config.rl.iterations, config.rl.groups, config.rl.group_size) == (30, 64, 32)
    assert (config.rl.learning_rate, config.rl.temperature, config.rl.loss) == (2e-5, 1.0, "importance_sampling")
    from memory_routing.tinker.trainer import learning_rate

    assert learning_rate(config) == pytest.approx(2.856415043e-4)


def test_the_validation_loss_is_the_mean_over_answer_tokens(llama: Path, service: str) -> None:
    renderer = CookbookRenderer(tiny.TAXONOMY, tiny_llama.tokenizer(), "role_colon")
    items = prepare(tiny.dataset(6, 3), renderer, "x").items
    connection = Service(service, timeout=60)
    learner = connection.new(tiny_llama.NAME, 4, 0)

    class Given:
        validation = items

    found = validation_loss(Given(), learner)  # type: ignore[arg-type]
    sampler = connection.sampler(base_model=tiny_llama.NAME)
    by_hand = [
        logprob
        for item, logprobs in zip(items, sampler.logprobs([[*i.prompt, *i.target] for i in items]), strict=True)
        for logprob in logprobs[-len(item.target) :]
    ]
    connection.close(finished=True)
    assert found == pytest.approx(-float(np.mean(by_hand)), abs=1e-4)
