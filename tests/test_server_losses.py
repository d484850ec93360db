"""The losses of the local Tinker service as mathematics."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="the extra 'server' is not installed")
for package in ("tinker", "fastapi", "peft"):
    pytest.importorskip(package, reason="the extra 'server' is not installed")

from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from memory_routing.server.losses import LOSSES, cispo, cross_entropy, importance_sampling, ppo

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")

numbers = st.floats(-2, 2, width=32)
positions = st.lists(st.tuples(st.floats(-6, 0, width=32), st.floats(-0.5, 0.5, width=32), numbers), min_size=1)


def vectors(rows: list[tuple[float, float, float]]) -> tuple[Tensor, Tensor, Tensor]:
    """Logprobs that want a gradient, the sampler's, and advantages."""
    logprobs, apart, advantages = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    return logprobs.requires_grad_(), (logprobs - apart).detach(), advantages


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    found: tuple[Tensor, ...] = torch.autograd.grad(loss, of)
    return found[0]


@given(positions)
def test_cross_entropy_is_the_weighted_likelihood(rows: list[tuple[float, float, float]]) -> None:
    logprobs, _, weights = vectors(rows)
    loss = cross_entropy(logprobs, weights)
    assert loss.item() == pytest.approx(
        -math.fsum(x * w for x, w in zip(logprobs.tolist(), weights.tolist(), strict=True))
    )
    torch.testing.assert_close(gradient(loss, logprobs), -weights)


@given(positions)
def test_on_policy_every_loss_has_the_policy_gradient(rows: list[tuple[float, float, float]]) -> None:
    logprobs, _, advantages = vectors(rows)
    same = logprobs.detach().clone()
    on_policy = importance_sampling(logprobs, same, advantages)
    torch.testing.assert_close(on_policy, -advantages.sum())
    for loss in (on_policy, ppo(logprobs, same, advantages, 0.8, 1.2), cispo(logprobs, same, advantages, 0.0, 4.0)):
        torch.testing.assert_close(gradient(loss, logprobs), -advantages)


@given(positions)
def test_ppo_is_importance_sampling_where_no_ratio_leaves_the_bounds(rows: list[tuple[float, float, float]]) -> None:
    logprobs, sampled, advantages = vectors(rows)
    wide = ppo(logprobs, sampled, advantages, 0.5, 2.0)
    torch.testing.assert_close(wide, importance_sampling(logprobs, sampled, advantages))
    narrow = ppo(logprobs, sampled, advantages, 0.9, 1.1)
    assert narrow.item() >= wide.item() - 1e-9, "clipping makes the objective lower, never higher"


@given(positions)
def test_ppo_gives_no_gradient_to_what_went_far_enough(rows: list[tuple[float, float, float]]) -> None:
    logprobs, sampled, advantages = vectors(rows)
    ratio = (logprobs - sampled).exp().detach()
    done = ((ratio > 1.1) & (advantages > 0)) | ((ratio < 0.9) & (advantages < 0))
    found = gradient(ppo(logprobs, sampled, advantages, 0.9, 1.1), logprobs)
    assert not found[done].any()


@given(positions)
def test_cispo_clips_the_weight_and_keeps_the_gradient(rows: list[tuple[float, float, float]]) -> None:
    logprobs, sampled, advantages = vectors(rows)
    found = gradient(cispo(logprobs, sampled, advantages, 0.0, 1.1), logprobs)
    torch.testing.assert_close(found, -(logprobs - sampled).exp().detach().clamp(max=1.1) * advantages)


@given(positions, st.sampled_from(sorted(LOSSES)))
def test_positions_without_coefficient_carry_neither_loss_nor_gradient(
    rows: list[tuple[float, float, float]], name: str
) -> None:
    logprobs, sampled, advantages = vectors(rows)
    loss = LOSSES[name]
    columns = {"logprobs": sampled, "advantages": advantages, "weights": advantages}
    columns[loss.coefficient] = torch.zeros_like(logprobs)
    value = loss(logprobs, columns, {})
    assert value.item() == 0
    assert not gradient(value, logprobs).any()


def test_bounds_of_a_request_replace_the_protocols() -> None:
    logprobs, sampled, advantages = torch.tensor([math.log(3.0)]), torch.zeros(1), torch.ones(1)
    columns = {"logprobs": sampled, "advantages": advantages}
    assert float(LOSSES["ppo"](logprobs, columns, {})) == pytest.approx(-1.2)
    assert float(LOSSES["ppo"](logprobs, columns, {"clip_high_threshold": 2.0})) == pytest.approx(-2.0)
    assert float(LOSSES["cispo"](logprobs, columns, {})) == pytest.approx(-3 * math.log(3), rel=1e-6)
