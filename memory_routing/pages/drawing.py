"""Figures as inline SVG, which follows light and dark, and as PNG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "INK", "SOFT", "Chart", "axes_of", "clean", "short", "style"]

INK: Final = "#1c2026"
SOFT: Final = "#59626e"
COLOURS: Final = ("#1d63d8", "#c2410c", "#0f766e", "#7c3aed", "#a16207", "#be185d")
"""One for each report or curve, again from the first where there are more."""
_VARIABLES: Final = {
    INK: "var(--text)",
    SOFT: "var(--soft)",
    **{colour: f"var(--colour-{i})" for i, colour in enumerate(COLOURS)},
}
"""What stands in the page for a colour, where it follows light and dark."""
_UNPRINTABLE: Final = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff\\ufffe\\uffff]")
_LONGEST: Final = 30
_DPI: Final = 200


@attrs.frozen
class Chart:
    """A figure with what is said of it, made in `style()`.

    `name` is that of its PNG file, and no other chart of a page has it.
    """

    name: str
    title: str
    caption: str
    figure: Figure = attrs.field(repr=False, eq=False)
    wide: bool = False
    """Whether it is scrolled on a phone rather than shrunk."""

    def __attrs_post_init__(self) -> None:
        # Laid out once: each time anew, the last layout would leave its traces in the next.
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def svg(self) -> str:
        """An SVG element whose ids begin with the name, since several stand in one page."""
        with style():
            found = self._saved("svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))).decode()
        svg = re.sub(r"<[^>]+>", _with_variables, "<svg" + found.partition("<svg")[2])
        return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{self.name}-", svg)

    def png(self) -> bytes:
        """A picture on white."""
        with style():
            return self._saved("png", dpi=_DPI, facecolor="white", metadata={"Software": None})

    def _saved(self, kind: str, **options: Any) -> bytes:
        self.figure.savefig(file := io.BytesIO(), format=kind, **options)
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


def short(text: str) -> str:
    """A label that fits a chart; the page has it whole."""
    text = " ".join(clean(text).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _with_variables(tag: re.Match[str]) -> str:
    return re.sub(r"#[0-9a-f]{6}\b", lambda colour: _VARIABLES.get(colour[0], colour[0]), tag[0])
