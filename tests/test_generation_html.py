"""The page of a report: what it says and draws is what the report says, whatever that is."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the extras 'data' and 'report' are not installed")

from memory_routing.dataset_stats import Spread
from memory_routing.generation.html import page
from memory_routing.generation.report import Agreement, Diversity, GenerationReport
from memory_routing.intervals import share

REPORT = GenerationReport(
    planned=1200,
    kept=1043,
    written=1391,
    rejections={"labels differ": 212, "near duplicate": 61, "<b>&\"'$x$": 3},
    dead=151,
    unreached=4,
    unanswered=6,
    balance={"company.brand_core": (124, 74), "user.role_context": (107, 107), "none": (118, 0)},
    agreement=Agreement(
        share(1050, 1301),
        share(150, 1107),
        {"company.brand_core": share(69, 89), "user.role_context": share(93, 93), "none": share(0, 0)},
    ),
    diversity=Diversity(
        {1: 0.0804, 2: 0.4106, 3: 0.7708}, 0.1309, {"we": 0.1211, "私は" * 40: 0.0512, "привет": 0.0113}, 0.8114
    ),
    label_counts={0: 170, 1: 651, 2: 222},
    turns=Spread(1, 2, 5, 9, 10),
    words=Spread(14, 31.4, 137.5, 343, 412),
    input_tokens=3_456_789,
    output_tokens=987_654,
    usd=12.3456,
)
EMPTY = GenerationReport(
    planned=0,
    kept=0,
    written=0,
    rejections={},
    dead=0,
    unreached=0,
    unanswered=0,
    balance={"none": (0, 0)},
    agreement=Agreement(share(0, 0), share(0, 0), {"none": share(0, 0)}),
    diversity=Diversity({1: 0.0, 2: 0.0, 3: 0.0}, 0.0, {}, 0.0),
    label_counts={},
    turns=Spread.of([]),
    words=Spread.of([]),
    input_tokens=0,
    output_tokens=0,
    usd=None,
)
SVG = "{http://www.w3.org/2000/svg}"


def parse(html: str) -> ElementTree.Element:
    """The page as XML, as which it is well-formed too."""
    return ElementTree.fromstring(html)


def text(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def tables(tree: ElementTree.Element) -> dict[str, list[list[str]]]:
    """Rows of each table by its label."""
    return {
        region.attrib["aria-label"]: [[text(cell) for cell in row] for row in region.iterfind(".//tbody/tr")]
        for region in tree.iter("div")
        if region.get("role") == "region"
    }


def drawn(tree: ElementTree.Element, plot: str, mark: str) -> dict[str, list[float]]:
    """Where each mark of a plot is from left to right, by its place."""
    start = f"{plot}-{mark}"
    found: dict[str, list[float]] = {}
    for group in tree.iter(f"{SVG}g"):
        name = group.get("id", "")
        if name.startswith(start):
            path = "".join(p.attrib["d"] for p in group.findall(f"{SVG}path"))
            used = [float(use.attrib["x"]) for use in group.iter(f"{SVG}use")]
            xs = [float(x) for x in re.findall(r"[ML] (\S+) ", path)] or used
            found[name.removeprefix(start)[1:]] = [min(xs), max(xs)]
    return found


@pytest.fixture(scope="module")
def tree() -> ElementTree.Element:
    return parse(page(REPORT.to_dict()))


def test_what_matters_comes_first(tree: ElementTree.Element) -> None:
    first = {text(item[0]): text(item[1]) for item in tree.iterfind(".//dl/div")}
    assert list(first) == ["Kept", "Yield", "Cost", "Given up"]
    assert first["Kept"].startswith("1,043 of 1,200")
    assert first["Yield"].startswith("75.0%")
    assert "72.6% to 77.2%" in first["Yield"]
    assert "1,391 written" in first["Yield"]
    assert first["Cost"].startswith("12.35 USD")
    assert "3,456,789 tokens in, 987,654 out" in first["Cost"]
    assert first["Given up"].startswith("151")
    assert "6 more without an answer, 4 not reached" in first["Given up"]


def test_the_tables_have_every_number(tree: ElementTree.Element) -> None:
    assert list(tables(tree).values()) == [
        [["company.brand_core", "124", "74"], ["user.role_context", "107", "107"], ["none", "118", "0"]],
        [["labels differ", "212"], ["near duplicate", "61"], ["<b>&\"'$x$", "3"]],
        [
            ["exactly those asked for", "80.7%", "78.5% to 82.8%", "1,301"],
            ["those and more", "13.6%", "11.7% to 15.7%", "1,107"],
        ],
        [
            ["company.brand_core", "77.5%", "67.8% to 85.0%", "89"],
            ["user.role_context", "100.0%", "96.0% to 100.0%", "93"],
            ["none", "–", "–", "0"],
        ],
        [
            ["distinct-1", "8.0%"],
            ["distinct-2", "41.1%"],
            ["distinct-3", "77.1%"],
            ["distinct openings", "81.1%"],
            ["self-similarity", "13.1%"],
        ],
        [["we", "12.1%"], ["私は" * 40, "5.1%"], ["привет", "1.1%"]],
        [["0", "170"], ["1", "651"], ["2", "222"]],
        [["turns", "1", "2", "5", "9", "10"]],
        [["words", "14", "31.4", "137.5", "343", "412"]],
    ]


@pytest.mark.parametrize(
    ("plot", "numbers"),
    [
        ("conversations-by-category", {"0-0": 124, "0-1": 74, "1-0": 107, "1-1": 107, "2-0": 118, "2-1": 0}),
        ("conversations-not-taken", {"0-0": 212, "1-0": 61, "2-0": 3}),
        ("the-commonest-first-words", {"0-0": 0.1211, "1-0": 0.0512, "2-0": 0.0113}),
        ("conversations-by-number-of-labels", {"0-0": 170, "1-0": 651, "2-0": 222}),
    ],
)
def test_bars_are_as_long_as_their_numbers(tree: ElementTree.Element, plot: str, numbers: dict[str, float]) -> None:
    bars = drawn(tree, plot, "bar")
    assert len({left for left, _ in bars.values()}) == 1
    lengths = {place: right - left for place, (left, right) in bars.items()}
    longest = max(lengths.values())
    assert longest > 100
    assert {place: x / longest for place, x in lengths.items()} == pytest.approx(
        {place: number / max(numbers.values()) for place, number in numbers.items()}, abs=1e-6
    )


@pytest.mark.parametrize(
    ("plot", "rows", "top"),
    [
        ("independent-labels-against-those-asked-for", [share(1050, 1301), share(150, 1107)], 1),
        ("found-again-by-the-independent-labels", [share(69, 89), share(93, 93)], 1),
        ("turns", [(2, 5, 9)], 10),
        ("words", [(31.4, 137.5, 343)], 412),
    ],
)
def test_points_stand_where_their_numbers_are(tree: ElementTree.Element, plot: str, rows: list[Any], top: int) -> None:
    # The axes reach from 0, where the line at their left is, to the top, where their background ends.
    background = drawn(tree, plot, "patch")["2"]
    points, ranges = drawn(tree, plot, "point"), drawn(tree, plot, "range")
    assert len(points) == len(ranges) == len(rows), "what has no value has no point"
    for place, row in enumerate(rows):
        low, value, high = (row.low, row.value, row.high) if hasattr(row, "low") else row
        left, right = background
        got = [*ranges[str(place)], points[str(place)][0]]
        assert [(x - left) / (right - left) * top for x in got] == pytest.approx([low, high, value], abs=1e-5 * top)


@pytest.mark.parametrize("report", [REPORT, EMPTY])
def test_the_page_is_sound(report: GenerationReport) -> None:
    html = page(report.to_dict())
    assert html.startswith("<!DOCTYPE html>")
    root = parse(html)
    ids = Counter(element.get("id") for element in root.iter() if element.get("id"))
    assert not [name for name, n in ids.items() if n > 1]
    links = {value for e in root.iter() for key, value in e.attrib.items() if key.endswith("href")}
    assert {link.removeprefix("#") for link in links} <= set(ids), "every link leads into the page"
    assert set(re.findall(r"url\(#(.*?)\)", html)) <= set(ids)
    assert not re.search(r"<script|@import|src=|\bon\w+=|#0[123]0[123]0[123]|#000000", html)
    assert all(p.get("aria-label") for p in root.iter("div") if p.get("role") == "img")
    assert all(th.get("scope") in {"row", "col"} for th in root.iter("th"))
    assert all(figure.find("figcaption") is not None for figure in root.iter("figure"))
    assert len(list(root.iter("h1"))) == 1


def test_of_nothing_there_is_no_plot() -> None:
    root = parse(page(EMPTY.to_dict()))
    assert not list(root.iter(f"{SVG}svg"))
    assert [text(p) for p in root.iter("p")] == [
        "Conversations not taken: none.",
        "The commonest first words: none.",
        "Conversations by number of labels: none.",
    ]
    first = [text(item) for item in root.iterfind(".//dd")]
    assert first[1].startswith("–")
    assert first[2].startswith("– 0 tokens in")


def test_texts_are_escaped() -> None:
    evil = "</text></svg><script>alert(1)</script>#010203 #010101"
    report = attrs.evolve(REPORT, rejections={evil: 2, "<script>": 1}, balance={"&amp;<i>": (1, 1)})
    html = page(report.to_dict())
    assert "<script" not in html
    assert "&amp;amp;&lt;i&gt;" in html
    assert [row[0] for row in tables(parse(html))["Conversations not taken"]] == [evil, "<script>"]


def test_long_labels_are_cut_in_the_plot_alone(tree: ElementTree.Element) -> None:
    labels = [text(label) for label in tree.iter(f"{SVG}text")]
    assert "私は" * 7 + "…" in labels
    assert "<b>&\"'$x$" in labels


def elsewhere(code: str, seed: int = 0) -> bytes:
    """What another process writes."""
    code = f"from tests.test_generation_html import *; sys.stdout.buffer.write(({code}).encode())"
    env = os.environ | {"PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=True, env=env, cwd=Path(__file__).parents[1]).stdout


def test_the_same_report_gives_the_same_bytes() -> None:
    html = page(REPORT.to_dict())
    assert elsewhere("page(REPORT.to_dict())", 1) == elsewhere("page(REPORT.to_dict())", 2) == html.encode()


def test_settings_of_the_reader_are_neither_used_nor_changed() -> None:
    import matplotlib as mpl

    html = page(REPORT.to_dict())
    with mpl.rc_context({"lines.linewidth": 9, "figure.facecolor": "red", "svg.fonttype": "path"}):
        assert page(REPORT.to_dict()) == html
        assert mpl.rcParams["lines.linewidth"] == 9


def test_plots_need_no_pyplot() -> None:
    loaded = elsewhere("page(REPORT.to_dict()) and ' '.join(sys.modules)").decode().split()
    assert "matplotlib.figure" in loaded
    assert "matplotlib.pyplot" not in loaded


@st.composite
def reports(draw: st.DrawFn) -> GenerationReport:
    """Reports of any names and numbers, but for control characters, which XML knows no way to write."""
    names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=60)
    counts = st.integers(0, 10**7)
    shares = st.floats(0, 1)
    estimates = st.tuples(counts, counts).map(lambda pair: share(min(pair), max(pair)))
    spreads = st.lists(counts, max_size=4).map(Spread.of)
    balance = draw(st.dictionaries(names, st.tuples(counts, counts), max_size=4))
    return GenerationReport(
        *draw(st.tuples(counts, counts, counts)),
        draw(st.dictionaries(names, counts, max_size=4)),
        *draw(st.tuples(counts, counts, counts)),
        balance,
        Agreement(draw(estimates), draw(estimates), {name: draw(estimates) for name in balance}),
        Diversity({1: draw(shares), 2: math.nan}, draw(shares), draw(st.dictionaries(names, shares, max_size=3)), 1.0),
        draw(st.dictionaries(st.integers(0, 4), counts)),
        *draw(st.tuples(spreads, spreads)),
        *draw(st.tuples(counts, counts)),
        draw(st.none() | st.floats(0, 1e6)),
    )


@settings(max_examples=15)
@given(reports().filter(lambda report: report.kept <= report.written))
def test_any_report_has_a_page(report: GenerationReport) -> None:
    root = parse(page(report.to_dict()))
    rows = tables(root)
    if report.balance:
        said = [(name.split(), *pair) for name, *pair in rows["Conversations by category"]]
        assert said == [(n.split(), f"{a:,}", f"{b:,}") for n, (a, b) in report.balance.items()]
