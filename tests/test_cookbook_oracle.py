"""Our datums and divergences equal those of `tinker_cookbook`, which trains with the same service."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_routing.datums import PolicyDatum, align
from memory_routing.divergence import divergence

from .strategies import policy_datums

os.environ["TINKER_TELEMETRY"] = "0"
reason = "the extra 'tinker' is not installed"
tinker = pytest.importorskip("tinker", reason=reason)
processing = pytest.importorskip("tinker_cookbook.rl.data_processing", reason=reason)
metrics = pytest.importorskip("tinker_cookbook.rl.metrics", reason=reason)
types = pytest.importorskip("tinker_cookbook.rl.types", reason=reason)
torch = pytest.importorskip("torch", reason=reason)


def theirs(datum: PolicyDatum) -> Any:
    """The cookbook's datum of the same rollout."""
    action = types.TokensWithLogprobs(tokens=list(datum.completion), maybe_logprobs=list(datum.logprobs))
    prompt = tinker.ModelInput.from_ints(list(datum.prompt))
    step = types.Transition(ob=prompt, ac=action, reward=0.0, episode_done=True)
    rollout = types.Trajectory(transitions=[step], final_ob=tinker.ModelInput.empty())
    (found,) = processing.trajectory_to_data(rollout, datum.advantage)
    return found


@given(policy_datums())
def test_policy_datums_are_the_cookbooks(datum: PolicyDatum) -> None:
    ours, other = align(datum), theirs(datum)
    assert other.model_input.to_ints() == ours.inputs.tolist()
    expected = {
        "target_tokens": ours.targets,
        "logprobs": ours.logprobs,
        "advantages": ours.advantages,
        "mask": ours.mask,
    }
    assert set(other.loss_fn_inputs) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(other.loss_fn_inputs[name].to_numpy(), values, err_msg=name)


@settings(deadline=None)
@given(st.lists(policy_datums(), min_size=1, max_size=4), st.integers(0, 1000))
def test_k1_and_k2_are_the_cookbooks(datums: list[PolicyDatum], seed: int) -> None:
    aligned = [align(datum) for datum in datums]
    rng = np.random.default_rng(seed)
    trained = [rng.normal(-2, 1, len(item)).astype(np.float32) for item in aligned]
    found = divergence([np.asarray(item.logprobs) for item in aligned], trained, [item.mask for item in aligned])
    other = metrics.compute_kl_sample_train([theirs(datum) for datum in datums], [torch.tensor(x) for x in trained])
    assert found.k1 == pytest.approx(other["optim/kl_sample_train_v1"], rel=1e-4, abs=1e-5)
    assert found.k2 == pytest.approx(other["optim/kl_sample_train_v2"], rel=1e-4, abs=1e-5)
