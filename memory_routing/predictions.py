"""Stored predictions, scored like a router: ours, decisions as JSON lines, and the published file's form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from memory_routing.decision import Decision, ScoredLabel
from memory_routing.errors import BadLine, DatasetError
from memory_routing.example import Scenario
from memory_routing.files import parse_json, read_bytes, read_json_lines
from memory_routing.labels import Malformed
from memory_routing.report import Failure, Report, ScenarioResult
from memory_routing.taxonomy import Taxonomy
from memory_routing.wire import strict_converter, structure

__all__ = ["Undecided", "read_predictions", "score_predictions"]


@attrs.frozen
class Undecided:
    """In place of a decision: why there is none."""

    reason: str


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
    """One prediction: its labels in `predicted` or `categories`, or why there are none."""

    predicted: list[str] | None = None
    categories: list[str] | None = None
    error: str | None = None


_CONVERTER = strict_converter(forbid_extra_keys=False)


def read_predictions(path: str | Path, taxonomy: Taxonomy) -> dict[str, dict[str, Decision | Undecided]]:
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


def score_predictions(
    decisions: Mapping[str, Decision | Undecided], scenarios: Sequence[Scenario], name: str
) -> Report:
    """The report of stored decisions on scenarios; those without a decision are its failures.

    Raises `DatasetError` where a scenario has no prediction or an id that another has too, or where none is decided.
    """
    if not scenarios:
        raise DatasetError("no scenarios to score predictions on")
    missing = [scenario.id for scenario in scenarios if scenario.id not in decisions]
    if missing:
        raise DatasetError(
            f"{name}: no prediction for {len(missing)} of {len(scenarios)} scenarios, the first is {missing[0]!r}"
        )
    identity, count = Counter(scenario.id for scenario in scenarios).most_common(1)[0]
    if count > 1:
        raise DatasetError(f"{count} scenarios have the id {identity!r}; give each an id of its own")
    results, failures = [], []
    for scenario in scenarios:
        found = decisions[scenario.id]
        if isinstance(found, Undecided):
            failures.append(Failure(scenario, found.reason))
        else:
            _check_evidence(found, scenario, name)
            results.append(ScenarioResult(scenario, found))
    if not results:
        raise DatasetError(f"{name}: none of {len(scenarios)} scenarios is decided; the first: {failures[0].reason}")
    return Report(name, results[0].decision.taxonomy, tuple(results), failures=tuple(failures))


def _check_evidence(decision: Decision, scenario: Scenario, name: str) -> None:
    turns = len(scenario.conversation)
    for label in decision.labels:
        for turn in label.evidence or ():
            if not 0 <= turn < turns:
                raise DatasetError(
                    f"{name}: the prediction for {scenario.id!r} names turn {turn} as evidence of "
                    f"{label.category.name}; the conversation has turns 0 to {turns - 1}"
                )


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
    if "detailed_results" in whole:
        return _published(whole)
    if isinstance(whole.get("results"), list):
        failures = whole.get("failures") or []
        lost = [{**row, "error": row.get("reason", "")} for row in failures if isinstance(row, Mapping)]
        return {str(whole.get("router", name)): [*whole["results"], *lost]}
    return {name: [whole]}


def _published(whole: Mapping[str, Any]) -> dict[str, list[Any]]:
    detailed, summaries = whole["detailed_results"], whole.get("summaries") or {}
    if not isinstance(detailed, Mapping) or not detailed:
        raise ValueError("detailed_results: expected an object with a list of predictions for each model")
    models: dict[str, list[Any]] = {}
    for key, rows in detailed.items():
        if not isinstance(rows, list):
            raise ValueError(f"detailed_results.{key}: expected a list of predictions")  # noqa: TRY004
        summary = summaries.get(key, {}) if isinstance(summaries, Mapping) else None
        if not isinstance(summary, Mapping):
            raise ValueError(f"summaries: expected an object with an object for {key}; or leave 'summaries' out")  # noqa: TRY004
        name = str(summary.get("name", key))
        if name in models:
            raise ValueError(f"summaries.{key}.name: {name!r} is the name of another model too; name each differently")
        models[name] = rows
    return models


def _decisions(rows: Sequence[Any], taxonomy: Taxonomy, name: str) -> dict[str, Decision | Undecided]:
    found: dict[str, Decision | Undecided] = {}
    for number, row in enumerate(rows, start=1):
        try:
            identity, decision = _decision(row, taxonomy, name)
            if identity in found:
                raise ValueError(f"{identity!r} occurs twice; keep one")  # noqa: TRY301
        except ValueError as error:
            raise ValueError(f"prediction {number} of {name}: {error}") from None
        found[identity] = decision
    return found


def _decision(row: Any, taxonomy: Taxonomy, name: str) -> tuple[str, Decision | Undecided]:
    """The id of a prediction, and what it says."""
    prediction = structure(_CONVERTER, row, _Prediction)
    # A line of `classify --jsonl` has the same id as the line that it answers, whatever that was called.
    identity = row.get("id", row.get("scenario_id"))
    if not isinstance(identity, str | int) or isinstance(identity, bool):
        raise ValueError("id is missing: give the scenario's in 'id' or 'scenario_id'")  # noqa: TRY004
    if prediction.error is not None:
        return str(identity), Undecided(prediction.error)
    said = prediction.predicted if prediction.predicted is not None else prediction.categories
    if said is None:
        raise ValueError("give its labels in 'predicted' or 'categories'")
    # The rest is in the decision of a report's result, and in the line itself where that is the decision.
    more = structure(_CONVERTER, row.get("decision", row if prediction.categories is not None else {}), _Decided)
    text = ", ".join(said)
    labels = taxonomy.read(text)
    if isinstance(labels, Malformed) or more.malformed is not None:
        broken = labels if isinstance(labels, Malformed) else Malformed(text, more.malformed or "")
        return str(identity), Decision(taxonomy, (), router=name, malformed=broken)
    told = {label.category: label for label in more.labels or ()}
    scored = []
    for category in labels.categories:
        label = told.get(category.name, _Label(category.name))
        scored.append(ScoredLabel(category, label.score, None if label.evidence is None else tuple(label.evidence)))
    return str(identity), Decision(taxonomy, tuple(scored), _scores(more.scores, taxonomy), name)


def _scores(scores: Mapping[str, float] | None, taxonomy: Taxonomy) -> Mapping[str, float] | None:
    if scores is None:
        return None
    if set(scores) != set(taxonomy.names):
        first = sorted(set(scores) ^ set(taxonomy.names))[0]
        raise ValueError(f"scores: give every category of the taxonomy one, and no other, or leave them out ({first})")
    for category, score in scores.items():
        if not 0 <= score <= 1:
            raise ValueError(f"scores: {category} has {score}; a score lies between 0 and 1")
    return scores
