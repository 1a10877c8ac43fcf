"""Videos cropped around animals: boxes are linked into tracks, and each track becomes a video of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from actiondiff.datasets.boxes import Box, VideoBoxes
from actiondiff.errors import VideoError
from actiondiff.types import Array
from actiondiff.video.decode import iter_video
from actiondiff.video.probe import probe
from actiondiff.video.write import write_numbered

__all__ = ["CropOptions", "CropResult", "Track", "link_boxes", "write_crop"]

_LEAST_PX = 16  # side of the smallest crop
_USUAL_RATE = 25.0  # frames per second where a file does not say
_LARGE = 95  # percentile of a track's box sizes that its crop holds


@dataclass(frozen=True)
class CropOptions:
    """How videos are cropped.

    Attributes:
        margin: Share of the box's longer side that is added on each side.
        smooth_seconds: Span over which the position of the crop is averaged.
        max_gap_seconds: Longest time without a box within a track.
        min_overlap: Least overlap (intersection over union) of boxes that follow each other in a track.
    """

    margin: float = 0.25
    smooth_seconds: float = 1.0
    max_gap_seconds: float = 2.0
    min_overlap: float = 0.1


@dataclass(frozen=True)
class Track:
    """The boxes of one individual in a video, in order of time, at most one per frame."""

    individual: str
    boxes: tuple[Box, ...]

    @property
    def score(self) -> float:
        """Sum of the scores: long and certain tracks come first."""
        return sum(box.score for box in self.boxes)


@dataclass(frozen=True)
class CropResult:
    """A video that was written.

    Attributes:
        side_px: Side of the square in the source, pixels; 0 where the whole picture was taken.
        num_frames: Number of frames.
        num_without_box: Number of frames without a box, whose crop is interpolated or held; or all, if the
            whole picture was taken.
        partial: Which part of the source is missing, in words; empty if none is.
    """

    side_px: int
    num_frames: int
    num_without_box: int
    partial: str = ""


def link_boxes(boxes: Sequence[Box], *, max_gap: float, min_overlap: float) -> list[Track]:
    """Link boxes into tracks, best first: by the individual's name, or else greedily by overlap.

    Args:
        boxes: Boxes of a video, in order of time.
        max_gap: Longest time (or number of frames) without a box within a track.
        min_overlap: Least intersection over union of boxes that follow each other.
    """
    named: dict[str, dict[float, Box]] = {}
    open_tracks: list[list[Box]] = []
    # The surest boxes of a frame choose their track first.
    for box in sorted(boxes, key=lambda box: (box.at, -box.score)):
        if box.individual:
            named.setdefault(box.individual, {}).setdefault(box.at, box)
            continue
        near = [own for own in open_tracks if 0 < box.at - own[-1].at <= max_gap]
        best = max(near, key=lambda own: overlap(own[-1], box), default=None)
        if best is not None and overlap(best[-1], box) >= min_overlap:
            best.append(box)
        else:
            open_tracks.append([box])
    ordered = sorted(open_tracks, key=lambda own: -sum(box.score for box in own))
    tracks = [Track(str(n), tuple(own)) for n, own in enumerate(ordered, start=1)]
    tracks += [Track(name, tuple(own.values())) for name, own in named.items()]
    return sorted(tracks, key=lambda track: -track.score)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = [(box.x1 - box.x0) * (box.y1 - box.y0) for box in (one, other)]
    return both / (sum(areas) - both)


def write_crop(
    video: Path, out: Path, track: Track | None, boxes: VideoBoxes, options: CropOptions
) -> CropResult:
    """Write a video cropped to a square around a track, whose size is constant and whose position is smooth.

    Args:
        video: The source.
        out: File to write.
        track: The track; None for the whole picture.
        boxes: Says what the units of the track's boxes are.
        options: How videos are cropped.

    Raises:
        VideoError: If no frame of the source decodes.
    """
    rate = min(1000.0, probe(video).average_rate or _USUAL_RATE)
    with_box = np.array([box.at for box in track.boxes] if track else [])
    reach = 0.5 / rate if boxes.in_seconds else 0.5
    side, num_frames, num_boxed = 0, 0, 0
    reader = iter_video(video, stride=1, chunk_frames=8, square=not boxes.in_pixels)

    def pictures() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        nonlocal side, num_frames, num_boxed
        path: _Path | None = None
        last = -1
        for chunk in reader:
            height, width = chunk.pixels.shape[1:3]
            if track is not None and path is None:
                path = _path(track, boxes, (height, width), rate, options)
                side = path.side
            for n, picture in enumerate(chunk.pixels):
                index = int(chunk.frame_index[n])
                seconds = index / rate if chunk.seconds is None else float(chunk.seconds[n])
                last = max(last + 1, round(seconds * rate))
                num_frames += 1
                at = seconds if boxes.in_seconds else float(index)
                first, end = np.searchsorted(with_box, (at - reach, at + reach))
                num_boxed += int(end > first)
                yield last, _cut(picture, path, at)

    stream = pictures()
    first = next(stream, None)
    if first is None:
        raise VideoError(f"{video}: {reader.report.reason or 'no frame decodes'}.")
    write_numbered(out, chain([first], stream), fps=rate)
    if reader.report.status == "failed":
        out.unlink(missing_ok=True)
        raise VideoError(f"{video}: {reader.report.reason}.")
    partial = reader.report.reason if reader.report.status == "partial" else ""
    return CropResult(side, num_frames, num_frames - num_boxed, partial)


@dataclass(frozen=True)
class _Path:
    """The way of a crop: centres (N,) in pixels at times (N,), and the side of its square."""

    times: Array
    columns: Array
    rows: Array
    side: int


def _path(track: Track, boxes: VideoBoxes, size: tuple[int, int], rate: float, options: CropOptions) -> _Path:
    height, width = size
    scale_x, scale_y = (1, 1) if boxes.in_pixels else (width, height)
    times = np.array([box.at for box in track.boxes])
    columns = np.array([(box.x0 + box.x1) / 2 * scale_x for box in track.boxes])
    rows = np.array([(box.y0 + box.y1) / 2 * scale_y for box in track.boxes])
    sides = [
        max((box.x1 - box.x0) * scale_x, (box.y1 - box.y0) * scale_y) * (1 + 2 * options.margin)
        for box in track.boxes
    ]
    # Positions on an even grid of frames, so that the mean is one over time.
    step = 1 / rate if boxes.in_seconds else 1.0
    grid = np.arange(times[0], times[-1] + step / 2, step)
    reach = max(1, round(options.smooth_seconds * rate))
    smooth = [
        uniform_filter1d(np.interp(grid, times, values), reach, mode="nearest") for values in (columns, rows)
    ]
    side = 2 * round(min(max(float(np.percentile(sides, _LARGE)), _LEAST_PX), height, width) / 2)
    side = min(side, height - height % 2, width - width % 2)
    return _Path(grid, smooth[0], smooth[1], side)


def _cut(picture: NDArray[np.uint8], path: _Path | None, at: float) -> NDArray[np.uint8]:
    """The square around a point of the path, moved so that it lies within the picture."""
    height, width = picture.shape[:2]
    if path is None:
        return picture[: height - height % 2, : width - width % 2]
    column, row = (float(np.interp(at, path.times, values)) for values in (path.columns, path.rows))
    left = min(max(round(column - path.side / 2), 0), width - path.side)
    top = min(max(round(row - path.side / 2), 0), height - path.side)
    return picture[top : top + path.side, left : left + path.side]
