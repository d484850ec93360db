"""Model cards: every number from an artefact, nothing claimed that is not proven, and edits by hand found."""

from __future__ import annotations

import copy
import json
import re
import shutil
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("huggingface_hub", reason="the extra 'hub' is not installed")
pytest.importorskip("jinja2", reason="the extra 'hub' is not installed")

from huggingface_hub import CardData, ModelCard, ModelCardData, RepoCard

from memory_routing import DatasetError, ModelError, Report, Router, TrainingError, compare, evaluate, marketing
from memory_routing.card import CardDetails, check_card, differences, model_card
from memory_routing.claims import claims, read_report, text_hash
from memory_routing.embedded.folder import Manifest, ModelFolder
from memory_routing.embedded.router import MAX_CHARACTERS
from memory_routing.frozen import plain
from memory_routing.intervals import share
from memory_routing.marketing import MODEL_FOLDER
from memory_routing.trainer import Checkpoint, SamplerWeights, TrainingState

SCENARIOS = marketing.benchmark()[:40]
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.])")


@cache
def measured() -> Report:
    return evaluate(Router.load(), SCENARIOS)


@cache
def told() -> dict[str, Any]:
    plain_report: dict[str, Any] = measured().to_dict()
    return plain_report


@cache
def card() -> str:
    return model_card(MODEL_FOLDER, told())


@cache
def manifest() -> Manifest:
    return ModelFolder.read(MODEL_FOLDER).manifest


def halves(text: str) -> tuple[Any, str]:
    """The front matter and the text."""
    found = RepoCard(text)
    return dict(found.data.__dict__), found.text


def test_the_front_matter_is_in_the_form_of_the_hub() -> None:
    data = ModelCard(card()).data
    assert isinstance(data, ModelCardData)
    assert data.license == "apache-2.0"
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    results = {result.metric_name: result for result in data.eval_results or []}
    assert results["summary.f1"].metric_value == told()["summary"]["f1"]["value"]
    assert (results["summary.f1"].metric_args or {})["n"] == 40
    assert set(results) == set(claims(told()))
    assert halves(card())[0]["memory_routing"]["model"] == manifest().hash


def test_the_same_artefacts_make_the_same_card() -> None:
    assert model_card(MODEL_FOLDER, told()) == card()


def test_all_parts_are_there() -> None:
    headings = re.findall(r"^## (.+)$", card(), re.MULTILINE)
    assert headings == [
        "Intended use",
        "Out of scope",
        "Data",
        "Configuration",
        "Results",
        "Limits",
        "Ethics",
        "Licences",
        "Citation",
    ]
    assert f"{len(marketing.dataset('train')):,} conversations" in card()
    assert "synthetic" in card()


def test_the_template_has_no_numbers_of_its_own() -> None:
    template = files("memory_routing").joinpath("card.md.jinja").read_text("utf-8")
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", template, flags=re.DOTALL)
    for name in ("SHA-256", "F1", "95 % interval"):
        text = text.replace(name, "")
    assert re.findall(r"\d", text) == []


def test_the_rows_are_those_of_the_report() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in card().splitlines() if line[:1] == "|"]
    by_name = {row[0].strip("`"): row for row in rows}
    for name, scores in told()["categories"].items():
        support, *cells, n = by_name[name][1:9]
        assert (int(support), int(n)) == (scores["support"], scores["f1"]["n"] or 0)
        for metric, cell, interval in zip(("precision", "recall", "f1"), cells[::2], cells[1::2], strict=True):
            value, low, high = (scores[metric][key] for key in ("value", "low", "high"))
            assert cell == ("–" if value is None else f"{value:.3f}")
            assert interval == ("–" if value is None else f"{low:.3f} to {high:.3f}")
    f1 = told()["summary"]["f1"]
    assert by_name["mean F1"][1:] == [f"{f1['value']:.3f}", f"{f1['low']:.3f} to {f1['high']:.3f}", "40"]


def test_what_was_generated_is_believed() -> None:
    assert check_card(card(), told()) == []
    assert check_card(card(), told(), model=manifest().hash) == []
    assert check_card(card().replace("\n", "\r\n"), told()) == []
    assert check_card(card(), json.loads(json.dumps(told()))) == []


@settings(max_examples=60)
@given(st.data())
def test_any_number_edited_by_hand_is_found(data: st.DataObject) -> None:
    # What stands before the results is licence, language and the like, which are no numbers of the model.
    found = list(NUMBER.finditer(card(), card().index("model-index:")))
    match = data.draw(st.sampled_from(found))
    # The last of seventeen digits need not change the number.
    places = [place for place in range(match.start(), min(match.end(), match.start() + 8)) if card()[place].isdigit()]
    place = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != card()[place]]))
    edited = card()[:place] + digit + card()[place + 1 :]
    assert check_card(edited, told())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("summary", "f1", "value"), 0.99, "summary.f1: the card says"),
        (("summary", "exact", "n"), 200, "summary.exact"),
        (("summary", "exact", "low"), 0.5, "summary.exact"),
        (("categories", "none", "f1", "value"), 0.1, "categories.none.f1"),
        (("taxonomy", "hash"), "0" * 64, "taxonomy: the card is of"),
        (("model",), "1" * 64, "model: the card is of"),
    ],
)
def test_another_report_is_found(path: tuple[str, ...], value: Any, said: str) -> None:
    other = copy.deepcopy(told())
    at = other
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    (difference,) = check_card(card(), other)
    assert said in difference


def test_another_benchmark_or_model_is_found() -> None:
    other = copy.deepcopy(told())
    other["results"][0]["accepted"].append(["user.role_context"])
    (difference,) = check_card(card(), other)
    assert difference.startswith("benchmark: ")
    (difference,) = check_card(card(), told(), model="2" * 64)
    assert difference.startswith("model: ")


def test_claims_left_out_or_made_up_are_found() -> None:
    head, body = halves(card())
    metrics = head["model-index"][0]["results"][0]["metrics"]
    bad = next(m for m in metrics if m["name"] == "categories.none.f1")
    for name, changed in (
        ("left out", [m for m in metrics if m is not bad]),
        ("made up", [*metrics, {**bad, "name": "summary.wisdom"}]),
        ("twice", [{**bad, "value": 1.0}, *metrics]),
    ):
        head["model-index"][0]["results"][0]["metrics"] = changed
        assert check_card(f"---\n{CardData(**head).to_yaml()}\n---\n{body}", told()), name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# A card\n",
        "---\n[1, 2]\n---\n",
        "---\n: {\n---\n",
        "---\nmodel-index: 3\n---\n",
        "---\nlicense: mit\n---\n",
    ],
)
def test_what_is_no_generated_card_is_said_to_be_none(text: str) -> None:
    (difference,) = check_card(text, told())
    assert "front matter" in difference


def test_beats_only_where_it_is_proven() -> None:
    assert "beats" not in card()
    report = measured()
    flipped = Report(
        "always none",
        report.taxonomy,
        tuple(type(r)(r.scenario, type(r.decision)(report.taxonomy, (), router="always none")) for r in report.results),
    )
    proven, same = compare(report, flipped), compare(report, Report("twin", report.taxonomy, report.results))
    assert "embedded beats always none" in model_card(MODEL_FOLDER, told(), comparisons=[proven])
    unproven = model_card(MODEL_FOLDER, told(), comparisons=[same])
    assert "no difference between embedded and twin is shown" in unproven
    assert "beats" not in unproven
    of_others = compare(Report("twin", report.taxonomy, report.results), flipped)
    with pytest.raises(ValueError, match="not of this report"):
        model_card(MODEL_FOLDER, told(), comparisons=[of_others])


def test_failures_leaks_and_speed_are_said() -> None:
    other = copy.deepcopy(told())
    other["failures"] = [{"id": "x", "reason": "down"}]
    other["malformed"] = 3
    leak = {"train": 1234, "scenarios": 40, "exact": [1], "near": [1, 2], "groups": [], "clean": False}
    leak["data"] = manifest().dataset_hash
    other["leakage"] = leak
    speed = {"value": 0.0051, "n": 40, "low": 0.005, "high": 0.0061}
    other["timing"] = {"p50": speed, "p95": speed, "p99": speed, "per_second": 120.0, "batch": 40}
    text = model_card(MODEL_FOLDER, other)
    assert "1 more scenarios got no decision" in text
    assert "3 answers were malformed" in text
    assert "leaks into the training data" in text
    assert "| 5.10 ms (5.00 to 6.10) | 40 |" in text
    assert "| 120 | 40 |" in text
    other["leakage"] = {**leak, "exact": [], "near": [], "clean": True}
    assert "shares no text and no contrast group with the 1,234" in model_card(MODEL_FOLDER, other)
    # Clean of some other training data is no news of this model.
    for unknown in (None, {**other["leakage"], "data": "0" * 64}):
        other["leakage"] = unknown
        text = model_card(MODEL_FOLDER, other)
        assert "was not checked" in text
        assert "shares no text" not in text


def test_names_cannot_become_markup() -> None:
    other = copy.deepcopy(told())
    scores = other["groups"]["difficulty"].pop("easy")
    other["groups"]["difficulty"]["<b>x</b> | 1.000\n# beats"] = scores
    text = model_card(MODEL_FOLDER, other)
    assert r"\<b\>x\</b\> \| 1.000 \# beats" in text
    assert "<b>" not in text


def model_of(tmp_path: Path, **changes: Any) -> Path:
    """The shipped model with another manifest."""
    folder = tmp_path / "model"
    shutil.copytree(MODEL_FOLDER, folder)
    path = folder / "router.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def run_of(tmp_path: Path, *phases: str, **config: Any) -> Path:
    """A run folder that made the shipped model in its last phase."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(config))
    rows: list[dict[str, Any]] = [
        {"phase": "sft", "step": 0, "data/validation": {"conversations": 123}},
        {"phase": "sft", "step": 0, "validation/f1": 0.111, "validation/reward": 0.112, "validation/reward/f1": 0.9},
        *({"phase": phase, "step": 77, "loss": 0.5} for phase in phases),
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    worse = {"f1": 0.222, "exact": 0.1, "reward": 0.2, "loss": 0.9}
    points = [(phase, step, {**worse, "reward": reward}) for phase in phases for step, reward in ((10, 0.1), (60, 0.3))]
    points[-1] = (*points[-1][:2], dict(manifest().metrics))
    lines = [
        plain(
            Checkpoint(
                state=TrainingState("s"),
                weights=SamplerWeights("w"),
                step=step,
                base_model=manifest().base_model,
                renderer="turn-markers",
                taxonomy_hash=manifest().taxonomy_hash,
                dataset_hash=manifest().dataset_hash,
                config={},
                metrics=metrics,
                phase="rl" if phase == "rl" else "sft",
            )
        )
        for phase, step, metrics in points
    ]
    (run / "checkpoints.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_the_stages_are_those_of_the_run(tmp_path: Path) -> None:
    run = run_of(tmp_path, "sft", "rl", validation=200)
    text = model_card(MODEL_FOLDER, told(), run)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.count("|") > 3}
    assert "| 0 | 0.111 |" in rows["base"]
    assert "| 10 of 77 | 0.222 |" in rows["SFT"]
    assert f"| 60 of 77 | {manifest().metrics['f1']:.3f} |" in rows["SFT + RL (this model)"]
    # Of 200 that were asked for, the data had 123.
    assert "n = 123" in text
    found = share(12, 123)
    assert f"| 0.100 ({found.low:.3f} to {found.high:.3f}) |" in rows["SFT"]
    assert check_card(text, told()) == []


def test_a_run_without_reinforcement_has_no_row_for_it(tmp_path: Path) -> None:
    run = run_of(tmp_path, "sft", validation=marketing.dataset("validation").hash)
    text = model_card(MODEL_FOLDER, told(), run)
    assert "SFT + RL" not in text
    assert f"{len(marketing.dataset('validation')):,} more to validate on" in text


def test_a_run_that_did_not_make_the_model_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path, "sft", validation=200)
    model = model_of(tmp_path, metrics={"f1": 0.5})
    with pytest.raises(TrainingError, match="none of its checkpoints is this model"):
        model_card(model, told(), run)
    with pytest.raises(TrainingError, match="no checkpoint"):
        model_card(MODEL_FOLDER, told(), tmp_path)


def test_what_is_not_known_is_not_said(tmp_path: Path) -> None:
    model = model_of(tmp_path, dataset_hash="ab" * 32, base_model="someone/else")
    head, body = halves(model_card(model, told()))
    assert "license" not in head
    assert "language" not in head
    assert "Nothing else of them is known" in body
    assert "training examples" not in body
    assert "synthetic" not in body
    assert body.count("not known to this card") == 4
    assert "Stages" not in body


def test_a_report_of_another_taxonomy_or_a_damaged_model_is_refused(tmp_path: Path) -> None:
    other = copy.deepcopy(told())
    other["taxonomy"]["hash"] = "0" * 64
    with pytest.raises(ModelError, match="another taxonomy"):
        model_card(MODEL_FOLDER, other)
    folder = model_of(tmp_path)
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match="missing"):
        model_card(folder, told())


def test_reports_are_read_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    measured().write(path)
    assert claims(read_report(path)) == claims(told())
    for text in ("", "[]", "{}", json.dumps({**told(), "summary": {"f1": 0.99}}), "{"):
        path.write_text(text)
        with pytest.raises(DatasetError, match="report"):
            read_report(path)


def test_what_its_maker_says_of_a_model(tmp_path: Path) -> None:
    model = model_of(tmp_path, dataset_hash="ab" * 32, base_model="someone/else")
    details = CardDetails(
        name="desk | router",
        repository="acme/desk",
        authors="Acme",
        license="MIT",
        base_license="Apache-2.0",
        data="Tickets of *one* year, written by a model.",
        data_license="CC-BY-4.0",
        language="de",
    )
    head, body = halves(model_card(model, measured(), details=details))
    assert (head["license"], head["language"], head["model-index"][0]["name"]) == ("mit", "de", "desk | router")
    assert r"# desk \| router: a memory router" in body
    assert 'Router.load("hub:acme/desk")' in body
    assert r"Tickets of \*one\* year" in body
    for part, licence in (("model", "MIT"), ("base model someone/else", "Apache-2.0"), ("training data", "CC-BY-4.0")):
        assert f"| {part} | {licence} |" in body
    assert "author = {Acme}" in body
    assert "# router: a" in model_card(model, measured(), details=CardDetails(repository="acme/router"))


def test_a_generated_card_is_made_again_from_itself(tmp_path: Path) -> None:
    run = run_of(tmp_path, "sft", "rl", validation=200)
    text = model_card(MODEL_FOLDER, told(), run, details=CardDetails(authors="A: b # c", data="x\ny"))
    assert differences(text, MODEL_FOLDER, told()) == []
    assert differences(text.replace("\n", "\r\n"), MODEL_FOLDER, told()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("license: apache-2.0", "license: mit"),
        ("language: en", "language: fr"),
        ("- multi-label-classification", "- state-of-the-art"),
        ("base_model: sentence-transformers/all-MiniLM-L6-v2", "base_model: someone/else"),
        ("type: memory_routing", "type: mteb"),
        ("## Limits", "It beats everything.\n\n## Limits"),
        ("| mean F1 | 0.", "| mean F1 | 0.99"),
    ],
)
def test_a_card_edited_with_its_hash_is_found(before: str, after: str) -> None:
    assert before in card()
    edited = card().replace(before, after)
    body = RepoCard(edited).text
    edited = edited.replace(halves(card())[0]["memory_routing"]["text"], text_hash(body))
    assert check_card(edited, told()) == []
    assert differences(edited, MODEL_FOLDER, told())


def test_a_report_with_a_part_missing_is_refused() -> None:
    for part in told():
        other = {key: value for key, value in told().items() if key != part}
        with pytest.raises((DatasetError, KeyError)):
            model_card(MODEL_FOLDER, other)
    with pytest.raises(DatasetError, match="results"):
        model_card(MODEL_FOLDER, {**told(), "results": []})


def test_the_limits_that_the_documentation_names_are_those_of_the_code() -> None:
    limits = (Path(__file__).parents[1] / "docs/limits.md").read_text(encoding="utf-8")
    assert f"over {MAX_CHARACTERS:,} characters" in limits
    assert f"windows of {manifest().window} tokens" in limits
    assert f"The benchmark of {len(marketing.benchmark())} " in limits
