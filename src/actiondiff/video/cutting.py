"""Crops of videos: where in the pictures of a source they lie, and how its frames are cut."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from actiondiff.provenance import canonical_json
from actiondiff.types import JSON, BoolArray, DoubleArray
from actiondiff.types.crops import CropOptions

__all__ = ["CROP_FORMAT", "WHOLE", "CropFile", "CropPiece", "CropPlace", "Cutter", "PlaceRow"]

CROP_FORMAT = "actiondiff crop 1"
PlaceRow: TypeAlias = tuple[float, float, float, float]
WHOLE: PlaceRow = (-1.0, 0.0, 0.0, 0.0)
"""In place of `CropPlace.row` where the whole picture is taken."""


@dataclass(frozen=True)
class CropPlace:
    """Where the crop of a frame lies in the decoded picture.

    Attributes:
        piece: Number of the piece.
        corner: Row and column of its upper left corner.
        size: Height and width.
        filled: Longer side of the animal's box, as a share of the side of the crop, in [0, 1].
    """

    piece: int
    corner: tuple[int, int]
    size: tuple[int, int]
    filled: float

    @property
    def row(self) -> PlaceRow:
        """Number of the piece, column and row of the centre in sides of the crop, and `filled`."""
        (top, left), (height, width) = self.corner, self.size
        return float(self.piece), (left + width / 2) / width, (top + height / 2) / height, self.filled


@dataclass(frozen=True, eq=False)
class CropPiece:
    """A stretch of the source in which the crop has a constant size.

    Attributes:
        first: Time (or index) of the first point; the others follow at equal steps.
        step: From one point to the next.
        columns: (N,) centre of the crop, in pixels of the source as shown.
        rows: (N,) likewise.
        sizes: (N,) longer side of the box, in the same pixels.
        side_px: Side of the crop, in the same pixels.
    """

    first: float
    step: float
    columns: DoubleArray
    rows: DoubleArray
    sizes: DoubleArray
    side_px: int

    @property
    def last(self) -> float:
        """Time (or index) of the last point."""
        return self.first + self.step * (len(self.columns) - 1)

    def at(self, when: float) -> tuple[float, float, float]:
        """Column, row and size at a time (or index), interpolated; before and after, those of the ends."""
        place = min(max((when - self.first) / self.step, 0.0), len(self.columns) - 1.0)
        low = min(int(place), max(0, len(self.columns) - 2))
        share = place - low
        high = min(low + 1, len(self.columns) - 1)
        column, row, size = (
            float(values[low] + share * (values[high] - values[low]))
            for values in (self.columns, self.rows, self.sizes)
        )
        return column, row, size


@dataclass(frozen=True, eq=False)
class CropFile:
    """What a crop file says.

    Attributes:
        source: Absolute path of the video that the pictures are cut from.
        source_sha256: sha256 of its content.
        individual: Name of the individual; `1`, `2` ... for those without a name; empty if the video has no
            boxes, so that every frame shows the whole picture.
        options: How it was cropped.
        width_px: Width of the source's pictures as shown.
        height_px: Height of them.
        in_seconds: Whether pieces are placed by time; else by index of the raw frame.
        rate: Frames per second of the source.
        pieces: In order of time, not overlapping.
    """

    source: Path
    source_sha256: str
    individual: str
    options: CropOptions
    width_px: int
    height_px: int
    in_seconds: bool
    rate: float
    pieces: tuple[CropPiece, ...]

    @cached_property
    def identity(self) -> str:
        """sha256 of the content. The path of the source does not count, its sha256 does."""
        return hashlib.sha256(canonical_json(self.content()).encode()).hexdigest()

    @property
    def side_px(self) -> int:
        """Side of the pictures, in pixels of the source as shown; 0 if all of them are whole pictures."""
        return max((piece.side_px for piece in self.pieces), default=0)

    @cached_property
    def _spans(self) -> tuple[DoubleArray, DoubleArray]:
        first = np.array([piece.first for piece in self.pieces])
        return first, np.array([piece.last for piece in self.pieces])

    def piece_numbers(self, at: DoubleArray) -> NDArray[np.int64]:
        """The piece of each time (or index), the nearest one; -1 where the whole picture is taken.

        Args:
            at: (N,) times, or indices.
        """
        if not self.pieces:
            return np.full(len(at), -1)
        first, last = self._spans
        before = np.searchsorted(first, at, side="right") - 1
        after = np.minimum(before + 1, len(first) - 1)
        since = np.where(before < 0, np.inf, np.maximum(at - last[before], 0))
        until = np.where(before + 1 < len(first), first[after] - at, np.inf)
        reach = self.options.max_gap_seconds * (1 if self.in_seconds else self.rate)
        nearest = np.where(since <= until, before, after)
        return np.where(np.minimum(since, until) <= reach + 1e-6, nearest, -1)

    def is_whole(self, at: DoubleArray) -> BoolArray:
        """(N,) whether the whole picture is taken at these times (or indices)."""
        return self.piece_numbers(at) < 0

    def content(self) -> dict[str, JSON]:
        """What the file says, as JSON, without the path of the source."""
        pieces: list[JSON] = [
            {
                "first": piece.first,
                "step": piece.step,
                "columns": _rounded(piece.columns),
                "rows": _rounded(piece.rows),
                "sizes": _rounded(piece.sizes),
                "side_px": piece.side_px,
            }
            for piece in self.pieces
        ]
        options: dict[str, JSON] = {**self.options.settings}
        return {
            "format": CROP_FORMAT,
            "source_sha256": self.source_sha256,
            "individual": self.individual,
            "options": options,
            "width_px": self.width_px,
            "height_px": self.height_px,
            "unit": "seconds" if self.in_seconds else "frames",
            "rate": self.rate,
            "pieces": pieces,
        }


class Cutter:
    """Cuts the frames of a source: `cut(picture, place(index, seconds))`.

    Args:
        crop: Where.
        height_px: Height of the pictures as they are decoded: as shown, or as the file stores them.
        width_px: Width of them.

    Attributes:
        size: Height and width of what it cuts.
    """

    def __init__(self, crop: CropFile, height_px: int, width_px: int) -> None:
        self._crop = crop
        self._height, self._width = height_px, width_px
        self._scale_x, self._scale_y = width_px / crop.width_px, height_px / crop.height_px
        self.size = self._sides(crop.side_px) if crop.pieces else (height_px, width_px)

    def place(self, index: int, seconds: float | None) -> CropPlace | None:
        """Where the crop of a frame lies; None where the whole picture is taken."""
        crop = self._crop
        at = float(index)
        if crop.in_seconds:
            at = index / crop.rate if seconds is None else seconds
        number = int(crop.piece_numbers(np.array([at]))[0])
        if number < 0:
            return None
        piece = crop.pieces[number]
        column, row, size = piece.at(at)
        height, width = self._sides(piece.side_px)
        left = min(max(round(column * self._scale_x - width / 2), 0), self._width - width)
        top = min(max(round(row * self._scale_y - height / 2), 0), self._height - height)
        return CropPlace(number, (top, left), (height, width), min(1.0, max(0.0, size / piece.side_px)))

    def cut(self, picture: NDArray[np.uint8], place: CropPlace | None) -> NDArray[np.uint8]:
        """Cut a frame (H, W, 3); all cut frames have one size. None stands for the whole picture."""
        if place is None:
            return self._fitted(picture)
        (top, left), (height, width) = place.corner, place.size
        return self._fitted(picture[top : top + height, left : left + width])

    def _sides(self, side_px: int) -> tuple[int, int]:
        """Height and width of a crop in the decoded pictures."""
        height = min(max(1, round(side_px * self._scale_y)), self._height)
        return height, min(max(1, round(side_px * self._scale_x)), self._width)

    def _fitted(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture in the size that all frames of the crop have."""
        if picture.shape[:2] == self.size:
            return picture
        height, width = self.size
        return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def _rounded(values: DoubleArray) -> list[JSON]:
    return [round(float(value), 1) for value in values]
