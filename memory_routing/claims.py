"""The numbers that a model card claims, in its front matter, held against the report that they come from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from memory_routing import stored
from memory_routing.errors import DatasetError, MissingExtraError
from memory_routing.files import parse_json, read_bytes
from memory_routing.frozen import value_hash

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

__all__ = [
    "Claim",
    "benchmark_hash",
    "benchmark_of",
    "check_card",
    "claims",
    "front_matter",
    "hub_library",
    "read_report",
    "text_hash",
]

OWN: Final = "memory_routing"
"""The key of the front matter under which the card says what it was made from."""
FACTS: Final = "facts"
_TYPES: Final = {"f1": "f1", "exact": "exact_match", "precision": "precision", "recall": "recall"}
"""Our names of metrics to the hub's, where it has one."""


@attrs.frozen
class Claim:
    """One number with what it rests on."""

    value: float
    n: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.6g} [{self.low:.6g}, {self.high:.6g}] (n = {self.n})"


def read_report(path: str | Path) -> dict[str, Any]:
    """A report as `Report.write` wrote it, with all its parts. Raises `DatasetError` for a file that is none."""
    try:
        found = parse_json(read_bytes(path))
    except ValueError as error:
        raise DatasetError(f"{path}: no report of a benchmark ({error})") from None
    stored.read_report(found, str(path), whole=True)
    checked: dict[str, Any] = found
    return checked


def claims(report: Mapping[str, Any]) -> dict[str, Claim]:
    """The numbers that a card states of a report: the headline ones and the F1 of each category."""
    found = {f"summary.{name}": estimate for name, estimate in report["summary"].items()}
    found |= {f"categories.{name}.f1": scores["f1"] for name, scores in report["categories"].items()}
    return {
        name: Claim(**{field: estimate[field] for field in ("value", "n", "low", "high")})
        for name, estimate in found.items()
        if estimate["n"]
    }


def benchmark_hash(scenarios: Iterable[tuple[Any, Any]]) -> str:
    """SHA-256 of what a benchmark asks: the turns of its conversations and the label sets that it accepts."""
    return value_hash(sorted(json.dumps([turns, accepted], sort_keys=True) for turns, accepted in scenarios))


def benchmark_of(report: Mapping[str, Any]) -> str:
    """`benchmark_hash` of the scenarios that a report has results on."""
    return benchmark_hash((result["conversation"], result["accepted"]) for result in report["results"])


def text_hash(text: str) -> str:
    """SHA-256 of a card's text below the front matter, the same for any line ends."""
    return value_hash("\n".join(text.strip().splitlines()))


def front_matter(
    report: Mapping[str, Any],
    *,
    name: str,
    benchmark: str,
    model: str,
    text: str,
    facts: Mapping[str, Any],
    **more: Any,
) -> ModelCardData:
    """What stands over a card, in the hub's form. `more` is as `huggingface_hub.ModelCardData` takes it.

    `facts` are what the card was made of beside model and report, so that it can be made again.
    """
    huggingface_hub = hub_library()
    results = [
        huggingface_hub.EvalResult(
            task_type="text-classification",
            task_name="memory routing",
            dataset_type=OWN,
            dataset_name=benchmark,
            dataset_revision=benchmark_of(report),
            metric_type=_TYPES.get(path.rpartition(".")[2], path.rpartition(".")[2]),
            metric_name=path,
            metric_value=claim.value,
            metric_args={"n": claim.n, "low": claim.low, "high": claim.high},
        )
        for path, claim in claims(report).items()
    ]
    own = {"model": model, "taxonomy": report["taxonomy"]["hash"], "text": text_hash(text), FACTS: facts}
    data: ModelCardData = huggingface_hub.ModelCardData(model_name=name, eval_results=results, **more, **{OWN: own})
    return data


def check_card(card: str, report: Mapping[str, Any], *, model: str | None = None) -> list[str]:
    """Where a card and a report differ, a sentence each; empty where the card claims what the report says.

    The numbers are those of the front matter (`model-index`). The text has no numbers of its own: it has to be the one
    that was generated with them. `model` is the hash of the model that the card should be of; without it, and in a
    report that names none, the card's word is taken.
    """
    try:
        found = hub_library().RepoCard(card)
        data = found.data.to_dict()
        results = [result for model_index in data["model-index"] for result in model_index["results"]]
        claimed = {metric["name"]: _claim(metric) for result in results for metric in result["metrics"]}
        own, revisions = data[OWN], {result["dataset"]["revision"] for result in results}
        told = {key: own[key] for key in ("model", "taxonomy", "text")}
    except ImportError:
        raise
    except Exception as error:  # whatever a YAML text of any shape can raise
        return [f"the front matter is not that of a generated card ({type(error).__name__}: {error})"]
    stated = claims(report)
    differences = [
        f"{name}: the card says {claimed.get(name, 'nothing')}, the report {stated.get(name, 'nothing')}"
        for name in {**stated, **claimed}
        if claimed.get(name) != stated.get(name)
    ]
    if sum(len(result["metrics"]) for result in results) != len(claimed):
        differences.append("a number is claimed twice")
    expected = {
        "taxonomy": (told["taxonomy"], {report["taxonomy"]["hash"]}),
        "benchmark": (", ".join(map(str, revisions)), {benchmark_of(report)}),
        "model": (told["model"], {known for known in (model, report.get("model")) if known} or {told["model"]}),
    }
    differences += [
        f"{what}: the card is of {said}, not of {', '.join(sorted(right))}"
        for what, (said, right) in expected.items()
        if {said} != right
    ]
    if text_hash(found.text) != told["text"]:
        differences.append("the text below the front matter is not the generated one")
    return differences


def _claim(metric: Mapping[str, Any]) -> Claim:
    return Claim(metric["value"], *(metric["args"][field] for field in ("n", "low", "high")))


def hub_library() -> Any:
    """`huggingface_hub`, which does not phone home. Raises `MissingExtraError` without the extra `hub`."""
    # Read once, at the library's import: it would tell the hub of the environment and ask it for a list of agents.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise MissingExtraError("a model card or a hub", "huggingface_hub", "hub") from None
    return huggingface_hub
