"""The watch over the divergence says halt when it should, and only then."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing.watch import PAIRS, Level, Watch

values = st.lists(st.floats(0, 0.1), max_size=8)


@pytest.mark.parametrize(
    ("k3", "level"),
    [
        (0.0, Level.FINE),
        (0.0049, Level.FINE),
        (0.005, Level.WARNING),
        (0.01, Level.WARNING),
        (0.0101, Level.CRITICAL),
        (math.nan, Level.CRITICAL),
        (math.inf, Level.CRITICAL),
    ],
)
def test_levels(k3: float, level: Level) -> None:
    assert Watch().level(k3) is level


@given(values)
def test_the_first_pair_halts_at_once_the_second_after_three_and_the_third_never(history: list[float]) -> None:
    watch = Watch()
    critical = [k3 > 0.01 for k3 in history]
    assert watch.halts("sampler", history) == (critical[-1:] == [True])
    assert watch.halts("step", history) == (critical[-3:] == [True] * 3)
    assert not watch.halts("sft", history)


@given(st.integers(1, 5), values)
def test_what_halts_is_configuration(limit: int, history: list[float]) -> None:
    watch = Watch(halt_after={"sft": limit})
    assert watch.halts("sft", history) == (len(history) >= limit and all(k3 > 0.01 for k3 in history[-limit:]))
    assert not watch.halts("sampler", history)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="below warning"):
        Watch(warning=0.02)
    with pytest.raises(ValueError, match=f"the pairs are {', '.join(PAIRS)}"):
        Watch(halt_after={"smapler": 1})
    with pytest.raises(ValueError, match="from 1 on"):
        Watch(halt_after={"sampler": 0})
