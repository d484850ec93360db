"""Model cards: Markdown with the hub's front matter, written from a model folder, a report and a run, never typed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import ndiff
from importlib.metadata import version
from importlib.resources import files
from math import isclose
from pathlib import Path
from typing import Any, Final

import attrs

from memory_routing import marketing
from memory_routing.claims import FACTS, OWN, benchmark_hash, benchmark_of, check_card, front_matter, hub_library
from memory_routing.comparison import Comparison
from memory_routing.dataset_stats import dataset_stats
from memory_routing.embedded.router import MAX_CHARACTERS
from memory_routing.errors import MissingExtraError, ModelError, TrainingError
from memory_routing.files import parse_json
from memory_routing.intervals import share
from memory_routing.published import PublishedModel, loaded_by
from memory_routing.report import Report
from memory_routing.runs import CONFIG, read_rows
from memory_routing.selection import best_supervised
from memory_routing.stored import NAMES, Number, read_report
from memory_routing.trainer import Checkpoint
from memory_routing.wire import strict_converter, structure

__all__ = ["CardDetails", "check_card", "differences", "differences_from", "model_card", "on_packaged_benchmark"]

_PACKAGE: Final = "memory-routing"
_APACHE: Final = "Apache-2.0"
_LICENCES: Final = {"sentence-transformers/all-MiniLM-L6-v2": _APACHE}
"""Of base models that the project itself starts from."""
_UNKNOWN: Final = "not known to this card: ask whoever made it"
_SHARES: Final = ("exact", "malformed")
"""Measurements of a run that count conversations."""
_HELD: Final = "validation/"
"""What the names of a run's measurements on its validation data begin with."""


@attrs.frozen
class CardDetails:
    """What no artefact says of a model, and whoever made it does. What is left out is said to be unknown."""

    name: str | None = None
    repository: str | None = None
    """`organisation/name` that it will be loaded by."""
    authors: str | None = None
    license: str | None = None
    """Of the model: an SPDX name, as `Apache-2.0`."""
    base_license: str | None = None
    data: str | None = None
    """What the training data are, in a sentence."""
    data_license: str | None = None
    language: str | None = None


@attrs.frozen
class _Stage:
    """A row of the table of training stages."""

    name: str
    step: int
    trained: int | None
    metrics: dict[str, float]


@attrs.frozen
class _Facts:
    """What a card is made of beside a model and a report; it stands in the front matter."""

    details: CardDetails
    stages: list[_Stage] = attrs.field(factory=list)
    validation: str | None = None
    """Hash of the run's validation data."""
    validated: int | None = None
    """How many conversations the stages were measured on."""
    sentences: list[str] = attrs.field(factory=list)


def model_card(
    model_folder: str | Path,
    report: Report | Mapping[str, Any],
    run: str | Path | None = None,
    comparisons: Sequence[Comparison] = (),
    details: CardDetails | None = None,
) -> str:
    """The card of the model in a folder, with the numbers of a report (or of its `to_dict`, or of `read_report`).

    The model is an embedded one or an exported language model. `run` is the run folder that it comes from. What an
    artefact does not have is left out. Raises `ModelError` for a damaged folder or a report of another taxonomy,
    `TrainingError` for a run that did not make the model, and `ValueError` for a comparison that is not of this report.
    """
    plain = report.to_dict() if isinstance(report, Report) else report
    for comparison in comparisons:
        _check_comparison(comparison, plain)
    model = PublishedModel.read(model_folder)
    facts = _Facts(
        details=details or CardDetails(),
        stages=[] if run is None else list(_stages(Path(run), model)),
        **({} if run is None else _data_of(Path(run))),
        sentences=[sentence for comparison in comparisons for sentence in comparison.sentences()],
    )
    return _write(model, plain, facts)


def differences(card: str, model_folder: str | Path, report: Mapping[str, Any]) -> list[str]:
    """Where a card is not the one that is generated from a model and a report, a sentence each; empty where it is.

    Its numbers are compared first (`check_card`), then all of it: it is made again from the model, the report and what
    its front matter says beside them, which is the run's stages, sentences of comparisons and the maker's details.
    """
    return differences_from(card, PublishedModel.read(model_folder), report)


def differences_from(card: str, model: PublishedModel, report: Mapping[str, Any]) -> list[str]:
    """`differences` for a model that was read and checked already."""
    if found := check_card(card, report, model=model.hash):
        return found
    try:
        told = hub_library().RepoCard(card).data.to_dict()[OWN][FACTS]
        facts = structure(strict_converter(), told, _Facts)
    except (KeyError, ValueError) as error:
        return [f"the front matter does not say what the card was made of ({error})"]
    lines = ndiff(_write(model, report, facts).splitlines(), card.splitlines())
    return [
        f"not generated: {line[2:]!r}" if line[0] == "+" else f"missing: {line[2:]!r}"
        for line in lines
        if line[0] in "+-"
    ]


def _write(model: PublishedModel, plain: Mapping[str, Any], facts: _Facts) -> str:
    report = read_report(plain, "the report", whole=True)
    if report.taxonomy is None or report.taxonomy.hash != model.taxonomy.hash:
        raise ModelError(
            f"{model.folder}: the report is of another taxonomy than the model; make a report of this model"
        )
    details = facts.details
    train, validation = marketing.dataset("train"), marketing.dataset("validation")
    packaged = model.dataset_hash == train.hash
    packaged_benchmark = on_packaged_benchmark(plain)
    benchmark = f"the {'packaged' if packaged_benchmark else 'given'} benchmark of {report.taxonomy.name}"
    base_licence = _LICENCES.get(model.base_model) or details.base_license
    data_licence = _APACHE if packaged else details.data_license
    licence = details.license or (_APACHE if packaged and base_licence == _APACHE else None)
    name = details.name or (details.repository or model.name).rpartition("/")[2]
    text = _render(
        name=name,
        model=model,
        loading=loaded_by(model.folder, details.repository or "ORGANISATION/NAME"),
        details=details,
        categories=model.taxonomy.categories,
        packaged_train=len(train) if packaged else None,
        packaged_validation=len(validation) if packaged and facts.validation == validation.hash else None,
        counts=dataset_stats(train).categories if packaged else None,
        settings=dict(_flat(model.config)),
        facts=facts,
        metrics=list(dict.fromkeys(key for stage in facts.stages for key in stage.metrics)),
        report=report,
        # A training file that is not the model's says nothing of the model.
        leakage=report.leakage if report.leakage and report.leakage.data == model.dataset_hash else None,
        benchmark=benchmark,
        packaged_benchmark=packaged_benchmark and packaged,
        names=NAMES,
        longest=MAX_CHARACTERS,
        licences={
            "model": licence or _UNKNOWN,
            f"base model {model.base_model}": base_licence or _UNKNOWN,
            "training data": data_licence or _UNKNOWN,
            "library": _APACHE,
        },
        authors=details.authors or "The memory_routing developers",
        version=version(_PACKAGE),
        nothing=0,
    )
    data = front_matter(
        plain,
        name=name,
        benchmark=benchmark,
        model=model.hash,
        text=text,
        facts=attrs.asdict(facts),
        language="en" if packaged else details.language,
        license=licence.lower() if licence else None,
        library_name=_PACKAGE,
        pipeline_tag="text-classification",
        base_model=model.base_model,
        tags=["memory", "agents", "multi-label-classification", *(["onnx"] if model.window else [])],
    )
    return f"---\n{data.to_yaml()}\n---\n{text}"


def on_packaged_benchmark(report: Mapping[str, Any]) -> bool:
    """Whether a report is on the packaged benchmark."""
    return benchmark_of(report) == benchmark_hash(
        (scenario.conversation.to_dicts(), scenario.accepted_names) for scenario in marketing.benchmark()
    )


def _check_comparison(comparison: Comparison, report: Mapping[str, Any]) -> None:
    """A sentence in the card is of the card's own numbers, or it is not there."""
    values = {name: report["summary"][name]["value"] for name in comparison.differences}
    sides = ((comparison.first, "first", "second"), (comparison.second, "second", "first"))
    for router, side, other in sides:
        left_out = comparison.left_out.get(other, 0)
        if router == report["router"] and comparison.scenarios + left_out == report["scenarios"]:
            if left_out:
                return  # of fewer scenarios than the report, and so of other means
            found = {name: getattr(difference, side) for name, difference in comparison.differences.items()}
            if all(isclose(values[name], found[name], abs_tol=1e-9) for name in values):
                return
    raise ValueError(f"the comparison of {comparison.first} and {comparison.second} is not of this report")


def _stages(run: Path, model: PublishedModel) -> Iterator[_Stage]:
    """Base, SFT and SFT + RL, as far as the run has them."""
    checkpoints, rows = Checkpoint.read_all(run), read_rows(run)
    made = [c for c in checkpoints if (c.base_model, c.dataset_hash) == (model.base_model, model.dataset_hash)]
    if not any(dict(checkpoint.metrics) == model.metrics for checkpoint in made):
        raise TrainingError(f"{run}: none of its checkpoints is this model; name the run that made it, or none")
    before = next((row for row in rows if row.get("step") == 0 and any(key.startswith(_HELD) for key in row)), None)
    if before is not None:
        measured = {key.removeprefix(_HELD): value for key, value in before.items() if key.startswith(_HELD)}
        yield _Stage("base", 0, None, _numbers(measured))
    for phase, name in (("sft", "SFT"), ("rl", "SFT + RL")):
        if of_phase := [checkpoint for checkpoint in made if checkpoint.phase == phase]:
            chosen = _chosen(of_phase, model)
            trained = max((row["step"] for row in rows if row.get("phase", "sft") == phase), default=None)
            own = " (this model)" if dict(chosen.metrics) == model.metrics else ""
            yield _Stage(name + own, chosen.step, trained, _numbers(chosen.metrics))


def _chosen(of_phase: Sequence[Checkpoint], model: PublishedModel) -> Checkpoint:
    """The model itself, or else the one that was gone on with: chosen by validation, or else the last."""
    own = next((checkpoint for checkpoint in of_phase if dict(checkpoint.metrics) == model.metrics), None)
    if own is not None:
        return own
    if of_phase[0].phase == "sft" and any("loss" in checkpoint.metrics for checkpoint in of_phase):
        return best_supervised(of_phase)
    earned = [checkpoint for checkpoint in of_phase if "reward" in checkpoint.metrics]
    return max(earned, key=lambda checkpoint: checkpoint.metrics["reward"], default=of_phase[-1])


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if isinstance(value, float | int) and "/" not in name}


def _data_of(run: Path) -> dict[str, Any]:
    """The hash of a run's validation data, where it says so, and how many conversations of them it used."""
    try:
        config = parse_json((run / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{run / CONFIG}: cannot be read ({error}); is it a run folder?") from None
    held = config.get("validation")
    counted = next((row["data/validation"] for row in read_rows(run) if "data/validation" in row), None)
    there = None if counted is None else counted["conversations"]
    if isinstance(held, int):
        return {"validated": None if there is None else min(held, there)}
    packaged = marketing.dataset("validation")
    return {"validation": held, "validated": len(packaged) if held == packaged.hash else there}


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
    environment.filters.update(cell=_cell, code=_code, decimal=_decimal, interval=_interval, measured=_measured)
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


def _measured(value: float | None, name: str, n: int | None) -> str:
    """A number of a training stage, with its interval where it is a share of n conversations."""
    if value is None or not n or name not in _SHARES:
        return _decimal(value)
    found = share(round(value * n), n)
    return f"{value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _interval(estimate: Number) -> str:
    return estimate.interval
