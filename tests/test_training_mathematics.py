"""Datums align for every prompt and completion, advantages are centred, and the divergences keep their bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing.advantages import centred_advantages, is_constant
from memory_routing.datums import PolicyDatum, SupervisedDatum, align, align_all
from memory_routing.divergence import divergence
from memory_routing.errors import TrainingError

from .strategies import policy_datums, tokens

logprobs = st.floats(-20, 0)
rewards = st.lists(st.integers(-1000, 1000).map(lambda thousandths: thousandths / 1000), min_size=2, max_size=32)


@given(tokens, tokens)
def test_a_supervised_datum_says_the_next_token_and_counts_its_own(prompt: list[int], target: list[int]) -> None:
    aligned = align(SupervisedDatum(prompt, target))
    length = len(prompt) + len(target) - 1
    assert [len(aligned), len(aligned.targets), len(aligned.mask)] == [length] * 3
    assert [*aligned.inputs, aligned.targets[-1]] == prompt + target
    assert [aligned.inputs[0], *aligned.targets] == prompt + target
    assert aligned.targets[aligned.mask > 0].tolist() == target
    assert aligned.logprobs is aligned.advantages is None


@given(policy_datums())
def test_a_policy_datum_keeps_each_logprob_at_its_token(datum: PolicyDatum) -> None:
    aligned = align(datum)
    plain = align(SupervisedDatum(datum.prompt, datum.completion))
    for ours, theirs in ((aligned.inputs, plain.inputs), (aligned.targets, plain.targets), (aligned.mask, plain.mask)):
        assert ours.tobytes() == theirs.tobytes()
    assert aligned.logprobs is not None
    assert aligned.advantages is not None
    before, own = aligned.mask == 0, aligned.mask > 0
    assert not aligned.logprobs[before].any()
    assert not aligned.advantages[before].any()
    assert aligned.logprobs[own].tolist() == np.array(datum.logprobs, dtype=np.float32).tolist()
    assert set(aligned.advantages[own].tolist()) == {float(np.float32(datum.advantage))}


def test_alignment_in_full() -> None:
    aligned = align(PolicyDatum((1, 2, 3), (4, 5), (-0.5, -0.25), 2.0))
    assert aligned.inputs.tolist() == [1, 2, 3, 4]
    assert aligned.targets.tolist() == [2, 3, 4, 5]
    assert aligned.mask.tolist() == [0, 0, 1, 1]
    assert aligned.logprobs is not None
    assert aligned.logprobs.tolist() == [0, 0, -0.5, -0.25]
    assert aligned.advantages is not None
    assert aligned.advantages.tolist() == [0, 0, 2, 2]
    assert [str(aligned.inputs.dtype), str(aligned.mask.dtype)] == ["int64", "float32"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (((), (1,), (0.0,), 0.0), "prompt holds no token"),
        (((1,), (), (), 0.0), "completion holds no token"),
        (((1, -3), (1,), (0.0,), 0.0), "negative token -3"),
        (((1,), (1, 2), (0.0,), 0.0), "1 logprobs for 2 sampled tokens"),
        (((1,), (1,), (math.nan,), 0.0), "not finite"),
        (((1,), (1,), (0.0,), math.inf), "not finite"),
    ],
)
def test_a_datum_that_cannot_be_is_refused(
    parts: tuple[Sequence[int], Sequence[int], Sequence[float], float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyDatum(*parts)


def test_a_batch_is_checked_before_it_is_sent() -> None:
    good, long = SupervisedDatum([1, 2], [3]), SupervisedDatum([1] * 9, [2, 3])
    assert len(align_all([good, long], vocabulary=4, longest=11)) == 2
    with pytest.raises(TrainingError, match="no datum"):
        align_all([])
    with pytest.raises(TrainingError, match="datum 1 with 9 prompt and 2 own tokens is longer than the 10"):
        align_all([good, long], longest=10)
    with pytest.raises(TrainingError, match=r"datum 0 with 2 prompt and 1 own tokens holds token 3, .* has 3"):
        align_all([good, long], vocabulary=3)


@given(rewards, st.booleans())
def test_advantages_are_centred_and_keep_the_order(group: list[float], scale: bool) -> None:
    advantages = centred_advantages(group, scale=scale)
    assert advantages.shape == (len(group),)
    assert abs(advantages.sum()) < 1e-6
    assert is_constant(group) == (not advantages.any())
    order = np.argsort(group, kind="stable")
    assert (np.diff(advantages[order]) >= -1e-9).all()
    if not scale:
        np.testing.assert_allclose(advantages, np.array(group) - np.mean(group), atol=1e-12)


@given(rewards, st.integers(0, 1000))
def test_advantages_follow_their_rollouts(group: list[float], seed: int) -> None:
    places = np.random.default_rng(seed).permutation(len(group))
    moved = centred_advantages([group[i] for i in places])
    np.testing.assert_allclose(moved, centred_advantages(group)[places], atol=1e-12)


@pytest.mark.parametrize("group", [[], [1.0], [1.0, math.nan]])
def test_what_is_no_group_is_refused(group: list[float]) -> None:
    with pytest.raises(ValueError, match=r"rollouts|finite"):
        centred_advantages(group)


@st.composite
def policies(draw: st.DrawFn) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Logprobs of the same tokens under two policies, and masks that leave at least one of them."""
    ours, theirs, masks = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(1, 8))
        ours.append(np.array(draw(st.lists(logprobs, min_size=n, max_size=n))))
        theirs.append(np.array(draw(st.lists(logprobs, min_size=n, max_size=n))))
        masks.append(np.array([*draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n - 1, max_size=n - 1)), 1.0]))
    return ours, theirs, masks


@given(policies())
def test_divergences_are_token_means_within_their_bounds(
    drawn: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]],
) -> None:
    ours, theirs, masks = drawn
    found = divergence(ours, theirs, masks)
    d = [a - b for x, y, m in zip(ours, theirs, masks, strict=True) for a, b, own in zip(x, y, m, strict=True) if own]
    assert found.tokens == len(d)
    assert found.k1 == pytest.approx(math.fsum(d) / len(d), abs=1e-12)
    assert found.k2 == pytest.approx(math.fsum(x * x for x in d) / len(d) / 2)
    assert found.k3 == pytest.approx(math.fsum(math.exp(-x) - 1 + x for x in d) / len(d), rel=1e-9, abs=1e-12)
    assert found.k2 >= 0
    assert found.k3 >= 0
    same = divergence(ours, ours, masks)
    assert (same.k1, same.k2, same.k3) == (0, 0, 0)
    back = divergence(theirs, ours, masks)
    assert back.k1 == pytest.approx(-found.k1)
    assert back.k2 == pytest.approx(found.k2)


def test_k1_and_k3_estimate_the_divergence() -> None:
    rng = np.random.default_rng(0)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.4, 0.4, 0.2])
    drawn = rng.choice(3, size=200_000, p=p)
    found = divergence([np.log(p[drawn])], [np.log(q[drawn])], [np.ones(len(drawn))])
    exact = float((p * np.log(p / q)).sum())
    assert found.k1 == pytest.approx(exact, abs=0.002)
    assert found.k3 == pytest.approx(exact, abs=0.001)


@pytest.mark.parametrize(
    ("ours", "theirs", "masks", "message"),
    [
        ([[0.0]], [[0.0, 0.0]], [[1.0]], "datum 0: 1 and 2 logprobs under a mask of 1"),
        ([[0.0], [math.nan]], [[0.0], [0.0]], [[1.0], [1.0]], "datum 1: a logprob is not finite"),
        ([[0.0]], [[0.0]], [[0.0]], "no token counts"),
        ([], [], [], "no token counts"),
        ([[0.0]], [], [], "1 sampled, 0 trained"),
    ],
)
def test_a_divergence_that_cannot_be_is_refused(
    ours: list[list[float]], theirs: list[list[float]], masks: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        divergence(*([np.array(x) for x in side] for side in (ours, theirs, masks)))
