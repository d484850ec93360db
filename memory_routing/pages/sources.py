"""What a page is made from: reports, run folders, and the original project's logs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from memory_routing.errors import DatasetError
from memory_routing.files import parse_json, read_bytes
from memory_routing.reward import RewardFn
from memory_routing.runs import CONFIG, METRICS, read_rows
from memory_routing.stored import StoredReport, read_report
from memory_routing.watch import PAIRS, Watch

__all__ = ["Curve", "Run", "Sources", "read_sources"]

Curve: TypeAlias = tuple[tuple[float, float], ...]
"""Steps with what was measured at them, in the order of the file; `nan` for what is not finite."""

_LOGS: Final = {"sft": "sft_metrics.jsonl", "rl": "rl_metrics.jsonl"}
_COMPONENTS: Final = {"mean_r_f1": "f1", "mean_r_temp": "horizon", "mean_r_parity": "scope", "mean_r_eff": "efficiency"}
"""The original project's names of the reward's components, and ours."""
_EXPECTED: Final = (
    f"expected a report (JSON) that `memory-routing benchmark --out` wrote, a run folder with {METRICS}, or a folder "
    f"with {' and '.join(_LOGS.values())}"
)


@attrs.frozen
class Run:
    """What a training run measured. A curve that was not measured is empty."""

    name: str
    loss: Curve = ()
    validation_loss: Curve = ()
    reward: Curve = ()
    reward_std: Curve = ()
    """Standard deviation over the rollouts of an iteration."""
    validation_reward: Curve = ()
    components: Mapping[str, Curve] = attrs.field(factory=dict)
    divergences: Mapping[str, Curve] = attrs.field(factory=dict)
    watch: Watch = attrs.field(factory=Watch)
    members: int = 1
    """Models that were trained one after another, each from the beginning."""
    note: str = ""
    """What a reader has to know of the components."""


@attrs.frozen
class Sources:
    """Reports and runs, each with a name of its own."""

    reports: tuple[StoredReport, ...] = ()
    runs: tuple[Run, ...] = ()


def read_sources(paths: Iterable[str | Path]) -> Sources:
    """Read what each path names; raises `DatasetError` that names the path and what was expected, or `OSError`."""
    reports: list[tuple[str, StoredReport]] = []
    runs: list[Run] = []
    for path in map(Path, paths):
        if path.is_dir():
            runs.append(_run(path))
        else:
            reports.append((path.name.removesuffix(".gz").removesuffix(".json"), _report(path)))
    # Two reports of one router go by their files.
    routers = Counter(report.router for _, report in reports)
    names = [r.router if routers[r.router] == 1 else f"{r.router} ({stem})" for stem, r in reports]
    return Sources(
        tuple(attrs.evolve(r, name=name) for name, (_, r) in zip(_distinct(names), reports, strict=True)),
        tuple(attrs.evolve(run, name=name) for name, run in zip(_distinct([r.name for r in runs]), runs, strict=True)),
    )


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, with a number behind those that were there before."""
    found: list[str] = []
    for name in names:
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name} {number}"
        found.append(free)
    return found


def _report(path: Path) -> StoredReport:
    try:
        data = parse_json(read_bytes(path))
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f"{path}: {_EXPECTED}; this is {error}") from None
    return read_report(data, str(path))


def _run(folder: Path) -> Run:
    name = folder.resolve().name
    if (folder / METRICS).exists():
        return _own(folder, name)
    if any((folder / log).exists() for log in _LOGS.values()):
        return _original(folder, name)
    raise DatasetError(f"{folder}: {_EXPECTED}; this folder has none of these files")


def _own(folder: Path, name: str) -> Run:
    """A run of this library's trainers."""
    rows = read_rows(folder)
    if rows and not any("step" in row for row in rows):
        kind = "`generate`, which writes a page of its own: report.html" if "admitted" in rows[0] else "another kind"
        raise DatasetError(f"{folder}: {_EXPECTED}; this is a run of {kind}")
    phases = {phase: [row for row in rows if row.get("phase", "sft") == phase] for phase in ("sft", "rl")}
    sft, rl, config = phases["sft"], phases["rl"], _config(folder / CONFIG)
    parts = list(dict.fromkeys(key for row in rl for key in row if key.startswith("reward/")))
    return Run(
        name,
        loss=_curve(sft, "loss") or _curve(sft, "train_loss"),
        validation_loss=_curve(sft, "validation/loss"),
        reward=_curve(rl, "reward"),
        reward_std=_curve(rl, "reward_std"),
        validation_reward=_curve(rl, "validation/reward"),
        components=_known({part.removeprefix("reward/"): _curve(rl, part) for part in parts}),
        divergences=_known({f"k3, {pair}": _curve(rl, f"kl/{pair}/k3") for pair in PAIRS}),
        watch=_watch(config),
        members=members if isinstance(members := config.get("members"), int) else 1,
        note=f"A malformed answer counts as 0 in every component and as {_penalty(config):g} in the reward.",
    )


def _original(folder: Path, name: str) -> Run:
    """The original project's logs; its watch had the limits that are ours by default."""
    sft, rl = (read_rows(folder, log) for log in _LOGS.values())
    return Run(
        name,
        loss=_curve(sft, "train_loss"),
        validation_loss=_curve(sft, "test_loss"),
        reward=_curve(rl, "mean_reward", "iteration"),
        reward_std=_curve(rl, "std_reward", "iteration"),
        components=_known({ours: _curve(rl, theirs, "iteration") for theirs, ours in _COMPONENTS.items()}),
        divergences=_known({f"k{i}": _curve(rl, f"kl_v{i}", "iteration") for i in (1, 2)}),
        note="The components are means over answers that could be read, the reward is over all.",
    )


def _curve(rows: Iterable[Mapping[str, Any]], key: str, step: str = "step") -> Curve:
    pairs = [(_number(row.get(step)), _number(row.get(key))) for row in rows]
    known = ((x, y) for x, y in pairs if x is not None and y is not None and math.isfinite(x))
    return tuple((x, y if math.isfinite(y) else math.nan) for x, y in known)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _known(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    return {name: curve for name, curve in curves.items() if curve}


def _config(path: Path) -> Mapping[str, Any]:
    """What the run was told; nothing where it was not written down."""
    try:
        told = parse_json(path.read_bytes()) if path.exists() else {}
    except ValueError as error:
        raise DatasetError(f"{path}: expected the configuration of a run; {error}") from None
    return told if isinstance(told, Mapping) else {}


def _penalty(config: Mapping[str, Any]) -> float:
    reward = config.get("reward")
    told = _number(reward.get("malformed")) if isinstance(reward, Mapping) else None
    return RewardFn.malformed if told is None else told


def _watch(config: Mapping[str, Any]) -> Watch:
    try:
        return Watch.of_run(config)
    except ValueError as error:
        raise DatasetError(f"the watch of a run's configuration cannot be: {error}") from None
