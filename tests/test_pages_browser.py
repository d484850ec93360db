"""The page in a browser: it filters, it fits, and nothing goes wrong there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")
pytest.importorskip("jinja2", reason="the extra 'report' is not installed")

from memory_routing.pages import Page, read_sources
from memory_routing.pages.scenarios import Entry, entries

from .test_pages import EVIL, report

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no executable `chromium`, which Debian's package brings"),
    pytest.mark.slow,
]


def opened(path: Path, fragment: Mapping[str, str] | None = None, width: int = 1000) -> tuple[str, list[str]]:
    """What the page has become once its scripts have run, and what the console says."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={path.parent / 'profile'}", f"--window-size={width},900", "--hide-scrollbars",
        "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom",
        f"{path.as_uri()}#{urlencode(fragment or {})}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    console = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if "CONSOLE" in line]
    return done.stdout.decode(), console


def visible(dom: str) -> list[str]:
    """Ids of the scenarios that are shown."""
    found = re.findall(r"<article ([^>]*)>.*?<strong[^>]*>(.*?)</strong>", dom, flags=re.DOTALL)
    return [name for attributes, name in found if "hidden" not in attributes]


def driven(path: Path, script: str, width: int = 1000) -> tuple[Any, list[str]]:
    """What a script that uses the page finds, as JSON."""
    html = path.read_text(encoding="utf-8")
    # The page lets no script run but its own.
    html = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", html)
    driver = f"<script>document.documentElement.dataset.found = JSON.stringify((() => {{ {script} }})());</script>"
    copy = path.with_name("driven.html")
    copy.write_text(html.replace("</body>", driver + "</body>"), encoding="utf-8")
    dom, console = opened(copy, width=width)
    found = re.search(r'data-found="([^"]*)"', dom)
    assert found, console
    return json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&")), console


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Entry]]:
    """A page of two reports, and what should be listed."""
    folder = tmp_path_factory.mktemp("browser")
    for name, seed in (("ours", 1), ("theirs", 2)):
        report(name, n=40, seed=seed).write(folder / f"{name}.json")
    sources = read_sources([folder / "ours.json", folder / "theirs.json"])
    Page(sources).write(folder / "page.html")
    return folder / "page.html", [entry for i, r in enumerate(sources.reports) for entry in entries(r, i)]


def test_the_console_would_tell_of_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text("<!DOCTYPE html><script>absent()</script>")
    _, console = opened(tmp_path / "x.html")
    assert "ReferenceError" in console[0]


@pytest.mark.parametrize(
    "told",
    [
        {"filter": "missed", "report": "1"},
        {"category": "none"},
        {"text": "NUMBER 7:"},
        {"filter": "malformed", "category": "none", "text": "budget"},
        {"filter": "no such filter"},
    ],
)
def test_the_address_filters(page: tuple[Path, list[Entry]], told: dict[str, str]) -> None:
    path, listed = page
    dom, console = opened(path, told)
    assert not console
    problem = told.get("filter", "")
    wanted = [
        entry.id
        for entry in listed
        if (problem in entry.problems or problem in ("", "no such filter"))
        and ("category" not in told or told["category"] in (*entry.gold, *entry.predicted))
        and ("report" not in told or str(entry.report) == told["report"])
        and ("text" not in told or any(told["text"].lower() in turn.text.lower() for turn in entry.turns))
    ]
    assert visible(dom) == wanted
    assert wanted, "a filter that lets nothing through shows little"
    assert f">{len(wanted)} of {len(listed)} shown</output>" in dom
    assert not re.search(r'<form id="filter" hidden', dom)


def test_the_controls_filter(page: tuple[Path, list[Entry]]) -> None:
    path, listed = page
    found, console = driven(
        path,
        """
        const form = document.getElementById("filter"), seen = {};
        const count = () => [...document.querySelectorAll("article")].filter((a) => a.getClientRects().length).length;
        for (const option of form.elements.filter.options) {
            form.elements.filter.value = option.value;
            form.elements.filter.dispatchEvent(new Event("input", {bubbles: true}));
            seen[option.value] = [count(), location.hash];
        }
        return seen;
        """,
    )
    assert not console
    counts = Counter(problem for entry in listed for problem in entry.problems)
    assert {name: n for name, (n, _) in found.items() if name} == {name: counts[name] for name in found if name}
    assert min(counts[name] for name in found if name) > 0, "there is something for every filter to show"
    assert found[""] == [len(listed), ""]
    assert found["extra"][1] == "#filter=extra"


@pytest.mark.parametrize("width", [500, 1400])
def test_the_page_fits_the_screen(page: tuple[Path, list[Entry]], width: int) -> None:
    path, _ = page
    found, console = driven(
        path,
        """
        for (const details of document.querySelectorAll("details")) details.open = true;
        // A phone is narrower than the narrowest window.
        if (innerWidth < 600) document.body.style.maxWidth = "328px";
        const wide = [...document.querySelectorAll("main *")].filter((e) =>
            e.getBoundingClientRect().right > document.body.getBoundingClientRect().right + 1 &&
            !e.closest(".table, .wide .plot") && !e.closest("svg"));
        return [innerWidth, document.documentElement.scrollWidth, wide.map((e) => e.outerHTML.slice(0, 80))];
        """,
        width,
    )
    assert not console
    inner, scrolled, wide = found
    assert inner == width
    assert scrolled <= inner
    assert wide == []


def test_the_first_report_and_every_chart_can_be_read_on_a_phone(page: tuple[Path, list[Entry]]) -> None:
    path, _ = page
    found, console = driven(
        path,
        """
        document.body.style.maxWidth = "343px";
        document.body.style.margin = "0";
        const table = document.querySelector(".table"), seen = table.getBoundingClientRect().right;
        const rows = [...table.querySelectorAll("tr")];
        const cut = rows.filter((row) => row.children[1].getBoundingClientRect().right > seen + 1);
        table.scrollLeft = 1000;
        const names = rows.filter((row) => row.children[0].getBoundingClientRect().left < 0).length;
        const points = [...document.querySelectorAll(".plot svg")].map((svg) =>
            [svg.closest("figure").innerText, svg.getBoundingClientRect().width / svg.viewBox.baseVal.width]);
        return [cut.map((row) => row.innerText), names, table.scrollLeft, points.filter(([_, size]) => size < 1.05)];
        """,
        width=500,
    )
    assert not console
    cut, names, scrolled, small = found
    assert cut == []
    assert scrolled > 0, "there is more than fits"
    assert names == 0, "the names of the rows stay when the table is scrolled"
    assert small == [], "a letter of 8 points is 8 pixels high at least"


def test_what_has_the_focus_is_not_under_the_filter(page: tuple[Path, list[Entry]]) -> None:
    path, _ = page
    found, _ = driven(
        path,
        """
        const bar = document.getElementById("filter"), under = [];
        const items = [...document.querySelectorAll("article summary")];
        for (const item of items.reverse()) {
            item.focus();
            if (item.getBoundingClientRect().top < bar.getBoundingClientRect().bottom) under.push(item.innerText);
        }
        return [getComputedStyle(bar).position, items.length, under];
        """,
    )
    assert found == ["sticky", 82, []]


@pytest.mark.parametrize("word", ["raw answer", "predicted", "any match", "theirs"])
def test_words_of_the_page_are_not_searched(page: tuple[Path, list[Entry]], word: str) -> None:
    dom, _ = opened(page[0], {"text": word})
    assert visible(dom) == []


def test_a_page_of_hostile_texts_runs_nothing_of_theirs(tmp_path: Path) -> None:
    report("x", n=4).write(tmp_path / "x.json")
    data = json.loads((tmp_path / "x.json").read_text())
    for row in data["results"]:
        row["id"] = EVIL
        row["conversation"][0]["content"] = EVIL
    data["router"] = EVIL
    (tmp_path / "x.json").write_text(json.dumps(data))
    Page(read_sources([tmp_path / "x.json"])).write(tmp_path / "x.html")
    dom, console = opened(tmp_path / "x.html", {"text": "</script></article>"})
    assert not console
    assert len(visible(dom)) == 4
    assert dom.count("<script") == 1


def test_without_scripts_all_is_readable(page: tuple[Path, list[Entry]], tmp_path: Path) -> None:
    path, listed = page
    html = re.sub(r"<script>.*</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "plain.html").write_text(html, encoding="utf-8")
    dom, console = opened(tmp_path / "plain.html")
    assert not console
    assert visible(dom) == [entry.id for entry in listed]
    assert re.search(r'<form id="filter" hidden', dom), "controls that would do nothing are not shown"
