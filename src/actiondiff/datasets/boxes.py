"""Boxes around animals, as detectors write them: JSON of MegaDetector, or a CSV."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiondiff.datasets.table import read_rows
from actiondiff.errors import TableError, UsageError
from actiondiff.video.names import locate

__all__ = ["Box", "VideoBoxes", "read_boxes"]

_SIDES = ("x0", "y0", "x1", "y1")
_FRAMES = ("frame", "frame_index")
_ANIMAL = "animal"
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Box:
    """A box in one frame.

    Attributes:
        at: Index of the frame from 0, or its time in seconds; see `VideoBoxes.in_seconds`.
        x0: Left edge; see `VideoBoxes.in_pixels`.
        y0: Upper edge.
        x1: Right edge.
        y1: Lower edge.
        score: Confidence of the detector, in [0, 1].
        individual: Name of the individual; empty if unknown.
    """

    at: float
    x0: float
    y0: float
    x1: float
    y1: float
    score: float = 1.0
    individual: str = ""


@dataclass(frozen=True)
class VideoBoxes:
    """The boxes of a file, by video.

    Attributes:
        boxes: Absolute path of a video -> its boxes, in order of time.
        in_seconds: Whether `Box.at` is a time; else it is the index of a frame.
        in_pixels: Whether edges are in pixels; else they are shares of the picture's width and height.
    """

    boxes: Mapping[Path, tuple[Box, ...]]
    in_seconds: bool
    in_pixels: bool

    def of(self, video: Path) -> tuple[Box, ...]:
        """The boxes of a video, in order of time; none if it is not in the file."""
        return self.boxes.get(Path(os.path.abspath(video)), ())


def read_boxes(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, min_score: float = 0.2
) -> VideoBoxes:
    """Read boxes from a file.

    A CSV has the columns `video`, `frame` (or `frame_index`, from 0) or `seconds`, `x0`, `y0`, `x1`, `y1`
    and, if wanted, `score` and `individual`. Edges are in pixels, or all in [0, 1] as shares of the picture.
    A JSON file is one that MegaDetector wrote for videos: its boxes of the category `animal` are taken.
    Frames and videos without boxes need no rows.

    Args:
        path: The CSV or JSON file.
        root: Folder that the videos' paths are relative to, if it is not the file's own.
        min_score: Boxes with a lower score are left out.

    Raises:
        UsageError: If the file does not exist, or is none that can be read.
        TableError: If rows of it are wrong; the error lists them.
    """
    path = Path(path)
    base = path.parent if root is None else Path(root)
    if not path.is_file():
        raise UsageError(
            f"there is no file of boxes at {path}; give a CSV, or JSON of MegaDetector; actiondiff "
            "detect VIDEOS -o boxes.json makes one."
        )
    is_json = path.suffix.lower() == ".json"
    rows, in_seconds, in_pixels = _megadetector(path) if is_json else _csv(path)
    boxes: dict[Path, list[Box]] = {}
    for video, box in rows:
        own = boxes.setdefault(Path(os.path.abspath(base / locate(base, video))), [])
        if box is not None and box.score >= min_score:
            own.append(box)
    ordered = {video: tuple(sorted(own, key=lambda box: box.at)) for video, own in boxes.items()}
    return VideoBoxes(ordered, in_seconds, in_pixels)


def _csv(path: Path) -> tuple[list[tuple[str, Box | None]], bool, bool]:
    rows = read_rows(path)
    columns = set(rows[0][1]) if rows else set()
    when = next((name for name in (*_FRAMES, "seconds") if name in columns), None)
    lacking = [name for name in _SIDES if name not in columns]
    if lacking or when is None:
        lacking = [*lacking, *([] if when else ["frame or seconds"])]
        raise TableError(path, [f"the columns {', '.join(lacking)} are missing"])
    boxes: list[tuple[str, Box | None]] = []
    problems: list[str] = []
    for number, row in rows:
        cells = [row[when], *(row[name] for name in _SIDES), row.get("score") or "1"]
        try:
            at, x0, y0, x1, y1, score = (float(cell) for cell in cells)
        except ValueError:
            at = x0 = y0 = x1 = y1 = score = math.nan
        if not all(map(math.isfinite, (at, x0, y0, x1, y1, score))) or at < 0 or x1 < x0 or y1 < y0:
            problems.append(f"row {number}: {', '.join(cells)} are not a time and a box x0 <= x1, y0 <= y1")
            continue
        boxes.append((row["video"], Box(at, x0, y0, x1, y1, score, row.get("individual", ""))))
    if problems:
        raise TableError(path, problems)
    in_pixels = any(max(box.x1, box.y1) > 1 for _, box in boxes if box)
    return boxes, when == "seconds", in_pixels


def _megadetector(path: Path) -> tuple[list[tuple[str, Box | None]], bool, bool]:
    """Boxes of MegaDetector's JSON format, https://lila.science/megadetector-output-format (1.3 to 1.6)."""
    advice = (
        "Give the results file of MegaDetector for videos (its key images), or a CSV; actiondiff detect "
        "makes a file of boxes."
    )
    if path.stat().st_size > _MOST_BYTES:
        raise UsageError(f"{path} is larger than 1 GiB. Split it, or write a CSV of boxes.")
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        images = content["images"]
        names = content.get("detection_categories") or {}
        animals = {key for key, name in names.items() if name == _ANIMAL} or set(names)
        boxes: list[tuple[str, Box | None]] = []
        for image in images:
            boxes.append((str(image["file"]), None))
            for detection in image.get("detections") or ():
                if animals and str(detection["category"]) not in animals:
                    continue
                if "frame_number" not in detection:
                    raise UsageError(
                        f"{path} has boxes of pictures: one of {image['file']} has no frame_number. {advice}"
                    )
                x, y, width, height = (float(value) for value in detection["bbox"])
                box = Box(
                    float(detection["frame_number"]), x, y, x + width, y + height, float(detection["conf"])
                )
                if not all(map(math.isfinite, (box.at, box.x0, box.y0, box.x1, box.y1, box.score))):
                    raise ValueError(f"{image['file']} has a box that is not finite")
                boxes.append((str(image["file"]), box))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is not in MegaDetector's format ({error!r}). {advice}") from None
    return boxes, False, False
