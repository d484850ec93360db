"""The local Tinker service, driven by the unmodified SDK over HTTP."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tinker = pytest.importorskip("tinker", reason="the extra 'server' is not installed")
for package in ("fastapi", "peft", "transformers"):
    pytest.importorskip(package, reason="the extra 'server' is not installed")

import torch
from numpy.typing import NDArray
from tinker import types

from . import service, tiny_llama
from .service import KEY, connected, sweep, threaded

pytestmark = [
    # Of the SDK's transport and of torch; what is ours is deprecated nowhere.
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

NAME = tiny_llama.NAME
PROMPT = list(range(20, 60))
TARGET = [100, 101, 102, 103, 1]
ADAM = types.AdamParams(learning_rate=1e-2)
Floats = NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    sweep()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with threaded(NAME, folder, tmp_path_factory.mktemp("store")) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    with connected(url) as found:
        yield found


def result(pending: Any) -> Any:
    return pending.result(service.WAIT)


def trainer(client: Any, seed: int | None = 0, rank: int = 16, **options: Any) -> Any:
    return result(client.create_lora_training_client(NAME, rank=rank, seed=seed, **options))


def datum(tokens: list[int], **inputs: Any) -> Any:
    return types.Datum(model_input=types.ModelInput.from_ints(tokens), loss_fn_inputs=inputs)


def supervised(prompt: list[int] = PROMPT, target: list[int] = TARGET) -> Any:
    whole = prompt + target
    weights = [0.0] * (len(prompt) - 1) + [1.0] * len(target)
    return datum(whole[:-1], target_tokens=whole[1:], weights=weights)


def rollout(prompt: list[int], sampled: list[int], logprobs: list[float], advantage: float) -> Any:
    whole, before = prompt + sampled, [0.0] * (len(prompt) - 1)
    advantages = before + [advantage] * len(sampled)
    return datum(whole[:-1], target_tokens=whole[1:], logprobs=before + logprobs, advantages=advantages)


def various() -> list[Any]:
    return [supervised(list(range(10, 10 + n)), list(range(200, 203 + n % 5))) for n in (3, 40, 7, 90, 1, 25)]


def logprobs(output: Any) -> list[Floats]:
    return [found["logprobs"].to_numpy() for found in output.loss_fn_outputs]


def learn(model: Any, datums: list[Any], steps: int = 1, loss: str = "cross_entropy") -> list[float]:
    losses = []
    for _ in range(steps):
        passed, stepped = model.forward_backward(datums, loss), model.optim_step(ADAM)
        losses.append(result(passed).metrics["loss:sum"])
        result(stepped)
    return losses


def forward(model: Any, datums: list[Any] | None = None) -> list[Floats]:
    return logprobs(result(model.forward(various() if datums is None else datums, "cross_entropy")))


def sampler_of(model: Any) -> Any:
    return result(model.save_weights_and_get_sampling_client())


def draw(sampler: Any, number: int = 1, prompt: list[int] = PROMPT, **params: Any) -> Any:
    told = types.SamplingParams(**{"max_tokens": 12, "seed": 7, "stop": [], **params})
    return result(sampler.sample(types.ModelInput.from_ints(prompt), number, told))


def tokens(response: Any) -> list[list[int]]:
    return [list(sequence.tokens) for sequence in response.sequences]


def refused(pending: Any) -> str:
    with pytest.raises(tinker.RequestFailedError) as caught:
        result(pending)
    assert caught.value.category is types.RequestErrorCategory.User
    return str(caught.value).split(" for self.request_id")[0]


def same(ours: list[Floats], theirs: list[Floats]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


# Training


def test_supervised_steps_lower_the_loss(client: Any) -> None:
    model = trainer(client)
    losses = learn(model, [supervised()] * 2, steps=15)
    assert losses[-1] < 0.1 * losses[0]
    assert losses[0] == pytest.approx(
        -2 * forward(trainer(client), [supervised()])[0][len(PROMPT) - 1 :].sum(), rel=1e-5
    )


def test_what_is_returned_is_from_before_the_step(client: Any) -> None:
    model = trainer(client)
    before = forward(model, [supervised()])
    output = model.forward_backward([supervised()], "cross_entropy")
    result(model.optim_step(ADAM))
    np.testing.assert_allclose(logprobs(result(output))[0], before[0], atol=1e-6)
    assert not np.allclose(forward(model, [supervised()])[0], before[0], atol=1e-3)


def test_forward_passes_and_samples_leave_a_trainer_as_it_is(client: Any) -> None:
    plain, disturbed = trainer(client, seed=3), trainer(client, seed=3)
    for _ in range(3):
        learn(plain, [supervised()])
        forward(disturbed)
        passed = disturbed.forward_backward([supervised()], "cross_entropy")
        forward(disturbed)
        draw(sampler_of(disturbed), 2)
        learn(trainer(client, seed=9), various())
        stepped = disturbed.optim_step(ADAM)
        result(passed), result(stepped)
    assert same(forward(plain), forward(disturbed))


def test_gradients_add_up_until_a_step(client: Any) -> None:
    together, apart = trainer(client), trainer(client)
    datums = various()
    learn(together, datums)
    result(apart.forward_backward(datums[:3], "cross_entropy"))
    result(apart.forward_backward(datums[3:], "cross_entropy"))
    result(apart.optim_step(ADAM))
    for ours, theirs in zip(forward(together), forward(apart), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 128])
def test_batches_change_nothing(client: Any, folder: Path, tmp_path: Path, batch_tokens: int) -> None:
    together = trainer(client)
    learn(together, various())
    with threaded(NAME, folder, tmp_path, batch_tokens=batch_tokens) as url, connected(url) as other:
        apart = trainer(other)
        learn(apart, various())
        for datum, ours, theirs in zip(various(), forward(together), forward(apart), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
            np.testing.assert_allclose(ours, forward(together, [datum])[0], atol=1e-5)


def test_large_vocabularies_go_block_by_block(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, blocked = trainer(client), trainer(client)
    learn(whole, various() * 4)
    expected = forward(whole)
    monkeypatch.setattr("memory_routing.server.base._LOGITS", 1)
    learn(blocked, various() * 4)
    for ours, theirs in zip(expected, forward(blocked), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_weights_default_to_one_and_soft_targets_are_weighted(client: Any) -> None:
    model = trainer(client)
    plain = datum([5, 6, 7], target_tokens=[6, 7, 8])
    found = result(model.forward([plain], "cross_entropy"))
    assert found.metrics["loss:sum"] == pytest.approx(-logprobs(found)[0].sum(), rel=1e-6)
    targets, weights = np.array([[6, 9], [7, 9], [8, 9]]), np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]], np.float32)
    dense = datum([5, 6, 7], target_tokens=targets.tolist(), weights=weights.tolist())
    sparse = datum([5, 6, 7], target_tokens=torch.from_numpy(targets), weights=torch.from_numpy(weights))
    for soft in (dense, sparse):
        output = result(model.forward([plain, soft, plain], "cross_entropy"))
        assert output.loss_fn_outputs[1]["logprobs"].shape == [3, 2]
        ours = logprobs(output)[1].reshape(3, 2)
        np.testing.assert_allclose(ours[:, 0], logprobs(found)[0], atol=1e-5)
        expected = 2 * found.metrics["loss:sum"] - (weights * ours).sum()
        assert output.metrics["loss:sum"] == pytest.approx(expected, rel=1e-5)


def test_custom_losses_of_the_sdk_work(client: Any) -> None:
    ours, theirs = trainer(client), trainer(client)
    learn(ours, [supervised()])

    def negative_likelihood(data: list[Any], found: list[torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        weights = data[0].loss_fn_inputs["weights"].to_torch()
        return -(found[0] * weights).sum(), {}

    result(theirs.forward_backward_custom([supervised()], negative_likelihood))
    result(theirs.optim_step(ADAM))
    np.testing.assert_allclose(forward(ours)[1], forward(theirs)[1], atol=1e-5)


def test_on_policy_the_policy_losses_agree(client: Any) -> None:
    drawn = draw(sampler_of(trainer(client)), 3)
    advantages = (1.0, -0.5, -0.5)
    datums = [
        rollout(PROMPT, sequence.tokens, sequence.logprobs, advantage)
        for sequence, advantage in zip(drawn.sequences, advantages, strict=True)
    ]
    after = []
    for loss in ("importance_sampling", "ppo", "cispo"):
        model = trainer(client)
        output = result(model.forward_backward(datums, loss))
        if loss != "cispo":
            assert output.metrics["loss:sum"] == pytest.approx(-12 * sum(advantages), abs=1e-3)
        for sequence, found in zip(drawn.sequences, logprobs(output), strict=True):
            np.testing.assert_allclose(found[len(PROMPT) - 1 :], sequence.logprobs, atol=1e-4)
        result(model.optim_step(ADAM))
        after.append(forward(model, datums=[supervised()])[0])
    np.testing.assert_allclose(after[1], after[0], atol=1e-4)
    np.testing.assert_allclose(after[2], after[0], atol=1e-4)


def test_reinforcement_raises_what_was_rewarded(client: Any) -> None:
    model = trainer(client)
    even = []
    for _ in range(10):
        drawn = draw(sampler_of(model), 64, max_tokens=1).sequences
        rewards = np.array([float(sequence.tokens[0] % 2 == 0) for sequence in drawn])
        even.append(rewards.mean())
        advantages = (rewards - rewards.mean()).tolist()
        datums = [rollout(PROMPT, s.tokens, s.logprobs, a) for s, a in zip(drawn, advantages, strict=True)]
        learn(model, datums, loss="importance_sampling")
    assert even[0] < 0.7
    assert even[-1] > 0.9


def test_clipping_the_gradient_and_what_the_step_says(client: Any) -> None:
    model = trainer(client)
    result(model.forward_backward([supervised()], "cross_entropy"))
    metrics = result(model.optim_step(types.AdamParams(learning_rate=0.0, grad_clip_norm=0.5))).metrics
    assert metrics["grad_norm:mean"] > 0.5
    assert result(model.optim_step(ADAM)).metrics["grad_norm:mean"] == 0


def test_the_seed_alone_decides_where_a_trainer_starts(client: Any) -> None:
    first, again, other, unseeded = (trainer(client, seed) for seed in (5, 5, 6, None))
    for model in (first, again, other, unseeded):
        learn(model, [supervised()])
    assert same(forward(first), forward(again))
    assert not same(forward(first), forward(other))
    assert not same(forward(first), forward(unseeded))


def test_adapters_sit_where_they_are_told(client: Any) -> None:
    for flag in ("train_attn", "train_mlp", "train_unembed"):
        flags = {name: name == flag for name in ("train_attn", "train_mlp", "train_unembed")}
        losses = learn(trainer(client, **flags), [supervised()], steps=4)
        assert losses[-1] < losses[0]


# Sampling


def test_all_three_kinds_of_logprobs_agree(client: Any) -> None:
    model = trainer(client)
    learn(model, [supervised()], steps=2)
    sampler = sampler_of(model)
    sequence = draw(sampler, 4).sequences[3]
    whole = PROMPT + list(sequence.tokens)
    scored = result(sampler.compute_logprobs(types.ModelInput.from_ints(whole)))
    assert scored[0] is None
    trained = forward(model, [supervised(PROMPT, list(sequence.tokens))])[0]
    np.testing.assert_allclose(scored[1:], trained, atol=1e-4)
    np.testing.assert_allclose(sequence.logprobs, trained[len(PROMPT) - 1 :], atol=1e-4)
    last = result(sampler.compute_logprobs(types.ModelInput.from_ints(whole), prompt_logprobs_last_n=3))
    assert last[:-3] == [None] * (len(whole) - 3)
    np.testing.assert_allclose(last[-3:], scored[-3:], atol=1e-5)


def test_seeds(client: Any) -> None:
    sampler = sampler_of(trainer(client))
    first = draw(sampler, 4, seed=1)
    draw(sampler, 2, seed=None)
    again = draw(sampler, 4, seed=1)
    assert tokens(first) == tokens(again)
    assert [s.logprobs for s in first.sequences] == [s.logprobs for s in again.sequences]
    assert len({tuple(found) for found in tokens(first)}) == 4
    assert tokens(draw(sampler, 4, seed=2)) != tokens(first)
    assert tokens(draw(sampler, 4, seed=None)) != tokens(draw(sampler, 4, seed=None))


def test_draws_are_fair(client: Any) -> None:
    sampler = sampler_of(trainer(client))
    response = result(
        sampler.sample(
            types.ModelInput.from_ints(PROMPT),
            4000,
            types.SamplingParams(max_tokens=1, seed=0, top_k=3),
            topk_sample_logprobs=3,
        )
    )
    named = response.sequences[0].topk_logprobs[0]
    drawn = [s.tokens[0] for s in response.sequences]
    assert {token for token, _ in named} == set(drawn)
    for token, logprob in named:
        assert drawn.count(token) / 4000 == pytest.approx(math.exp(logprob), abs=0.03)


def test_temperature_and_truncation(client: Any) -> None:
    sampler = sampler_of(trainer(client))
    greedy = draw(sampler, 2, temperature=0.0)
    best = tokens(greedy)[0]
    assert tokens(greedy)[1] == best
    assert tokens(draw(sampler, 2, top_k=1)) == [best, best]
    assert tokens(draw(sampler, 2, top_p=1e-6)) == [best, best]
    assert draw(sampler, 1, top_k=1).sequences[0].logprobs == pytest.approx([0.0] * 12)
    base = result(client.create_sampling_client(base_model=NAME))
    response = result(
        base.sample(
            types.ModelInput.from_ints(PROMPT + best),
            1,
            types.SamplingParams(max_tokens=1),
            include_prompt_logprobs=True,
            topk_prompt_logprobs=2,
        )
    )
    top = response.topk_prompt_logprobs
    assert top[0] is None
    assert [place[0][0] for place in top[len(PROMPT) :]] == best, "greedy takes the likeliest token each time"
    for token, place, logprob in zip(best, top[len(PROMPT) :], greedy.sequences[0].logprobs, strict=True):
        assert place[0] == (token, pytest.approx(logprob, abs=1e-4))
    hot = draw(sampler, 200, temperature=5.0, max_tokens=1)
    assert np.mean([s.logprobs[0] for s in hot.sequences]) == pytest.approx(-math.log(2048), abs=0.5)


def test_stops(client: Any) -> None:
    sampler = sampler_of(trainer(client))
    words = tiny_llama.tokenizer()
    long = draw(sampler, 1, max_tokens=40).sequences[0]
    assert long.stop_reason == "length"
    assert len(long.tokens) == 40
    ended = draw(sampler, 1, max_tokens=40, stop=[long.tokens[9]]).sequences[0]
    assert ended.stop_reason == "stop"
    assert ended.tokens == long.tokens[: long.tokens.index(long.tokens[9]) + 1]
    assert len(ended.logprobs) == len(ended.tokens)
    text = words.decode(long.tokens[18:21])[-4:]
    for stop in (text, [text, "never written"]):
        found = draw(sampler, 1, max_tokens=40, stop=stop).sequences[0]
        assert found.stop_reason == "stop"
        assert text in words.decode(found.tokens)
        assert text not in words.decode(found.tokens[:-1]), "the token that completes the text is the last"
        assert found.tokens == long.tokens[: len(found.tokens)]


def test_the_models_own_end_stops_unless_nothing_does(client: Any) -> None:
    model = trainer(client)
    learn(model, [supervised()], steps=40)
    sampler = sampler_of(model)
    ended = draw(sampler, 3, temperature=0.0, stop=None).sequences[0]
    assert (ended.stop_reason, list(ended.tokens)) == ("stop", TARGET)
    endless = draw(sampler, 1, temperature=0.0, stop=[], max_tokens=9).sequences[0]
    assert (endless.stop_reason, list(endless.tokens[:5]), len(endless.tokens)) == ("length", TARGET, 9)


def test_samplers_keep_their_weights_and_come_back_from_disk(client: Any) -> None:
    model = trainer(client)
    samplers, expected = [], []
    for _ in range(7):
        learn(model, [supervised()])
        samplers.append(sampler_of(model))
        expected.append(result(samplers[-1].compute_logprobs(types.ModelInput.from_ints(PROMPT))))
    for sampler, before in zip(samplers, expected, strict=True):
        assert result(sampler.compute_logprobs(types.ModelInput.from_ints(PROMPT))) == before
    assert len({tuple(found[1:]) for found in expected}) == 7


def test_answers_that_do_not_fit_in_memory_together(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sampler_of(trainer(client))
    monkeypatch.setattr("memory_routing.server.sampling._CACHED", 110)
    response = draw(sampler, 5)
    assert len({tuple(found) for found in tokens(response)}) == 5
    assert tokens(response) == tokens(draw(sampler, 5))


def test_many_requests_at_once(client: Any) -> None:
    model = trainer(client)
    sampler = sampler_of(model)
    prompts = [list(range(3 + i, 30 + 2 * i)) for i in range(20)]
    params = types.SamplingParams(max_tokens=5, seed=1, stop=[])
    pending = [sampler.sample(types.ModelInput.from_ints(prompt), 2, params) for prompt in prompts]
    passes = [model.forward_backward([supervised(prompt)], "cross_entropy") for prompt in prompts]
    stepped = model.optim_step(ADAM)
    at_once = [tokens(result(one)) for one in pending]
    assert at_once == [tokens(draw(sampler, 2, prompt, max_tokens=5, seed=1)) for prompt in prompts]
    assert [result(one).metrics["loss:sum"] > 0 for one in passes] == [True] * 20
    assert result(stepped).metrics["grad_norm:mean"] > 0


# What clients are told


def test_what_is_served(client: Any, url: str, folder: Path) -> None:
    rest = tinker.RestClient(base_url=url, api_key=KEY)
    (served,) = result(rest.get_server_capabilities()).supported_models
    assert (served.model_name, served.max_context_length) == (NAME, 4096)
    info = trainer(client).get_info()
    assert (info.model_data.model_name, info.lora_rank, info.model_data.arch) == (NAME, 16, "llama")
    assert Path(info.model_data.tokenizer_id) == folder.resolve()
    assert len(trainer(client).get_tokenizer()) == len(tiny_llama.tokenizer())
    assert result(client.create_sampling_client(base_model=NAME)).get_base_model() == NAME
    session = client.holder.get_session_id()
    assert session in result(rest.list_sessions()).sessions
    assert result(rest.get_session(session)).training_run_ids


def bad_datum(**changed: Any) -> Any:
    inputs = {"target_tokens": [2, 3, 4], "weights": [1.0, 1.0, 1.0], **changed}
    tokens = inputs.pop("tokens", [1, 2, 3])
    return datum(tokens, **{name: value for name, value in inputs.items() if value is not None})


@pytest.mark.parametrize(
    ("changed", "loss", "expected"),
    [
        ({"target_tokens": [2, 3], "weights": [1.0, 1.0]}, "cross_entropy", "datum 1: 2 target_tokens for 3 tokens"),
        ({"weights": [1.0]}, "cross_entropy", "datum 1: 1 weights for 3 target_tokens"),
        ({"weights": [1.0, math.nan, 1.0]}, "cross_entropy", "datum 1: weights holds nan"),
        (
            {"tokens": [1, 2, 2048]},
            "cross_entropy",
            "datum 1: model_input holds the token 2048, but the vocabulary has",
        ),
        ({"target_tokens": [2, 3, -1]}, "cross_entropy", "datum 1: target_tokens holds the token -1"),
        ({"tokens": []}, "cross_entropy", "datum 1: model_input holds no token"),
        ({"target_tokens": None}, "cross_entropy", "datum 1 has no target_tokens"),
        ({"advantages": [1.0, 1.0, 1.0]}, "cross_entropy", "datum 1 has 'advantages' in its loss_fn_inputs"),
        ({}, "importance_sampling", "datum 1 has no advantages"),
        (
            {"weights": None, "logprobs": [0.0, 0.0], "advantages": [1.0, 1.0, 1.0]},
            "ppo",
            "datum 1: 2 logprobs for 3 target_tokens",
        ),
        (
            {"weights": None, "logprobs": [-500.0, 0.0, 0.0], "advantages": [1.0, 1.0, 1.0]},
            "importance_sampling",
            "the loss of the datums [0, 1] is -inf",
        ),
        ({}, "gspo", "this service has no loss 'gspo', only cross_entropy, importance_sampling, ppo, cispo"),
    ],
)
def test_bad_datums(client: Any, changed: dict[str, Any], loss: str, expected: str) -> None:
    model = trainer(client, seed=1)
    good = bad_datum()
    if loss in ("importance_sampling", "ppo"):
        good = bad_datum(weights=None, logprobs=[0.0] * 3, advantages=[1.0] * 3)
    assert expected in refused(model.forward_backward([good, bad_datum(**changed)], loss))
    learn(model, [supervised()])
    untouched = trainer(client, seed=1)
    learn(untouched, [supervised()])
    assert same(forward(model), forward(untouched)), "a refused request leaves no gradient"


def test_bad_settings_of_losses_and_steps(client: Any) -> None:
    model = trainer(client)
    datum = bad_datum(weights=None, logprobs=[0.0] * 3, advantages=[1.0] * 3)
    for config, expected in (
        ({"clip_low_threshold": 2.0, "clip_high_threshold": 1.0}, "clip_low_threshold to 2.0, above"),
        ({"beta": 1.0}, "loss_fn_config sets beta, but ppo takes clip_low_threshold, clip_high_threshold"),
        ({"clip_low_threshold": "low"}, "to a text"),
        ({"clip_low_threshold": math.inf}, "no finite number"),
    ):
        assert expected in refused(model.forward_backward([datum], "ppo", config))
    assert "learning_rate is -1.0" in refused(model.optim_step(types.AdamParams(learning_rate=-1.0)))
    assert "adamw only" in refused(model.optim_step(types.DimuonParams(learning_rate=0.1)))


def test_sequences_longer_than_the_context(client: Any) -> None:
    long = [5] * 4097
    expected = "datum 0: model_input has 4097 tokens, but the model's context takes 4096"
    assert expected in refused(trainer(client).forward([supervised(long, [1])], "cross_entropy"))
    sampler = result(client.create_sampling_client(base_model=NAME))
    assert "the prompt has 4097 tokens" in refused(sampler.compute_logprobs(types.ModelInput.from_ints(long)))
    params = types.SamplingParams(max_tokens=20)
    pending = sampler.sample(types.ModelInput.from_ints(long[:4090]), 1, params)
    assert "the prompt has 4090 tokens and max_tokens is 20" in refused(pending)
    assert len(result(sampler.compute_logprobs(types.ModelInput.from_ints(long[:4096])))) == 4096


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_k": -5}, "top_k is -5"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"stop": [""]}, "texts that are not empty"),
        ({"prompt": []}, "the prompt holds no token"),
        ({"prompt": [9999]}, "the prompt holds the token 9999"),
    ],
)
def test_bad_sampling(client: Any, params: dict[str, Any], expected: str) -> None:
    sampler = result(client.create_sampling_client(base_model=NAME))
    prompt = params.pop("prompt", PROMPT)
    pending = sampler.sample(types.ModelInput.from_ints(prompt), 1, types.SamplingParams(**{"max_tokens": 1, **params}))
    assert expected in refused(pending)


def test_what_cannot_be_created(client: Any) -> None:
    assert f"'some/model' is not served here, only {NAME}" in refused(client.create_lora_training_client("some/model"))
    assert "the LoRA rank is 0" in refused(client.create_lora_training_client(NAME, rank=0))
    pending = client.create_lora_training_client(NAME, optimizer=types.DimuonOptimizerConfig())
    assert "no optimiser 'dimuon'" in refused(pending)
    with pytest.raises(tinker.BadRequestError, match="is not served here"):
        result(client.create_sampling_client(base_model="some/model"))


def test_a_trainer_that_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    with threaded(NAME, folder, tmp_path, memory_gb=0.005) as url, connected(url) as client:
        model = trainer(client, rank=8)
        said = refused(client.create_lora_training_client(NAME, rank=512))
        assert "a training client of rank 512 on test/tiny-llama needs about" in said
        assert "--memory-gb" in said
        learn(model, [supervised()])
        client.close("success").result(service.WAIT)
    with threaded(NAME, folder, tmp_path, memory_gb=0.0001) as url, connected(url) as client:
        assert "the base model test/tiny-llama needs about" in refused(client.create_lora_training_client(NAME))


def test_a_session_that_ended_gives_its_memory_back(folder: Path, tmp_path: Path) -> None:
    with threaded(NAME, folder, tmp_path, memory_gb=0.0075) as url:
        for _ in range(3):
            with connected(url) as client:
                sampler_of(trainer(client, rank=64))
        deadline = time.monotonic() + service.WAIT
        while list((tmp_path / "snapshots").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_session_without_a_sign_of_life_ends(folder: Path, tmp_path: Path) -> None:
    with threaded(NAME, folder, tmp_path, idle_seconds=0.5) as url, connected(url) as client:
        model = trainer(client)
        deadline = time.monotonic() + service.WAIT
        while list_sessions(url):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with pytest.raises(tinker.NotFoundError, match="go on from your last checkpoint"):
            result(model.forward([supervised()], "cross_entropy"))


def list_sessions(url: str) -> list[str]:
    return list(result(tinker.RestClient(base_url=url, api_key=KEY).list_sessions()).sessions)


def test_keys_and_errors_stay_where_they_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError(f"something in {tmp_path}")

    with threaded(NAME, folder, tmp_path) as url, connected(url) as client:
        model = trainer(client)
        monkeypatch.setattr("memory_routing.server.trainers.run_pass", broken)
        with pytest.raises(tinker.RequestFailedError) as caught:
            result(model.forward([supervised()], "cross_entropy"))
    assert caught.value.category is types.RequestErrorCategory.Server
    assert "RuntimeError" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert "something in" in caplog.text
    assert KEY not in caplog.text
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


class Losing:
    """Answers that get lost: the request is served, and the client hears of a broken gateway."""

    def __init__(self, app: Any, paths: set[str]) -> None:
        self.app, self.paths, self.lost = app, paths, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "").rpartition("/")[2]
        if path not in self.paths:
            await self.app(scope, receive, send)
            return
        self.paths.discard(path)
        self.lost += 1

        async def nowhere(_: Any) -> None:
            pass

        await self.app(scope, receive, nowhere)
        await send({"type": "http.response.start", "status": 502, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": b"-"})


def test_a_request_that_is_sent_again_is_done_once(client: Any, folder: Path, tmp_path: Path) -> None:
    expected = trainer(client)
    learn(expected, [supervised()])
    paths = {"create_model", "forward_backward", "optim_step", "save_weights", "save_weights_for_sampler", "asample"}
    layers: list[Losing] = []

    def wrap(app: Any) -> Any:
        layers.append(Losing(app, paths))
        return layers[0]

    with threaded(NAME, folder, tmp_path, wrap=wrap) as url, connected(url) as other:
        model = trainer(other)
        learn(model, [supervised()])
        assert result(model.save_state("once")).path.endswith("/weights/once")
        assert tokens(draw(sampler_of(model))) == tokens(draw(sampler_of(expected)))
        assert same(forward(model), forward(expected))
    assert layers[0].lost == 6
    assert not paths


def test_cancelled_requests_are_left_out(client: Any) -> None:
    sampler = sampler_of(trainer(client))
    params = types.SamplingParams(max_tokens=300, stop=[])
    pending = [sampler.sample(types.ModelInput.from_ints(PROMPT), 32, params) for _ in range(40)]
    time.sleep(0.3)
    started = time.monotonic()
    for one in pending:
        one.future().cancel()
    assert result(sampler.compute_logprobs(types.ModelInput.from_ints(PROMPT)))
    assert time.monotonic() - started < 20


def test_the_service_answers_while_it_computes(client: Any, url: str) -> None:
    sampler = sampler_of(trainer(client))
    params = types.SamplingParams(max_tokens=400, stop=[])
    pending = sampler.sample(types.ModelInput.from_ints(PROMPT), 32, params)
    time.sleep(0.2)
    started = time.monotonic()
    assert list_sessions(url)
    assert time.monotonic() - started < 1.0
    assert len(result(pending).sequences) == 32


def test_a_result_that_takes_long_is_asked_for_again(folder: Path, tmp_path: Path) -> None:
    with threaded(NAME, folder, tmp_path, poll_seconds=0.05) as url, connected(url) as client:
        sampler = result(client.create_sampling_client(base_model=NAME))
        assert len(draw(sampler, 16, max_tokens=200).sequences) == 16


def test_its_thread_ends_with_the_service(folder: Path, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with threaded(NAME, folder, tmp_path):
        (thread,) = (one for one in set(threading.enumerate()) - before if one.name == "torch")
    thread.join(service.WAIT)
    assert not thread.is_alive()
