"""Crops around animals: boxes are linked into sequences, and each sequence becomes a crop of the video."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from actiondiff.datasets.boxes import Box, VideoBoxes
from actiondiff.errors import VideoError
from actiondiff.provenance import sha256_of_file
from actiondiff.types import DoubleArray
from actiondiff.types.crops import CropOptions
from actiondiff.video.crop_file import is_crop
from actiondiff.video.cutting import CropFile, CropPiece
from actiondiff.video.decode import iter_video
from actiondiff.video.probe import VideoInfo, probe
from actiondiff.video.survey import frame_seconds
from actiondiff.video.write import write_numbered

__all__ = ["BoxSequence", "CropOptions", "CropPlan", "link_boxes", "plan_crops", "write_crop"]

_LEAST_PX = 16  # side of the smallest crop
_USUAL_RATE = 25.0  # frames per second where a file does not say
_HIGHEST_RATE = 1000.0
_LARGE = 95  # percentile of a track's box sizes that its crop holds
_POINTS = 10  # of a way while its position is averaged once


@dataclass(frozen=True)
class BoxSequence:
    """The boxes of one individual in a video: tracks one after the other.

    Attributes:
        individual: Its name; `1`, `2` ... for those without one.
        tracks: In order of time, not overlapping; each has its boxes in order of time, one per frame.
        is_named: Whether the boxes name the individual.
    """

    individual: str
    tracks: tuple[tuple[Box, ...], ...]
    is_named: bool

    @property
    def boxes(self) -> list[Box]:
        """All boxes, in order of time."""
        return list(chain.from_iterable(self.tracks))

    @property
    def score(self) -> float:
        """Sum of the scores: long and certain sequences come first."""
        return sum(box.score for box in self.boxes)


@dataclass(frozen=True)
class CropPlan:
    """A crop that is to be made.

    Attributes:
        crop: Where it lies.
        num_frames: Number of the source's frames, as far as its packets show it.
        num_without_box: Number of frames that have no box of their own: the crop is interpolated or held, or
            the whole picture is taken.
        num_whole: Number of frames of which the whole picture is taken.
        mean_score: Mean score of the boxes; None if there are none.
    """

    crop: CropFile
    num_frames: int
    num_without_box: int
    num_whole: int
    mean_score: float | None


def link_boxes(boxes: Sequence[Box], *, max_gap: float, min_overlap: float) -> list[BoxSequence]:
    """Link boxes into sequences, one for each individual, best first.

    Boxes with a name belong to that individual. Others are linked greedily by overlap to tracks, and tracks
    that do not overlap in time are chained, the surest first: sequence 1 holds the surest animal at each
    time, sequence 2 a second one that is there at the same time, and so on.

    Args:
        boxes: Boxes of a video, in order of time.
        max_gap: Longest time (or number of frames) without a box within a track.
        min_overlap: Least intersection over union of boxes that follow each other.
    """
    by_name: dict[str, dict[float, Box]] = {}
    ended: list[list[Box]] = []
    open_tracks: list[list[Box]] = []
    # The surest boxes of a frame choose their track first.
    for box in sorted(boxes, key=lambda box: (box.at, -box.score)):
        if box.individual:
            by_name.setdefault(box.individual, {}).setdefault(box.at, box)
            continue
        ended += [own for own in open_tracks if box.at - own[-1].at > max_gap]
        open_tracks = [own for own in open_tracks if box.at - own[-1].at <= max_gap]
        near = [own for own in open_tracks if own[-1].at < box.at]
        best = max(near, key=lambda own: overlap(own[-1], box), default=None)
        if best is not None and overlap(best[-1], box) >= min_overlap:
            best.append(box)
        else:
            open_tracks.append([box])
    sequences = [
        BoxSequence(name, _parted(list(own.values()), max_gap), is_named=True)
        for name, own in by_name.items()
    ]
    numbers = (str(n) for n in range(1, len(boxes) + len(by_name) + 1) if str(n) not in by_name)
    sequences += [
        BoxSequence(name, tracks, is_named=False)
        for name, tracks in zip(numbers, _chained(ended + open_tracks), strict=False)
    ]
    return sorted(sequences, key=lambda sequence: -sequence.score)


def _parted(boxes: list[Box], max_gap: float) -> tuple[tuple[Box, ...], ...]:
    """The boxes of an individual as tracks: a longer time without a box parts them."""
    starts = [0, *(n for n in range(1, len(boxes)) if boxes[n].at - boxes[n - 1].at > max_gap)]
    return tuple(tuple(boxes[a:b]) for a, b in zip(starts, [*starts[1:], len(boxes)], strict=True))


def _chained(tracks: list[list[Box]]) -> list[tuple[tuple[Box, ...], ...]]:
    """Chains of tracks that do not overlap in time; those with the highest sums of scores choose first."""
    chains: list[list[list[Box]]] = []  # each in order of time
    for track in sorted(tracks, key=lambda own: -sum(box.score for box in own)):
        for own in chains:
            place = bisect(own, track[0].at, key=lambda other: other[0].at)
            begins_later = place == 0 or own[place - 1][-1].at < track[0].at
            if begins_later and (place == len(own) or track[-1].at < own[place][0].at):
                own.insert(place, track)
                break
        else:
            chains.append([track])
    return [tuple(map(tuple, own)) for own in chains]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = [(box.x1 - box.x0) * (box.y1 - box.y0) for box in (one, other)]
    return both / (sum(areas) - both)


def plan_crops(
    video: Path, boxes: VideoBoxes, options: CropOptions, *, individuals: int | None = None
) -> list[CropPlan]:
    """The crops of a video, best first; one that shows whole pictures if it has no boxes.

    Args:
        video: The source. Its header and packets are read, and its sha256 is taken; nothing is decoded.
        boxes: Boxes of animals.
        options: How it is cropped.
        individuals: Most individuals, the best; None for all that the boxes name, or else the best one.

    Raises:
        VideoError: If the file is not a video, or is a crop itself.
    """
    if is_crop(video):
        raise VideoError(f"{video} is a crop already; give the videos that the boxes are of.")
    video = Path(video).absolute()
    info = probe(video)
    rate = min(_HIGHEST_RATE, info.average_rate or _USUAL_RATE)
    seconds = frame_seconds(video)
    if seconds is None:
        expected = info.num_frames_from_header or round((info.duration_seconds or 0) * rate)
        seconds = np.arange(expected) / rate
    at = seconds if boxes.in_seconds else np.arange(len(seconds), dtype=np.float64)
    gap = options.max_gap_seconds * (1 if boxes.in_seconds else rate)
    sequences = link_boxes(boxes.of(video), max_gap=gap, min_overlap=options.min_overlap)
    if individuals is None:
        sequences = [own for own in sequences if own.is_named] or sequences[:1]
    sha256 = sha256_of_file(video)
    plans = []
    chosen: list[BoxSequence | None] = [*sequences[:individuals]]
    for sequence in chosen or [None]:
        crop = CropFile(
            source=video,
            source_sha256=sha256,
            individual=sequence.individual if sequence else "",
            options=options,
            width_px=info.width_px,
            height_px=info.height_px,
            in_seconds=boxes.in_seconds,
            rate=rate,
            pieces=tuple(_piece(track, boxes, info, rate, options) for track in sequence.tracks)
            if sequence
            else (),
        )
        own = sequence.boxes if sequence else []
        plans.append(
            CropPlan(
                crop,
                num_frames=len(at),
                num_without_box=len(at) - _num_boxed(own, at, 0.5 / rate if boxes.in_seconds else 0.5),
                num_whole=int(crop.is_whole(at).sum()),
                mean_score=sum(box.score for box in own) / len(own) if own else None,
            )
        )
    return plans


def _num_boxed(boxes: Sequence[Box], at: DoubleArray, reach: float) -> int:
    """Number of the frames at some times (or indices) that have a box of their own."""
    times = np.array([box.at for box in boxes])
    first, end = np.searchsorted(times, at - reach), np.searchsorted(times, at + reach, side="right")
    return int((end > first).sum())


def _piece(
    track: Sequence[Box], boxes: VideoBoxes, info: VideoInfo, rate: float, options: CropOptions
) -> CropPiece:
    """The way of a crop around a track: its size is constant, its position is smooth."""
    # Pixels are those that the file stores, turned as it says: detectors do not stretch them.
    stored = info.stored_size_px if info.rotation_degrees % 180 == 0 else info.stored_size_px[::-1]
    shares = (1.0, 1.0) if not boxes.in_pixels else (1 / stored[0], 1 / stored[1])
    scale_x, scale_y = shares[0] * info.width_px, shares[1] * info.height_px
    times = np.array([box.at for box in track])
    columns = np.array([(box.x0 + box.x1) / 2 * scale_x for box in track]).clip(0, info.width_px)
    rows = np.array([(box.y0 + box.y1) / 2 * scale_y for box in track]).clip(0, info.height_px)
    longest = max(info.width_px, info.height_px)
    sizes = np.array([max((box.x1 - box.x0) * scale_x, (box.y1 - box.y0) * scale_y) for box in track]).clip(
        0, longest
    )
    # Positions on an even grid of frames, so that the mean is one over time.
    step = 1 / rate if boxes.in_seconds else 1.0
    grid = np.arange(times[0], times[-1] + step / 2, step)
    reach = max(1, round(options.smooth_seconds * rate))
    smooth = [
        uniform_filter1d(np.interp(grid, times, values), reach, mode="nearest") for values in (columns, rows)
    ]
    # A smooth way needs few points.
    num_points = max(2, int(np.ceil(len(grid) / max(1, reach // _POINTS)))) if len(grid) > 1 else 1
    points = np.linspace(grid[0], grid[-1], num_points)
    side = 2 * round(
        min(
            max(float(np.percentile(sizes, _LARGE)) * (1 + 2 * options.margin), _LEAST_PX),
            info.height_px,
            info.width_px,
        )
        / 2
    )
    shortest = min(info.height_px, info.width_px)
    return CropPiece(
        first=round(float(points[0]), 6),
        step=float(points[1] - points[0]) if num_points > 1 else 1.0,
        columns=np.interp(points, grid, smooth[0]).round(1),
        rows=np.interp(points, grid, smooth[1]).round(1),
        sizes=np.interp(points, times, sizes).round(1),
        side_px=max(1, min(side, shortest - shortest % 2)),
    )


def write_crop(crop: CropFile, out: Path) -> tuple[int, str]:
    """Write a crop as a video, for people to look at.

    Args:
        crop: What to write.
        out: File to write.

    Returns:
        The number of frames, and which part of the source is missing, in words; empty if none is.

    Raises:
        VideoError: If no frame of the source decodes.
    """
    num_frames = 0
    reader = iter_video(crop.source, stride=1, chunk_frames=8, crop=crop)

    def pictures() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        nonlocal num_frames
        last = -1
        for chunk in reader:
            height, width = chunk.pixels.shape[1:3]
            for n, picture in enumerate(chunk.pixels):
                index = int(chunk.frame_index[n])
                seconds = index / crop.rate if chunk.seconds is None else float(chunk.seconds[n])
                last = max(last + 1, round(seconds * crop.rate))
                num_frames += 1
                yield last, picture[: height - height % 2, : width - width % 2]

    stream = pictures()
    first = next(stream, None)
    if first is None:
        raise VideoError(f"{crop.source}: {reader.report.reason or 'no frame decodes'}.")
    write_numbered(out, chain([first], stream), fps=crop.rate)
    if reader.report.status == "failed":
        out.unlink(missing_ok=True)
        raise VideoError(f"{crop.source}: {reader.report.reason}.")
    return num_frames, reader.report.reason if reader.report.status == "partial" else ""
