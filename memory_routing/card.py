"""Model cards: Markdown with the hub's front matter, written from a model folder, a report and a run, never typed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from math import isclose
from pathlib import Path
from typing import Any, Final

import attrs

from memory_routing import marketing
from memory_routing.claims import benchmark_hash, benchmark_of, check_card, front_matter
from memory_routing.comparison import METRICS, Comparison
from memory_routing.dataset_stats import dataset_stats
from memory_routing.embedded.folder import Manifest, ModelFolder
from memory_routing.embedded.router import MAX_CHARACTERS
from memory_routing.errors import MissingExtraError, ModelError, TrainingError
from memory_routing.files import parse_json
from memory_routing.runs import CONFIG, read_rows
from memory_routing.taxonomy import NONE
from memory_routing.trainer import Checkpoint

__all__ = ["check_card", "model_card"]

_PACKAGE: Final = "memory-routing"
_APACHE: Final = "Apache-2.0"
_LICENCES: Final = {"sentence-transformers/all-MiniLM-L6-v2": _APACHE}
"""Of base models that the project itself starts from."""
_UNKNOWN: Final = "not known to this card: ask whoever made it"
_NAMES: Final = {
    **METRICS,
    "precision": "mean precision",
    "recall": "mean recall",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "evidence_f1": "F1 of the evidence turns",
    "evidence_precision": "precision of the evidence turns",
    "evidence_recall": "recall of the evidence turns",
    "scope": "right scope",
    "horizon": "right horizon",
}
_HELD: Final = "validation/"
"""What the names of a run's measurements on its validation data begin with."""


@attrs.frozen
class _Stage:
    """A row of the table of training stages."""

    name: str
    step: int
    trained: int | None
    metrics: Mapping[str, float]


def model_card(
    model_folder: str | Path,
    report: Mapping[str, Any],
    run: str | Path | None = None,
    comparisons: Sequence[Comparison] = (),
) -> str:
    """The card of the model in a folder, with the numbers of a report (`Report.to_dict`, or `read_report`).

    `run` is the run folder that the model comes from. What an artefact does not have is left out.
    Raises `ModelError` for a damaged folder or a report of another taxonomy, `TrainingError` for a run that did not
    make the model, and `ValueError` for a comparison that is not of this report.
    """
    folder = ModelFolder.read(Path(model_folder))
    manifest, model = folder.manifest, folder.manifest.hash
    if report["taxonomy"]["hash"] != folder.taxonomy.hash:
        raise ModelError(
            f"{model_folder}: the report is of another taxonomy than the model; make a report of this model"
        )
    for comparison in comparisons:
        _check_comparison(comparison, report)
    train, validation = marketing.dataset("train"), marketing.dataset("validation")
    packaged = manifest.dataset_hash == train.hash
    stages = [] if run is None else list(_stages(Path(run), manifest))
    data_of_run = {} if run is None else _data_of(Path(run))
    packaged_benchmark = benchmark_of(report) == benchmark_hash(
        (scenario.conversation.to_dicts(), [list(labels) or [NONE] for labels in scenario.accepted])
        for scenario in marketing.benchmark()
    )
    benchmark = f"the {'packaged' if packaged_benchmark else 'given'} benchmark of {report['taxonomy']['name']}"
    base_licence = _LICENCES.get(manifest.base_model)
    text = _render(
        name=manifest.name,
        manifest=manifest,
        model=model,
        categories=folder.taxonomy.categories,
        packaged_train=len(train) if packaged else None,
        packaged_validation=len(validation) if packaged and data_of_run.get("validation") == validation.hash else None,
        counts=dataset_stats(train).categories if packaged else None,
        settings=dict(_flat(manifest.config)),
        stages=stages,
        metrics=list(dict.fromkeys(key for stage in stages for key in stage.metrics)),
        validated=len(validation) if data_of_run.get("validation") == validation.hash else data_of_run.get("n"),
        report=report,
        benchmark=benchmark,
        packaged_benchmark=packaged_benchmark and packaged,
        names=_NAMES,
        sentences=[sentence for comparison in comparisons for sentence in comparison.sentences()],
        longest=MAX_CHARACTERS,
        licences={
            f"base model {manifest.base_model}": base_licence or _UNKNOWN,
            "training data": _APACHE if packaged else _UNKNOWN,
            "library": _APACHE,
        },
        authors="The memory_routing developers",
        version=version(_PACKAGE),
        nothing=0,
    )
    data = front_matter(
        report,
        name=manifest.name,
        benchmark=benchmark,
        model=model,
        text=text,
        language="en" if packaged else None,
        license=_APACHE.lower() if packaged and base_licence else None,
        library_name=_PACKAGE,
        pipeline_tag="text-classification",
        base_model=manifest.base_model,
        tags=["memory", "agents", "multi-label-classification", "onnx"],
    )
    return f"---\n{data.to_yaml()}\n---\n{text}"


def _check_comparison(comparison: Comparison, report: Mapping[str, Any]) -> None:
    """A sentence in the card is of the card's own numbers, or it is not there."""
    values = {name: report["summary"][name]["value"] for name in comparison.differences}
    for router, side in ((comparison.first, "first"), (comparison.second, "second")):
        if router == report["router"] and comparison.scenarios == report["scenarios"]:
            found = {name: getattr(difference, side) for name, difference in comparison.differences.items()}
            if all(isclose(values[name], found[name], abs_tol=1e-9) for name in values):
                return
    raise ValueError(f"the comparison of {comparison.first} and {comparison.second} is not of this report")


def _stages(run: Path, manifest: Manifest) -> Iterator[_Stage]:
    """Base, SFT and SFT + RL, as far as the run has them."""
    checkpoints, rows = Checkpoint.read_all(run), read_rows(run)
    made = [c for c in checkpoints if (c.base_model, c.dataset_hash) == (manifest.base_model, manifest.dataset_hash)]
    if not any(dict(checkpoint.metrics) == manifest.metrics for checkpoint in made):
        raise TrainingError(f"{run}: none of its checkpoints is this model; name the run that made it, or none")
    before = next((row for row in rows if row.get("step") == 0 and any(key.startswith(_HELD) for key in row)), None)
    if before is not None:
        measured = {key.removeprefix(_HELD): value for key, value in before.items() if key.startswith(_HELD)}
        yield _Stage("base", 0, None, _numbers(measured))
    for phase, name in (("sft", "SFT"), ("rl", "SFT + RL")):
        # The one that was gone on with: chosen by validation, or else the last.
        of_phase = [checkpoint for checkpoint in made if checkpoint.phase == phase]
        if not of_phase:
            continue
        if phase == "sft" and all("loss" in checkpoint.metrics for checkpoint in of_phase):
            chosen = min(of_phase, key=lambda checkpoint: checkpoint.metrics["loss"])
        elif all("reward" in checkpoint.metrics for checkpoint in of_phase):
            chosen = max(of_phase, key=lambda checkpoint: checkpoint.metrics["reward"])
        else:
            chosen = of_phase[-1]
        trained = max((row["step"] for row in rows if row.get("phase", "sft") == phase), default=None)
        yield _Stage(name, chosen.step, trained, _numbers(chosen.metrics))


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if isinstance(value, float | int) and "/" not in name}


def _data_of(run: Path) -> dict[str, Any]:
    """The hash of a run's validation data, or how many conversations of them it used."""
    try:
        config = parse_json((run / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{run / CONFIG}: cannot be read ({error}); is it a run folder?") from None
    held = config.get("validation")
    if not isinstance(held, int):
        return {"validation": held}
    counted = next((row["data/validation"] for row in read_rows(run) if "data/validation" in row), None)
    return {"n": None if counted is None else min(held, counted["conversations"])}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _render(**values: Any) -> str:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise MissingExtraError("a model card", "jinja2", "hub") from None
    # Markdown, not HTML: what is escaped is escaped by the filters.
    environment = Environment(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    environment.filters.update(cell=_cell, code=_code, decimal=_decimal, interval=_interval)
    template = files("memory_routing").joinpath("card.md.jinja").read_text("utf-8")
    return re.sub(r"\n{3,}", "\n\n", environment.from_string(template).render(values)) + "\n"


def _cell(text: str) -> str:
    """A text in a line of Markdown that says nothing but itself."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def _code(text: str) -> str:
    """A text between backticks."""
    return " ".join(str(text).split()).replace("`", "'").replace("|", r"\|")


def _decimal(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"


def _interval(estimate: Mapping[str, Any]) -> str:
    return "–" if estimate["low"] is None else f"{estimate['low']:.3f} to {estimate['high']:.3f}"
