"""Charts of training runs: loss, reward, its components, divergence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from memory_routing.drawing import COLOURS, INK, SOFT, WIDTH, Chart, axes_of, short
from memory_routing.pages.sources import Curve, Run

__all__ = ["run_charts"]

_LAST: Final = 5
"""Iterations that the mean at the end is over."""
_SIZE: Final = (WIDTH, 3.0)
_STRETCH: Final = 5
"""How many times the critical line a divergence may be until its axis becomes logarithmic."""
_DASHES: Final = ("-", "--", "-.", ":")


def run_charts(run: Run, prefix: str = "") -> Iterator[Chart]:
    """The charts that a run has numbers for; call it in `style()`."""
    if run.loss or run.validation_loss:
        yield _loss(run, prefix)
    if run.reward:
        yield _reward(run, prefix)
    if run.components:
        yield _components(run, prefix)
    if run.divergences:
        yield _divergence(run, prefix)


def _loss(run: Run, prefix: str) -> Chart:
    figure, axes = axes_of(*_SIZE)
    said = []
    if run.loss:
        axes.plot(*_columns(run.loss), color=COLOURS[0], linewidth=1.2, label="training")
        said.append(f"Training loss: {_ends(run.loss)}.")
    if run.validation_loss:
        axes.plot(*_columns(run.validation_loss), "o", color=COLOURS[1], markersize=4, label="validation")
        step, best = _best(run.validation_loss, -1)
        said.append(f"Validation loss: {_ends(run.validation_loss)}, lowest {best:.3f} at step {step:g}.")
    if run.members > 1:
        said.append(f"The model is the mean of {run.members} members, each trained anew after the one before.")
    _finish(axes, "step", "loss")
    return Chart(f"{prefix}sft_loss", f"{run.name}: loss of supervised training", " ".join(said), figure)


def _reward(run: Run, prefix: str) -> Chart:
    figure, axes = axes_of(*_SIZE)
    steps, rewards = _columns(run.reward)
    said = [f"Mean reward of the rollouts: {_journey(run.reward)}."]
    spread = dict(run.reward_std)
    if spread:
        stds = [spread.get(step, math.nan) for step in steps]
        low, high = ([y + sign * std for y, std in zip(rewards, stds, strict=True)] for sign in (-1, 1))
        axes.fill_between(steps, low, high, color=COLOURS[0], alpha=0.2, linewidth=0, label="± 1 standard deviation")
        said.append("The band is one standard deviation of the rollouts to either side, also where no reward can lie.")
    axes.plot(steps, rewards, color=COLOURS[0], linewidth=1.4, marker="." if len(steps) == 1 else "", label="rollouts")
    if run.validation_reward:
        axes.plot(*_columns(run.validation_reward), "o", color=COLOURS[1], markersize=4, label="validation, greedy")
        said.append(f"On validation data: {_ends(run.validation_reward)}.")
    _finish(axes, "iteration", "reward")
    return Chart(f"{prefix}rl_reward", f"{run.name}: reward", " ".join(said), figure)


def _components(run: Run, prefix: str) -> Chart:
    figure, axes = axes_of(*_SIZE)
    _lines(axes, run.components)
    said = [f"{name}: {_ends(curve)}." for name, curve in run.components.items()]
    _finish(axes, "iteration", "mean score")
    caption = " ".join([*said, run.note]).strip()
    return Chart(f"{prefix}rl_components", f"{run.name}: components of the reward", caption, figure)


def _divergence(run: Run, prefix: str) -> Chart:
    figure, axes = axes_of(*_SIZE)
    watch = run.watch
    axes.axhline(watch.warning, color=SOFT, linestyle="--", linewidth=1, label=f"warning, {watch.warning:g}")
    axes.axhline(watch.critical, color=INK, linestyle="-", linewidth=1, label=f"critical, {watch.critical:g}")
    _lines(axes, run.divergences)
    _finish(axes, "iteration", "nats a token", legend=False)
    # Over the axes, where it hides nothing.
    # Above the curves, and not the figure's own, which a picture with a title would move.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    said = []
    if any(abs(y) > _STRETCH * watch.critical for curve in run.divergences.values() for _, y in curve):
        # Else the lines of the watch would lie on the axis.
        axes.set_yscale("symlog", linthresh=watch.critical)
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
        said.append(f"Beyond {watch.critical:g} the axis is logarithmic.")
    for name, curve in run.divergences.items():
        above = sum(not y <= watch.critical for _, y in curve)
        said.append(f"{name}: last {curve[-1][1]:.4f}, {above} of {len(curve)} iterations above {watch.critical:g}.")
    return Chart(f"{prefix}rl_kl", f"{run.name}: divergence of the policies (KL)", " ".join(said), figure)


def _lines(axes: Axes, curves: Mapping[str, Curve]) -> None:
    for i, (name, curve) in enumerate(curves.items()):
        colour, dash = COLOURS[i % len(COLOURS)], _DASHES[i % len(_DASHES)]
        axes.plot(*_columns(curve), dash, color=colour, linewidth=1.4, label=short(name))


def _journey(curve: Curve) -> str:
    """Where a curve began, where it ended, and its best, which is not its end."""
    step, best = _best(curve, 1)
    last = [y for _, y in curve[-_LAST:]]
    mean = math.fsum(last) / len(last)
    return f"{_ends(curve)}, best {best:.3f} (iteration {step:g}), mean of the last {len(last)} {mean:.3f}"


def _ends(curve: Curve) -> str:
    return f"first {curve[0][1]:.3f}, last {curve[-1][1]:.3f}"


def _best(curve: Curve, sign: int) -> tuple[float, float]:
    known = [(step, y) for step, y in curve if not math.isnan(y)]
    return max(known, key=lambda point: sign * point[1], default=curve[-1])


def _columns(curve: Curve) -> tuple[Sequence[float], Sequence[float]]:
    return [step for step, _ in curve], [y for _, y in curve]


def _finish(axes: Axes, across: str, up: str, *, legend: bool = True) -> None:
    axes.set(xlabel=across, ylabel=up)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True)
    if legend:
        axes.legend()
