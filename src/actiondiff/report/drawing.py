"""Figures as values: a drawing with its title, caption and data, written as SVG, PNG and CSV."""

import io
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Drawing

from actiondiff.provenance import atomic_path, safe_cells

__all__ = [
    "GRID",
    "INK",
    "PHONE_INCHES",
    "SERIES",
    "Figure",
    "behaviour_colours",
    "canvas",
    "page_colour",
    "shade",
    "styled",
]

INK, GRID = "#1f2430", "#c4cad4"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#5f6b7a")
"""Colours of series that colour-blind people can tell apart too; the first six after Okabe and Ito (2008)."""

PHONE_INCHES = 3.6
"""Width of a drawing that fits a phone of 390 CSS pixels without being made smaller."""


def _mixed(colours: Sequence[str], other: str, share: float) -> list[str]:
    """The colours mixed with another one; `share` is how much of the first stays."""
    pairs = [zip(to_rgb(colour), to_rgb(other), strict=True) for colour in colours]
    mixtures = ([share * a + (1 - share) * b for a, b in pair] for pair in pairs)
    return [to_hex((red, green, blue)) for red, green, blue in mixtures]


_BEHAVIOURS = (*SERIES, *_mixed(SERIES, INK, 0.6), *_mixed(SERIES, "#ffffff", 0.5))
"""Colours of up to 24 behaviours: those of the series, then darker and paler ones."""

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # a label such as "cost $5 to $10" is shown as it is
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: it can be searched, selected and read aloud
    "svg.hashsalt": "actiondiff",  # with no date: the same numbers give the same bytes
}
_PNG_DPI = 160
# Inside a page, colours follow its light or dark scheme.
_SCHEME = {INK: "currentColor", GRID: "var(--line)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(_BEHAVIOURS, 1)
}


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure with its texts and numbers.

    Attributes:
        name: Stem of its files.
        drawing: Drawing of matplotlib.
        title: Heading.
        alt: Description for readers who cannot see the figure.
        caption: Text below the figure: what it shows, on which clips, and the floor where there is one.
        data: Numbers that are drawn.
        watermark: Text written across the figure and into the data; empty for none.
        phone: The same, drawn `PHONE_INCHES` wide, which pages show on narrow screens; None for none.
    """

    name: str
    drawing: Drawing
    title: str
    alt: str
    caption: str
    data: pd.DataFrame
    watermark: str = ""
    phone: Drawing | None = None

    def marked(self, text: str) -> "Figure":
        """Copy of the figure with a watermark."""
        return replace(self, watermark=text)

    def svg(self) -> str:
        """Standalone SVG document on a white background."""
        return self._render("svg", Date=None, Creator=None).decode()

    def png(self) -> bytes:
        """PNG on a white background."""
        return self._render("png", Software=None)

    def csv(self) -> str:
        """The numbers as CSV, with a column for the watermark if there is one."""
        data = self.data.assign(watermark=self.watermark) if self.watermark else self.data
        return safe_cells(data).to_csv(index=False, lineterminator="\n")

    def inline_svg(self, prefix: str) -> str:
        """SVG elements for a page: no background, the page's colours, and ids that begin with `prefix`.

        A figure that is also drawn for phones gives two elements, of which the page shows one.
        """
        if self.phone is None:
            return self._inline(prefix, "")
        narrow = replace(self, drawing=self.phone, phone=None)
        return self._inline(prefix, "wide") + narrow._inline(f"{prefix}-phone", "narrow")

    def _inline(self, prefix: str, screen: str) -> str:
        text = self.svg()
        text = text[text.index("<svg") :]
        text = re.sub(r'(<g id="patch_1">\s*<path [^>]*?)fill: #ffffff', r"\1fill: none", text, count=1)
        text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r'\bid="', f'id="{prefix}-', text)
        text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", text)
        for colour, name in _SCHEME.items():
            text = re.sub(rf"(fill|stroke|stop-color): {colour}", rf"\1: {name}", text)
        width = 96 * float(self.drawing.get_figwidth())  # CSS pixels; never so small that text is unreadable
        size = f"width: {width:.0f}px; min-width: {min(width, max(340, 0.8 * width)):.0f}px"
        text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", text, count=1)
        return text.replace("<svg", f'<svg class="{screen}" style="{size}" aria-hidden="true"', 1)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write NAME.svg, NAME.png and NAME.csv into a folder; returns their paths."""
        contents = {"svg": self.svg().encode(), "png": self.png(), "csv": self.csv().encode()}
        paths = []
        for suffix, content in contents.items():
            paths.append(Path(folder) / f"{self.name}.{suffix}")
            with atomic_path(paths[-1]) as aside:
                aside.write_bytes(content)
        return paths

    def _render(self, kind: str, **metadata: None) -> bytes:
        """Bytes of the file, without dates and versions."""
        mark = None
        with styled(), io.BytesIO() as buffer:
            if self.watermark:
                mark = self.drawing.text(
                    0.5, 0.5, self.watermark, fontsize=30, color="#b00020", alpha=0.22, rotation=22,
                    ha="center", va="center", zorder=100, in_layout=False,
                )  # fmt: skip
            self.drawing.savefig(buffer, format=kind, dpi=_PNG_DPI, metadata=metadata)
            if mark:
                mark.remove()
            return buffer.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """Use the style of our figures within the block or the decorated function."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The figure's font lacks other scripts, but a browser finds their glyphs in the reader's fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        yield


def canvas(width: float, height: float) -> tuple[Drawing, Axes]:
    """Make a drawing with one pair of axes; sizes are in inches. Call it inside `styled`."""
    drawing = Drawing(figsize=(width, height), layout="constrained")
    return drawing, drawing.add_subplot()


def behaviour_colours(labels: Sequence[str]) -> dict[str, str]:
    """Behaviour -> its colour in every figure, table and caption; from 25 behaviours on, colours repeat."""
    return {label: _BEHAVIOURS[n % len(_BEHAVIOURS)] for n, label in enumerate(labels)}


def page_colour(colour: str) -> str:
    """A colour as pages name it, where it follows their light or dark scheme."""
    return _SCHEME.get(colour, colour)


def shade(red: float, green: float, blue: float) -> str:
    """Black or white, whichever is easier to read on a colour (each part in [0, 1])."""
    light = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)
    ]
    luminance = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]  # WCAG 2
    return "#000000" if luminance > 0.179 else "#ffffff"
