"""Draw the curves of the documentation from the results files: python benchmarks/curves.py (needs matplotlib)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[1]
STEP, SUPERVISED = "before and after the step", "learner and supervised"
PANELS = [
    ("supervised: loss in nats a token", "linear", {"sft/loss": "training", "sft/validation/loss": "validation"}),
    ("reinforcement: reward", "linear", {"rl/reward": "rollouts", "rl/validation/reward": "validation, greedy"}),
    ("reinforcement: k3", "log", {"rl/kl/step/k3": STEP, "rl/kl/sft/k3": SUPERVISED}),
]


def draw(results: dict[str, Any], path: Path) -> None:
    """One panel for each kind of curve."""
    # The same file for the same numbers.
    mpl.rcParams["svg.hashsalt"] = "memory_routing"
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 3.4), layout="constrained")
    for axis, (title, scale, curves) in zip(axes, PANELS, strict=True):
        for name, label in curves.items():
            steps, values = zip(*results["curves"][name], strict=True)
            marker = "o" if "validation" in name else ""
            axis.plot(steps, values, label=label, marker=marker, markersize=3, linewidth=1.2)
        axis.set(title=title, xlabel="step" if title.startswith("supervised") else "iteration", yscale=scale)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    axes[1].axhline(results["constant"]["reward"], linestyle=":", color="grey", label="best constant answer")
    axes[1].legend(frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    found = json.loads((ROOT / "docs/results/language_model.json").read_text(encoding="utf-8"))
    for task, results in found.items():
        draw(results, ROOT / f"docs/images/language_model_{task}.svg")
