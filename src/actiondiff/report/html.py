"""Report pages: single HTML files without external parts, for screens, phones, paper and screen readers."""

import base64
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from actiondiff.provenance import write_text
from actiondiff.report.drawing import Figure, page_colour
from actiondiff.report.items import Item, Picture
from actiondiff.report.layout import arrange

__all__ = [
    "Page",
    "Section",
    "render",
    "write_page",
]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A heading and the items below it."""

    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: Heading.
        lead: One or two sentences on what the page is about.
        sections: Sections in order; those without items are left out.
        watermark: One or two words put on every section, table and figure, such as `stand-in`; empty for
            none.
        footer: Last line, such as the version and the date; empty for none.
    """

    title: str
    lead: str
    sections: Sequence[Section] = field(default_factory=tuple)
    watermark: str = ""
    footer: str = ""


def render(page: Page) -> str:
    """Render a page as HTML; equal pages give equal text."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "kind": _kind,
        "paragraphs": _paragraphs,
        "flat": _flat,
        "jpeg": _jpeg,
        "csv": _csv,
        "colour": page_colour,
    }
    figures = {id(item): number for number, item in enumerate(_figures(page), 1)}

    def inline(figure: Figure) -> Markup:
        return Markup(figure.marked(page.watermark).inline_svg(f"figure{figures[id(figure)]}"))

    sections = [section for section in page.sections if section.items]
    places = arrange([section.items for section in sections])
    css = Markup((_TEMPLATES / "page.css").read_text("utf-8"))
    template = environment.get_template("page.html")
    return template.render(page=page, sections=sections, places=places, css=css, inline=inline) + "\n"


def write_page(path: str | os.PathLike[str], page: Page) -> Path:
    """Write the page, and the SVG, PNG and CSV of each figure into a folder `STEM-figures` beside it.

    The page does not need the files in this folder. Returns the path of the page.
    """
    path = Path(path)
    write_text(path, render(page))
    for figure in _figures(page):
        figure.marked(page.watermark).save(path.parent / f"{path.stem}-figures")
    return path


def _figures(page: Page) -> list[Figure]:
    return [item for section in page.sections for item in section.items if isinstance(item, Figure)]


def _kind(item: Item) -> str:
    return type(item).__name__.lower()


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Dotted name and value of each leaf of nested settings."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{prefix}{name}.")
        else:
            is_list = isinstance(value, list | tuple)
            rows.append((f"{prefix}{name}", ", ".join(map(str, value)) if is_list else str(value)))
    return rows


def _jpeg(picture: Picture) -> str:
    """Encode a picture as a data URI; as JPEG, frames take a tenth of the size that PNG needs."""
    buffer = io.BytesIO()
    Image.fromarray(picture.pixels).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _csv(text: str) -> str:
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()
