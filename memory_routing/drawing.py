"""Figures as inline SVG, which follows light and dark, and as PNG (extra `report`)."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unicodedata import east_asian_width

import attrs
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "INK",
    "PNG_MARK",
    "SOFT",
    "WIDTH",
    "Chart",
    "axes_of",
    "cells",
    "clean",
    "short",
    "style",
    "svg_of",
]

INK: Final = "#1c2026"
SOFT: Final = "#59626e"
COLOURS: Final = ("#1d63d8", "#c2410c", "#0f766e", "#7c3aed", "#a16207", "#be185d")
"""One for each report or curve, again from the first where there are more."""
WIDTH: Final = 4.4
"""Inches of a figure that a phone shows whole without shrinking its text much."""
_VARIABLES: Final = {
    INK: "var(--text)",
    SOFT: "var(--soft)",
    **{colour: f"var(--colour-{i})" for i, colour in enumerate(COLOURS)},
}
_UNPRINTABLE: Final = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufffe\\uffff]")
_LONGEST: Final = 30
_DPI: Final = 200
_LETTERS: Final = 15
"""Letters of a title or caption in an inch."""
_GAP: Final = 0.06
"""Inches between them and the figure."""
_SOFTWARE: Final = "memory-routing"
PNG_MARK: Final = f"Software\0{_SOFTWARE}".encode()
"""What tells a chart's PNG file from others."""


@attrs.frozen
class Chart:
    """A figure with what is said of it, made in `style()`.

    `name` is that of its PNG file, and no other chart of a page has it.
    """

    name: str
    title: str
    caption: str
    figure: Figure = attrs.field(repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        # Laid out once: each time anew, the last layout would leave its traces in the next.
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    @property
    def width(self) -> float:
        """Inches."""
        return float(self.figure.get_figwidth())

    @property
    def wide(self) -> bool:
        """Whether a phone scrolls it rather than shrinks it."""
        return self.width > WIDTH

    def svg(self) -> str:
        """An SVG element whose ids begin with the name, since several stand in one page."""
        with style():
            return svg_of(self.figure, self.name, _VARIABLES)

    def png(self) -> bytes:
        """A picture on white, with its title and caption."""
        with style():
            letters, gap = int(_LETTERS * self.width), _GAP / self.figure.get_figheight()
            texts = [
                self.figure.text(0, y, textwrap.fill(clean(text), letters), va=side, **how)
                for y, side, text, how in (
                    (1 + gap, "bottom", self.title, {"fontweight": "bold"}),
                    (-gap, "top", self.caption, {"fontsize": 8}),
                )
            ]
            try:
                return _saved(
                    self.figure,
                    "png",
                    dpi=_DPI,
                    facecolor="white",
                    bbox_inches="tight",
                    metadata={"Software": _SOFTWARE},
                )
            finally:
                for text in texts:
                    text.remove()


def svg_of(figure: Figure, prefix: str, variables: Mapping[str, str]) -> str:
    """An SVG element with variables of the page for colours, whose ids begin with the prefix; call it in `style()`."""
    found = _saved(figure, "svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))).decode()
    # In the tags alone, since a text may name a colour.
    svg = re.sub(
        r"<[^>]+>",
        lambda tag: re.sub(r"#[0-9a-f]{6}\b", lambda colour: variables.get(colour[0], colour[0]), tag[0]),
        "<svg" + found.partition("<svg")[2],
    )
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    figure.savefig(file := io.BytesIO(), format=kind, **options)
    return file.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """Not the settings of whoever runs it, which would change the bytes."""
    with mpl.rc_context(), warnings.catch_warnings():
        # The font that measures the labels lacks most scripts; a browser does not.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        mpl.rcdefaults()
        mpl.rc("svg", fonttype="none", hashsalt="memory_routing")
        mpl.rc("axes", edgecolor=INK, labelcolor=INK, titlecolor=INK, facecolor="none", axisbelow=True)
        mpl.rc("axes.spines", top=False, right=False)
        mpl.rc("xtick", color=INK)
        mpl.rc("ytick", color=INK)
        mpl.rc("legend", frameon=False, fontsize=8)
        mpl.rc("grid", color=SOFT, alpha=0.25, linewidth=0.6)
        mpl.rc("figure", facecolor="none")
        mpl.rcParams.update({"text.color": INK, "text.parse_math": False, "font.family": "DejaVu Sans", "font.size": 9})
        yield


def axes_of(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches, and its only axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def clean(text: str) -> str:
    """The text without what no page can hold: controls, and halves of characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def cells(text: str) -> int:
    """How wide a text is, in letters of Latin."""
    return sum(2 if east_asian_width(letter) in "FW" else 1 for letter in text)


def short(text: str) -> str:
    """A label that fits a chart; the page has it whole."""
    text = " ".join(clean(text).split())
    if cells(text) <= _LONGEST:
        return text
    kept = text[:_LONGEST]
    while cells(kept) >= _LONGEST:
        kept = kept[:-1]
    return kept + "…"
