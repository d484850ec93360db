"""Stored predictions, scored like a router: ours, decisions as JSON lines, and the published file's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from memory_routing.decision import Decision, ScoredLabel
from memory_routing.errors import BadLine, DatasetError
from memory_routing.example import Scenario
from memory_routing.files import parse_json, read_bytes, read_json_lines
from memory_routing.labels import Malformed
from memory_routing.report import Report, ScenarioResult
from memory_routing.taxonomy import Taxonomy
from memory_routing.wire import strict_converter, structure

__all__ = ["read_predictions", "score_predictions"]


@attrs.frozen
class _Label:
    category: str
    score: float | None = None
    evidence: list[int] | None = None


@attrs.frozen
class _Decided:
    labels: list[_Label] | None = None
    scores: dict[str, float] | None = None
    malformed: str | None = None


@attrs.frozen
class _Prediction:
    """One prediction: its labels in `predicted` or `categories`, more of it in `decision`."""

    id: str
    predicted: list[str] | None = None
    categories: list[str] | None = None
    decision: _Decided = attrs.field(factory=_Decided)


_CONVERTER = strict_converter(forbid_extra_keys=False)


def read_predictions(path: str | Path, taxonomy: Taxonomy) -> dict[str, dict[str, Decision]]:
    """Decisions by scenario id, for each model of a file.

    A report that `memory-routing benchmark --out` wrote, the JSON lines of `memory-routing classify --jsonl`, or the
    published form with `detailed_results` of several models. What is no label set is malformed. Raises `DatasetError`.
    """
    data = read_bytes(path)
    try:
        models = _models(data, Path(path).stem)
        return {name: _decisions(rows, taxonomy, name) for name, rows in models.items()}
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def score_predictions(decisions: Mapping[str, Decision], scenarios: Sequence[Scenario], name: str) -> Report:
    """The report of stored decisions on scenarios. Raises `DatasetError` where a scenario has none."""
    missing = [scenario.id for scenario in scenarios if scenario.id not in decisions]
    if missing:
        raise DatasetError(
            f"{name}: no prediction for {len(missing)} of {len(scenarios)} scenarios, the first is {missing[0]!r}"
        )
    if not scenarios:
        raise DatasetError("no scenarios to score predictions on")
    results = [ScenarioResult(scenario, decisions[scenario.id]) for scenario in scenarios]
    return Report(name, results[0].decision.taxonomy, tuple(results))


def _models(data: bytes, name: str) -> dict[str, list[Any]]:
    """Rows of predictions by the name of their model."""
    try:
        whole = parse_json(data)
    except ValueError:
        rows = [row for _, row in read_json_lines(data.splitlines())]
        bad = next((row for row in rows if isinstance(row, BadLine)), None)
        if bad is not None:
            raise ValueError(f"neither a JSON document nor JSON lines: {bad}") from None
        return {name: rows}
    if not isinstance(whole, Mapping):
        raise ValueError("expected a report, 'detailed_results' or JSON lines")  # noqa: TRY004
    detailed = whole.get("detailed_results")
    if isinstance(detailed, Mapping):
        summaries = whole.get("summaries") or {}
        return {str(summaries.get(key, {}).get("name", key)): list(rows) for key, rows in detailed.items()}
    if isinstance(whole.get("results"), list):
        return {str(whole.get("router", name)): whole["results"]}
    return {name: [whole]}


def _decisions(rows: Sequence[Any], taxonomy: Taxonomy, name: str) -> dict[str, Decision]:
    found: dict[str, Decision] = {}
    for number, row in enumerate(rows, start=1):
        try:
            prediction = structure(_CONVERTER, row, _Prediction)
        except ValueError as error:
            raise ValueError(f"prediction {number}: {error}") from None
        if prediction.id in found:
            raise ValueError(f"prediction {number}: {prediction.id!r} occurs twice")
        found[prediction.id] = _decision(prediction, taxonomy, name, number)
    return found


def _decision(prediction: _Prediction, taxonomy: Taxonomy, name: str, number: int) -> Decision:
    said = prediction.predicted if prediction.predicted is not None else prediction.categories
    if said is None:
        raise ValueError(f"prediction {number}: give its labels in 'predicted' or 'categories'")
    text = ", ".join(said)
    labels = taxonomy.read(text)
    if isinstance(labels, Malformed) or prediction.decision.malformed is not None:
        broken = labels if isinstance(labels, Malformed) else Malformed(text, prediction.decision.malformed or "")
        return Decision(taxonomy, (), router=name, malformed=broken)
    more = {label.category: label for label in prediction.decision.labels or ()}
    scored = []
    for category in labels.categories:
        label = more.get(category.name, _Label(category.name))
        scored.append(ScoredLabel(category, label.score, None if label.evidence is None else tuple(label.evidence)))
    return Decision(taxonomy, tuple(scored), prediction.decision.scores, name)
