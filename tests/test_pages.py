"""The page of reports and runs: what it says and draws is what the files say."""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")
pytest.importorskip("jinja2", reason="the extra 'report' is not installed")

from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from memory_routing import MARKETING, Conversation
from memory_routing.comparison import compare
from memory_routing.decision import Decision, ScoredLabel
from memory_routing.drawing import PNG_MARK, WIDTH, style
from memory_routing.duplicates import Pair
from memory_routing.errors import DatasetError
from memory_routing.example import Scenario
from memory_routing.labels import Malformed
from memory_routing.leakage import Leakage
from memory_routing.pages import Page, read_sources
from memory_routing.pages.charts import METRICS
from memory_routing.pages.curves import run_charts
from memory_routing.pages.scenarios import WENT_WRONG, entries, went_wrong
from memory_routing.pages.sources import Run
from memory_routing.report import Failure, Report, ScenarioResult, Timing
from memory_routing.runs import RunFolder
from memory_routing.stored import Decided, Label, Result, Turn, read_report

ROOT = Path(__file__).parents[1]
NAMES = MARKETING.names
EVIL = "</script></article><script>alert(1)</script><b onclick='x'>&amp; \"quoted\" {{ 7 * 7 }} \u2028"


def scenario(number: int, gold: Sequence[str], *, text: str = "") -> Scenario:
    turns = [
        {"role": "user", "content": f"Number {number}: our budget is fixed. {text}"},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": "And I like bullets."},
    ]
    return Scenario(
        Conversation.of(turns),
        (MARKETING.labels(*gold),),
        id=f"s-{number:03}",
        evidence=dict.fromkeys(gold, (0,)),
        difficulty=("easy", "medium", "hard")[number % 3],
        domain="Budgets",
    )


def decision(
    said: Sequence[str], turns: Sequence[int] = (0,), *, malformed: str | None = None, seed: int = 0
) -> Decision:
    draw = random.Random(seed)
    scores = {name: draw.uniform(0.4, 1) if name in said else draw.uniform(0, 0.6) for name in NAMES}
    labels = [ScoredLabel(MARKETING[name], scores[name], tuple(turns)) for name in NAMES if name in said]
    broken = None if malformed is None else Malformed("???", malformed)
    return Decision(MARKETING, labels, scores, malformed=broken)


def report(name: str = "ours", n: int = 60, seed: int = 0) -> Report:
    """Some right, some wrong in every way, and one without a decision."""
    draw = random.Random(seed)
    results = []
    for number in range(n):
        gold = random.Random(f"gold {number}").sample(NAMES, number % 4 if number % 4 < 3 else 0)
        kind = draw.randrange(8)
        said = list(gold)
        if kind == 0:
            said = said[1:]
        elif kind == 1:
            said = [*said, next(label for label in NAMES if label not in said)]
        elif kind == 2:
            said = []
        turns = (2,) if kind == 3 else (0,)
        broken = "no label set" if kind == 4 else None
        results.append(
            ScenarioResult(scenario(number, gold), decision(said, turns, malformed=broken, seed=seed * 1000 + number))
        )
    failures = (Failure(scenario(999, ["user.role_context"]), "the service answered 503"),)
    return Report(name, MARKETING, tuple(results), failures=failures, timing=Timing([0.004, 0.005, 0.02], 211.5))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("reports")
    paths = folder / "a.json", folder / "b.json"
    report("ours", seed=1).write(paths[0])
    report("theirs", seed=2).write(paths[1])
    return paths


@pytest.fixture(scope="module")
def page(stored: tuple[Path, Path]) -> Page:
    return Page(read_sources(stored))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the curves of a real run, in the rows that the trainer writes."""
    folder = tmp_path_factory.mktemp("runs") / "cues"
    found = json.loads((ROOT / "docs/results/language_model.json").read_text(encoding="utf-8"))["cues"]
    written = RunFolder(folder, found["config"])
    rows: dict[tuple[str, int, bool], dict[str, float]] = {}
    for name, curve in found["curves"].items():
        phase, _, key = name.partition("/")
        for step, value in curve:
            rows.setdefault((phase, step, key.startswith("validation/")), {})[key] = value
    for (phase, step, _), row in sorted(rows.items(), key=lambda item: (item[0][0] == "rl", item[0][1])):
        more = {"reward_std": 0.8 - step / 50, "reward/f1": step / 40, "reward/scope": 0.5} if "reward" in row else {}
        written.log(phase=phase, step=step, **row, **more, tokens={"prefill": 1})
    return folder


def listing(written: Report, path: Path) -> Path:
    """A file with the results alone, of which there is nothing to draw."""
    rows = [result.to_dict() for result in written.results]
    path.write_text(json.dumps({"router": written.router, "summary": {}, "results": rows}), encoding="utf-8")
    return path


def loaded(path: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))


def charts(page: Page) -> dict[str, Figure]:
    return {chart.name: chart.figure for chart in page.charts}


def dots(figure: Figure) -> list[float]:
    """Where the points are, from the top."""
    return [float(x) for line in figure.axes[0].lines for x in cast("Any", line.get_xdata())]


def segments(figure: Figure, axis: int) -> list[tuple[float, float]]:
    """Both ends of every interval, across or up."""
    found = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    return [(float(a[axis]), float(b[axis])) for lines in found for a, b in lines.get_segments()]


def points(vertices: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in vertices]


def lines(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    return {str(line.get_label()): points(line.get_xydata()) for line in figure.axes[0].lines}


def ticks(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_points_are_the_numbers_of_the_reports(page: Page, stored: tuple[Path, Path]) -> None:
    told = [loaded(path) for path in stored]
    drawn = charts(page)
    numbers = [data["summary"][key] for key in METRICS for data in told]
    metrics = drawn["model_comparison"]
    assert dots(metrics) == [e["value"] for e in numbers]
    assert segments(metrics, 0) == [(e["low"], e["high"]) for e in numbers]
    assert ticks(metrics) == [label for name in METRICS.values() for label in (name, "ours", "theirs")]
    levels = drawn["difficulty_comparison"]
    names = list(told[0]["groups"]["difficulty"])
    assert names == ["easy", "medium", "hard"]
    assert dots(levels) == [data["groups"]["difficulty"][name]["f1"]["value"] for name in names for data in told]
    assert ticks(levels)[::3] == ["easy, n = 20", "medium, n = 20", "hard, n = 20"]


def test_one_report_needs_no_names_beside_its_numbers(stored: tuple[Path, Path]) -> None:
    drawn = charts(Page(read_sources(stored[:1])))
    assert ticks(drawn["model_comparison"]) == list(METRICS.values())


def test_many_reports_are_told_apart_by_name(tmp_path: Path) -> None:
    """Nine of one random process: more than colours, and some beat others by chance."""
    for i in range(9):
        report(f"peer {i}", n=12, seed=i).write(tmp_path / f"{i}.json")
    page = Page(read_sources(sorted(tmp_path.glob("*.json"))))
    figure = charts(page)["model_comparison"]
    assert ticks(figure)[:10] == ["mean F1", *(f"peer {i}" for i in range(9))]
    assert len({line.get_color() for line in figure.axes[0].lines}) == 1
    assert figure.get_figwidth() <= WIDTH, "so many rows, not so many columns"
    tree = parse(page.html())
    section = next(s for s in tree.iter("section") if s.findtext("h2") == "Comparison")
    assert "There are 108 comparisons here." in text(section)
    assert "of 108 about 5." in text(section)
    summaries = [text(item) for item in section.iter("summary")]
    assert len(summaries) == 36
    assert all(re.search(r": (no difference is shown|.* ahead in .*)$", summary) for summary in summaries)


@pytest.mark.parametrize("place", [0, 1])
def test_charts_of_a_report_are_its_numbers(page: Page, stored: tuple[Path, Path], place: int) -> None:
    data = loaded(stored[place])
    drawn = {chart.name.split("-")[-1]: chart.figure for chart in page.report_charts[place]}
    known = {name: row for name, row in data["categories"].items() if row["f1"]["value"] is not None}
    assert dots(drawn["categories"]) == [row["f1"]["value"] for row in known.values()]
    assert segments(drawn["categories"], 0) == [(row["f1"]["low"], row["f1"]["high"]) for row in known.values()]
    assert [tick.split() for tick in ticks(drawn["categories"])] == [[n, str(r["support"])] for n, r in known.items()]

    bins = data["reliability"]["all"]["bins"]
    assert lines(drawn["calibration"])["scores, with n"] == [(b["score"], b["right"]["value"]) for b in bins]
    assert segments(drawn["calibration"], 1) == [(b["right"]["low"], b["right"]["high"]) for b in bins]
    told = {row[0]: row for row in rows_of(page.html(), "Expected calibration error of each", place)}
    titles = {"all": "all scores", "said": "scores of the labels said"}
    assert {name: cells[1] for name, cells in told.items()} == {
        titles.get(name, name): f"{e['value']:.3f} {e['low']:.3f} to {e['high']:.3f}, n = {e['n']}"
        for name, e in ((name, found["ece"]) for name, found in data["reliability"].items())
    }
    assert [text.get_text() for text in drawn["calibration"].axes[0].texts] == [str(b["right"]["n"]) for b in bins]

    names = list(data["confusion"])
    cells = {(names[round(t.get_position()[1])], names[round(t.get_position()[0])]): t.get_text()
             for t in drawn["confusion"].axes[0].texts}  # fmt: skip
    assert cells == {
        (gold, said): f"{round(count, 1):g}"
        for gold, row in data["confusion"].items()
        for said, count in row.items()
        if count
    }
    assert rows_of(page.html(), "How often one category", place) == [
        [gold, said, count] for gold in names for said in names if (count := cells.get((gold, said)))
    ]
    shades = [patch.get_alpha() or 0.0 for patch in drawn["confusion"].axes[0].patches]
    shares = [count / sum(row.values()) for row in data["confusion"].values() for count in row.values() if count]
    assert [shade / max(shades) for shade in shades] == pytest.approx([share / max(shares) for share in shares])


def test_curves_are_those_of_the_run_folder(run: Path) -> None:
    page = Page(read_sources([run]))
    assert list(charts(page)) == ["sft_loss", "rl_reward", "rl_components", "rl_kl"]
    told = loaded(ROOT / "docs/results/language_model.json")["cues"]
    curves = {name: [tuple(map(float, point)) for point in curve] for name, curve in told["curves"].items()}
    drawn = charts(page)
    assert lines(drawn["sft_loss"]) == {"training": curves["sft/loss"], "validation": curves["sft/validation/loss"]}
    rewards = lines(drawn["rl_reward"])
    assert rewards == {"rollouts": curves["rl/reward"], "validation, greedy": curves["rl/validation/reward"]}
    assert lines(drawn["rl_components"])["f1"] == [(step, step / 40) for step, _ in curves["rl/reward"]]
    kl = lines(drawn["rl_kl"])
    assert {y for _, y in kl["warning, 0.005"]} == {0.005}
    assert {y for _, y in kl["critical, 0.01"]} == {0.01}
    assert {name: kl[f"k3, {name}"] for name in ("sampler", "step", "sft")} == {
        name: curves[f"rl/kl/{name}/k3"] for name in ("sampler", "step", "sft")
    }


def test_the_band_is_one_standard_deviation_and_is_seen_whole(run: Path) -> None:
    axes = charts(Page(read_sources([run])))["rl_reward"].axes[0]
    (band,) = (c for c in axes.collections if isinstance(c, PolyCollection))
    corners = set(points(band.get_paths()[0].vertices))
    rewards = loaded(ROOT / "docs/results/language_model.json")["cues"]["curves"]["rl/reward"]
    edges = [(step, reward + sign * (0.8 - step / 50)) for step, reward in rewards for sign in (-1, 1)]
    assert all((float(step), y) in corners for step, y in edges)
    low, high = axes.get_ylim()
    assert low < min(y for _, y in edges)
    assert high > max(y for _, y in edges)
    assert max(y for _, y in edges) > 1, "the test would see a band cut off at the highest reward"


@settings(max_examples=20)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12))
def test_a_peak_is_never_told_as_the_end(rewards: list[float]) -> None:
    run = Run("run", reward=tuple((float(i), reward) for i, reward in enumerate(rewards, start=1)))
    with style():
        (chart,) = run_charts(run)
    found = re.match(
        r"Mean reward of the rollouts: first (\S+), last (\S+), best (\S+) \(iteration (\d+)\), "
        r"mean of the last (\d) (\S+)\.$",
        chart.caption,
    )
    assert found
    last = rewards[-5:]
    assert found.groups() == (
        f"{rewards[0]:.3f}",
        f"{rewards[-1]:.3f}",
        f"{max(rewards):.3f}",
        str(rewards.index(max(rewards)) + 1),
        str(len(last)),
        f"{math.fsum(last) / len(last):.3f}",
    )


def test_the_original_logs(published: Path) -> None:
    folder = published / "logs"
    if not folder.is_dir():
        pytest.skip("the original project's logs are not among its published files")
    page = Page(read_sources([folder]))
    sft, rl = (
        [json.loads(line) for line in (folder / f"{name}_metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("sft", "rl")
    )
    drawn = {chart.name: chart for chart in page.charts}
    losses = lines(drawn["sft_loss"].figure)
    assert losses["training"] == [(row["step"], row["train_loss"]) for row in sft]
    assert losses["validation"] == [(row["step"], row["test_loss"]) for row in sft if "test_loss" in row]
    assert lines(drawn["rl_reward"].figure)["rollouts"] == [(row["iteration"], row["mean_reward"]) for row in rl]
    parts = lines(drawn["rl_components"].figure)
    theirs = {"f1": "f1", "horizon": "temp", "scope": "parity", "efficiency": "eff"}
    assert parts == {ours: [(r["iteration"], r[f"mean_r_{name}"]) for r in rl] for ours, name in theirs.items()}
    assert lines(drawn["rl_kl"].figure)["k2"] == [(row["iteration"], row["kl_v2"]) for row in rl]
    assert "24 of 30 iterations above 0.01" in drawn["rl_kl"].caption
    assert "last 0.848, best 0.929 (iteration 28)" in drawn["rl_reward"].caption


def test_a_run_of_the_local_trainer_and_one_that_was_killed(tmp_path: Path) -> None:
    written = RunFolder(tmp_path / "local", {"epochs": 1, "members": 3})
    for step in (20, 40):
        written.log(step=step, epoch=1, train_loss=1 / step)
    with (tmp_path / "local/metrics.jsonl").open("a") as file:
        file.write('{"step": 60, "train_lo')
    page = Page(read_sources([tmp_path / "local"]))
    assert list(charts(page)) == ["sft_loss"]
    assert "the mean of 3 members" in page.charts[0].caption
    assert lines(charts(page)["sft_loss"]) == {"training": [(20, 1 / 20), (40, 1 / 40)]}


def test_a_measurement_that_is_no_number_leaves_a_gap(tmp_path: Path) -> None:
    written = RunFolder(tmp_path / "broken", {"rl": {"watch": {"warning": 0.1, "critical": 0.2}}})
    for step, k3 in enumerate([0.01, math.nan, 0.3], start=1):
        written.log(phase="rl", step=step, reward=0.5, **{"kl/step/k3": k3})
    page = Page(read_sources([tmp_path / "broken"]))
    with (tmp_path / "broken/metrics.jsonl").open("a") as file:
        file.write(f'{{"phase": "rl", "step": 4, "reward": {"9" * 400}}}\n')
    rewards = charts(Page(read_sources([tmp_path / "broken"])))["rl_reward"]
    assert [math.isnan(y) for _, y in lines(rewards)["rollouts"]] == [False, False, False, True]
    kl = next(chart for chart in page.charts if chart.name == "rl_kl")
    assert [math.isnan(y) for _, y in lines(kl.figure)["k3, step"]] == [False, True, False]
    assert "2 of 3 iterations above 0.2" in kl.caption
    assert set(lines(kl.figure)) == {"warning, 0.1", "critical, 0.2", "k3, step"}
    assert "rl_kl" in page.html()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b"not json", r"x\.json: expected a report \(JSON\).*a run folder with metrics\.jsonl.*not JSON"),
        ("x.json", b"[1]", r"x\.json: expected a report that `memory-routing benchmark --out` wrote"),
        ("x.json", b'{"summaries": {}}', r"x\.json: expected a report"),
        ("x.json", b'{"router": "r", "summary": {"f1": {"value": "high"}}}', r"x\.json.*expected a number.*summary"),
        (
            "run/metrics.jsonl",
            b'{"step": 1}\n[]\n{"step": 2}\n',
            r"metrics\.jsonl: line 2: damaged, expected a JSON object",
        ),
        ("run/metrics.jsonl", b'{"step": 1}\n{"st\n{"step": 2}\n', r"metrics\.jsonl: line 2"),
        ("run/notes.txt", b"hello", r"run: expected a report.*sft_metrics\.jsonl and rl_metrics\.jsonl.*none of these"),
    ],
)
def test_what_is_no_source_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_sources([path.parent if name.startswith("run/") else path])
    with pytest.raises(FileNotFoundError):
        read_sources([tmp_path / "absent.json"])


def parse(html: str) -> ElementTree.Element:
    """The page without its script as XML, as which it is well-formed too."""
    return ElementTree.fromstring(re.sub(r"<script>.*</script>", "", html, count=1, flags=re.DOTALL))


def text(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def rows_of(html: str, caption: str, place: int = 0) -> list[list[str]]:
    """Rows of a table, by how its caption begins, the head left out."""
    found = [table for table in parse(html).iter("table") if text(table[0]).startswith(caption)][place]
    return [[text(cell) for cell in row] for row in found.iterfind(".//tbody/tr")]


def articles(html: str) -> list[ElementTree.Element]:
    return list(parse(html).iter("article"))


def test_every_scenario_is_in_the_page(page: Page, stored: tuple[Path, Path]) -> None:
    found = articles(page.html())
    told = [(place, data, row) for place, data in enumerate(map(loaded, stored)) for row in data["results"]]
    failed = [(place, row) for place, data in enumerate(map(loaded, stored)) for row in data["failures"]]
    assert len(found) == len(told) + len(failed) == 122
    by_key = {(article.attrib["data-report"], text(article.find(".//strong"))): article for article in found}  # type: ignore[arg-type]
    for place, _, row in told:
        article = by_key[str(place), row["id"]]
        said = text(article)
        assert f"gold {', '.join(row['gold'])} → predicted {', '.join(row['predicted'])} · F1 {row['f1']:.3f}" in said
        assert article.attrib["data-categories"].split() == list(dict.fromkeys(row["gold"] + row["predicted"]))
        turns = article.findall(".//ol/li")
        assert [text(turn.findall("p")[1]) for turn in turns] == [
            turn["content"].strip() for turn in row["conversation"]
        ]
        right = {t for turns_ in (row["evidence"] or {}).values() for t in turns_}
        named = {t for label in row["decision"]["labels"] for t in label["evidence"] or ()}
        assert {i for i, turn in enumerate(turns) if "gold" in turn.get("class", "").split()} == right
        assert {i for i, turn in enumerate(turns) if "said" in turn.get("class", "").split()} == named
        # Not by colour alone.
        assert {i for i, turn in enumerate(turns) if re.search("[●◆]", text(turn))} == right
        assert {i for i, turn in enumerate(turns) if re.search("[○◆]", text(turn))} == named
        scores, labels = row["decision"]["scores"], {*row["gold"], *row["predicted"]}
        others = sorted((score for name, score in scores.items() if name not in labels), reverse=True)[:3]
        assert re.findall(r": not said, score ([\d.]+)", said) == [f"{score:.3f}" for score in others]
        for label in row["decision"]["labels"]:
            assert f"{label['category']}: " in said
            assert f"score {label['score']:.3f}" in said
    for place, row in failed:
        article = by_key[str(place), row["id"]]
        assert article.attrib["data-problems"] == "failed"
        assert article.attrib["data-categories"] == "user.role_context"
        assert "gold user.role_context" in text(article)
        assert "in no score · easy · Budgets" in text(article)
        assert row["reason"] in text(article)


def test_outcomes_tell_failures_from_wrong_answers(page: Page, stored: tuple[Path, Path]) -> None:
    rows = {name: cells for name, *cells in rows_of(page.html(), "Headline numbers")}
    for place, data in enumerate(map(loaded, stored)):
        exact = sum(row["exact"] for row in data["results"])
        cells = [rows[name][place] for name in rows if name.startswith("scenarios: ")]
        assert cells == [str(exact), str(60 - exact - data["malformed"]), str(data["malformed"]), "1"]
        f1 = data["summary"]["f1"]
        assert rows["mean F1"][place] == f"{f1['value']:.3f} {f1['low']:.3f} to {f1['high']:.3f}, n = 60"
        assert rows["one decision, median"][place].startswith("5.0 ms")
        assert rows["decisions in a second, as a batch"][place] == "211.5"


def test_comparisons_are_what_compare_says(tmp_path: Path, stored: tuple[Path, Path], page: Page) -> None:
    first, second, third = report("ours", seed=1), report("theirs", seed=2), report("others", n=12, seed=1)
    found = [text(item) for item in parse(page.html()).iterfind(".//section[2]/ul/li")]
    assert found == compare(first, second).sentences()
    both = [listing(r, tmp_path / f"{r.router}.json") for r in (first, second)]
    third.write(tmp_path / "c.json")
    more = Page(read_sources([*both, tmp_path / "c.json"]))
    said = [text(item) for item in parse(more.html()).iterfind(".//section[2]/details/ul/li")]
    assert said[:3] == compare(attrs.evolve(first, failures=()), attrs.evolve(second, failures=())).sentences()
    assert "There are" not in page.html(), "of one pair there is nothing to count"
    assert "There are 3 comparisons here." in more.html()
    assert [s.split(":")[0] for s in said[3:]] == ["Not compared", "Not compared"]
    note = "The reports are not on the same scenarios."
    assert [note in chart.caption for chart in more.comparison_charts] == [True, True]
    assert [note in chart.caption for chart in page.comparison_charts] == [False, False]


def test_wins_and_losses_are_told(page: Page) -> None:
    differences = compare(report("ours", seed=1), report("theirs", seed=2)).differences
    assert rows_of(page.html(), "Scenarios on which one is ahead") == [
        [METRICS[key], str(found.wins), str(found.ties), str(found.losses)] for key, found in differences.items()
    ]


def test_beats_is_said_only_where_it_is_proven(tmp_path: Path) -> None:
    results = [ScenarioResult(scenario(i, NAMES[:1]), decision(NAMES[:1])) for i in range(40)]
    worse = [ScenarioResult(r.scenario, decision(NAMES[1:2])) if i < 20 else r for i, r in enumerate(results)]
    hardly = [ScenarioResult(r.scenario, decision(NAMES[1:2])) if i < 1 else r for i, r in enumerate(results)]
    for name, rows in {"good": results, "worse": worse, "hardly": hardly}.items():
        listing(Report(name, MARKETING, tuple(rows)), tmp_path / f"{name}.json")
    proven = Page(read_sources([tmp_path / "good.json", tmp_path / "worse.json"])).html()
    open_ = Page(read_sources([tmp_path / "good.json", tmp_path / "hardly.json"])).html()
    assert "mean F1: good beats worse" in proven
    assert " beats hardly" not in open_
    assert "no difference between good and hardly is shown" in open_


names = st.lists(st.sampled_from(NAMES[:4]), unique=True, max_size=3).map(lambda found: tuple(found) or ("none",))


@given(names, names, st.booleans(), st.sampled_from([(0,), (1,), (0, 1)]))
def test_what_went_wrong(gold: tuple[str, ...], said: tuple[str, ...], malformed: bool, turns: tuple[int, ...]) -> None:
    labels = tuple(Label(name, 0.5, turns) for name in said if name != "none")
    evidence: dict[str, tuple[int, ...]] = {name: (0,) for name in gold if name != "none"}
    exact = set(gold) == set(said) and not malformed
    decided = Decided(labels, malformed="broken" if malformed else None)
    result = Result("x", (Turn("user", "a"),) * 2, gold, said, 0.0, exact, exact, decided, evidence=evidence)
    problems = set(went_wrong(result))
    assert problems <= set(WENT_WRONG)
    assert ("wrong" in problems) == (not exact)
    if malformed:
        assert problems == {"wrong", "malformed"}
        return
    right, named = set(gold) - {"none"}, set(said) - {"none"}
    assert ("missed" in problems) == (not right <= named)
    assert ("extra" in problems) == (not named <= right)
    assert ("stored" in problems) == (not right and bool(named))
    assert ("unstored" in problems) == (bool(right) and not named)
    assert ("evidence" in problems) == (bool(right & named) and turns != (0,))
    if "wrong" in problems:
        assert problems & {"missed", "extra"}


def test_texts_are_escaped(tmp_path: Path) -> None:
    rows = [ScenarioResult(scenario(i, NAMES[:1], text=EVIL), decision([], malformed=EVIL)) for i in range(2)]
    data = Report(EVIL, MARKETING, tuple(rows)).to_dict()
    data["results"][0] |= {"id": EVIL, "difficulty": EVIL, "domain": EVIL, "gold": [EVIL]}
    data["results"][1]["conversation"][0]["content"] = "\ud800 \x00 \x1b[31m lone and controlling"
    data["categories"] = {EVIL + name: row for name, row in data["categories"].items()}
    data["confusion"] = {EVIL + name: row for name, row in data["confusion"].items()}
    data["groups"]["difficulty"] = {EVIL: data["groups"]["difficulty"]["easy"]}
    (tmp_path / "evil.json").write_text(json.dumps(data), encoding="ascii")
    page = Page(read_sources([tmp_path / "evil.json"]))
    html = page.html()
    assert html.encode()
    assert html.count("<script") == html.count("</script") == 1
    assert "<b onclick" not in html
    assert "49" not in re.findall(r"&#34;quoted&#34; (\S+)", html)
    first, second = articles(html)
    assert " ".join(EVIL.split()) in text(first.findall(".//ol/li/p")[1])
    assert "\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}[31m lone" in text(second)


def test_the_page_is_self_contained(page: Page, run: Path, stored: tuple[Path, Path]) -> None:
    html = Page(read_sources([*stored, run])).html()
    tree = parse(html)
    ids = [element.attrib["id"] for element in tree.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    links = {value for e in tree.iter() for key, value in e.attrib.items() if key.endswith("href")}
    assert {link.removeprefix("#") for link in links} <= set(ids), "every link leads into the page"
    assert "mathdefault" not in html, "no browser reads formulas"
    assert not re.search(r"@import|\bsrc=|\bon\w+=|<link|#000000", html)
    assert set(re.findall(r"https?://[^\"<]*", html)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert all(e.get("aria-label") for e in tree.iter("div") if e.get("role") == "img")
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert "var(--colour-0)" in drawn
    assert not re.search(r"#1c2026|#1d63d8", drawn), "what is drawn follows light and dark"
    assert str(run.parent) not in html


def test_two_reports_of_one_router_have_names_of_their_own(tmp_path: Path) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        report("same", n=6).write(tmp_path / name / "r.json")
    report("same", n=6).write(tmp_path / "late.json.gz")
    paths = [tmp_path / "before/r.json", tmp_path / "after/r.json", tmp_path / "late.json.gz"]
    page = Page(read_sources(paths))
    assert [r.name for r in page.sources.reports] == ["same (r)", "same (r) 2", "same (late)"]
    names = [chart.name for chart in page.charts]
    assert len(set(names)) == len(names)


def test_an_empty_report_and_one_without_results(tmp_path: Path) -> None:
    data = report("bare", n=9).to_dict()
    nothing = {name: {"value": None, "n": 0, "low": None, "high": None} for name in data["summary"]}
    empty: dict[str, Any] = {"router": "nothing", "summary": nothing, "results": [], "failures": [], "timing": None}
    (tmp_path / "empty.json").write_text(json.dumps(empty))
    (tmp_path / "bare.json").write_text(json.dumps({k: v for k, v in data.items() if k != "results"}))
    page = Page(read_sources([tmp_path / "empty.json"]))
    assert not page.charts
    assert not articles(page.html())
    assert "There are none." in page.html()
    both = Page(read_sources([tmp_path / "empty.json", tmp_path / "bare.json"])).html()
    assert "bare: the file has no results of single scenarios." in both
    assert "Not compared: a file has no results of single scenarios." in both


def huge(path: Path, n: int = 5000) -> None:
    """A report that says of few scenarios what it says, and lists many."""
    data = report("huge", n=40, seed=3).to_dict()
    rows = data["results"]
    data["results"] = [
        rows[i % 40] | {"id": f"h-{i}", "conversation": [{"role": "user", "content": f"{i} " + "word " * 150}] * 3}
        for i in range(n)
    ]
    path.write_text(json.dumps(data), encoding="utf-8")


def test_a_huge_report(tmp_path: Path) -> None:
    huge(tmp_path / "huge.json")
    started = time.perf_counter()
    Page(read_sources([tmp_path / "huge.json"])).write(tmp_path / "huge.html")
    assert time.perf_counter() - started < 20
    assert (tmp_path / "huge.html").stat().st_size < 30e6
    assert (tmp_path / "huge.html").read_text(encoding="utf-8").count("<article ") == 5001


def command(*arguments: str | Path, seed: int = 0) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "memory_routing", "report", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )


def test_the_command_writes_the_same_bytes_in_every_process(
    tmp_path: Path, stored: tuple[Path, Path], run: Path, page: Page
) -> None:
    written = []
    for seed in (1, 2):
        out = tmp_path / str(seed)
        done = command(stored[0], run, "--out", out / "page.html", "--png", out / "charts", seed=seed)
        assert done.returncode == 0, done.stderr
        names = json.loads(done.stdout)["charts"]
        assert names == ["model_comparison", "difficulty_comparison", "categories", "calibration", "confusion",
                         "sft_loss", "rl_reward", "rl_components", "rl_kl"]  # fmt: skip
        written.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*.*")})
    assert written[0] == written[1]
    assert {path.stem for path in written[0]} == {"page", *names}
    assert all(data.startswith(b"\x89PNG") for path, data in written[0].items() if path.suffix == ".png")


def test_the_command_refuses_what_it_cannot_write(tmp_path: Path, stored: tuple[Path, Path]) -> None:
    done = command(stored[0], "--out", tmp_path)
    assert done.returncode == 2
    assert "is a folder; name a file" in done.stderr
    assert command(stored[0], "--png", stored[1], "--out", tmp_path / "x.html").returncode == 2
    assert not (tmp_path / "x.html").exists()


def test_the_command_never_writes_over_a_source(tmp_path: Path, stored: tuple[Path, Path], run: Path) -> None:
    victim = tmp_path / "victim.json"
    victim.write_bytes(stored[0].read_bytes())
    (tmp_path / "link.json").symlink_to(victim)
    for arguments in ((victim, "--out", victim), (victim, "--out", tmp_path / "link.json")):
        done = command(*arguments)
        assert done.returncode == 2
        assert "is a source of the page, or lies in one" in done.stderr
    assert victim.read_bytes() == stored[0].read_bytes()
    metrics = (run / "metrics.jsonl").read_bytes()
    assert command(run, "--out", run / "metrics.jsonl").returncode == 2
    assert command(run, "--out", run / "new" / "page.html").returncode == 2
    assert (run / "metrics.jsonl").read_bytes() == metrics
    assert not (run / "new").exists()


def test_charts_that_cannot_be_written_leave_the_page_as_it_was(tmp_path: Path, stored: tuple[Path, Path]) -> None:
    (tmp_path / "page.html").write_text("before")
    (tmp_path / "file").write_text("no folder")
    assert command(stored[0], "--out", tmp_path / "page.html", "--png", tmp_path / "file" / "charts").returncode == 2
    assert (tmp_path / "page.html").read_text() == "before"


def test_charts_of_an_earlier_call_are_named(tmp_path: Path, stored: tuple[Path, Path], run: Path) -> None:
    folder = tmp_path / "charts"
    assert not command(run, "--out", tmp_path / "a.html", "--png", folder).stderr
    # Without a name they go beside the page.
    assert not command(run, "--out", tmp_path / "c.html").stderr
    beside = {path.name: path.read_bytes() for path in (tmp_path / "c-charts").iterdir()}
    assert beside == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert json.loads(command(run, "--out", tmp_path / "d.html", "--page-only").stdout)["png"] is None
    assert not (tmp_path / "d-charts").exists()
    assert command(run, "--out", tmp_path / "d.html", "--page-only", "--png", folder).returncode == 2
    (folder / "logo.png").write_bytes(b"\x89PNG of another maker")
    done = command(stored[0], "--out", tmp_path / "b.html", "--png", folder)
    assert done.returncode == 0
    assert "still has charts of another call: rl_components.png, rl_kl.png, rl_reward.png, sft_loss.png" in done.stderr
    assert "logo.png" not in done.stderr
    assert (folder / "sft_loss.png").exists()


def test_a_picture_says_what_it_is(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chart = next(chart for chart in Page(read_sources([run])).charts if chart.name == "rl_reward")
    said: list[str] = []
    drawing = Figure.savefig

    def savefig(figure: Figure, *arguments: Any, **options: Any) -> None:
        said.extend(" ".join(text.get_text().split()) for text in figure.texts)
        drawing(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    picture = chart.png()
    assert PNG_MARK in picture[:1000]
    assert said == [chart.title, chart.caption]
    assert re.search(r"first .*, last .*, best .*, mean of the last 5", said[1])
    assert not chart.figure.texts, "the page says it beside the figure"


def test_a_run_of_another_kind_is_named(tmp_path: Path) -> None:
    RunFolder(tmp_path / "generated", {}).log(done=1, of=10, admitted=1, refused=0, calls=3, usd=0.1)
    with pytest.raises(DatasetError, match=r"generated: expected a report.*a run of `generate`"):
        read_sources([tmp_path / "generated"])


def test_a_page_written_twice_is_the_same(stored: tuple[Path, Path], run: Path) -> None:
    page = Page(read_sources([stored[0], run]))
    html, pictures = page.html(), [chart.png() for chart in page.charts[:2]]
    assert page.html() == html
    assert [chart.png() for chart in page.charts[:2]] == pictures


def test_settings_of_the_reader_are_neither_used_nor_changed(page: Page, stored: tuple[Path, Path]) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"lines.linewidth": 9, "figure.facecolor": "red", "svg.fonttype": "path"}):
        assert Page(read_sources(stored)).html() == page.html()
        assert mpl.rcParams["lines.linewidth"] == 9


def test_leakage_is_told(stored: tuple[Path, Path], tmp_path: Path) -> None:
    pair = Pair(4, 1, ("train-4", "s-001"), 1.0, same_labels=True)
    for name, found in {"clean": Leakage(900, 60, (), (), ()), "leaky": Leakage(900, 60, (pair,), (), ("g",))}.items():
        rows = report("x", n=3).results
        Report(name, MARKETING, rows, leakage=found).write(tmp_path / f"{name}.json")
        html = Page(read_sources([tmp_path / f"{name}.json"])).html()
        assert f"Training data: {found}." in html
    assert "Training data: not compared with the scenarios." in Page(read_sources(stored[:1])).html()


def test_raw_answers_are_shown(stored: tuple[Path, Path]) -> None:
    data = loaded(stored[0])
    data["results"][0]["decision"]["raw"] = "<think>hm</think>"
    found = next(entries(read_report(data, "x"), 0))
    assert found.raw == "<think>hm</think>"
