"""What a section of a page is made of: texts, notes, pictures, settings, tables and figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actiondiff.report.drawing import Figure
from actiondiff.report.tables import ReportTable

__all__ = ["Code", "Gallery", "Item", "Notes", "Picture", "Provenance", "Text"]


@dataclass(frozen=True)
class Text:
    """Paragraphs, separated by blank lines."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines that are shown as they are, such as commands."""

    text: str


@dataclass(frozen=True)
class Notes:
    """Highlighted sentences.

    Attributes:
        sentences: The sentences, one per line.
        kind: `warning` for what makes numbers less reliable than they seem.
    """

    sentences: tuple[str, ...]
    kind: Literal["note", "warning"] = "note"


@dataclass(frozen=True, eq=False)
class Picture:
    """An image, such as a strip of frames.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        caption: Text below the image.
        alt: Description for readers who cannot see the image.
        colour: Colour of a mark before the caption, such as that of a behaviour; empty for none.
    """

    pixels: NDArray[np.uint8]
    caption: str
    alt: str
    colour: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid."""

    pictures: tuple[Picture, ...]
    caption: str = ""


@dataclass(frozen=True)
class Provenance:
    """Settings behind the numbers; nested ones are shown with dotted names such as `a.b`."""

    values: Mapping[str, Any]
    title: str = "Settings"


Item: TypeAlias = Text | Code | Notes | ReportTable | Figure | Gallery | Provenance
