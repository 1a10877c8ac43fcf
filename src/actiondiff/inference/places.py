"""Features of a grid of places in a video: from cells of a layer's map, or from patches of the picture."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.engine.run import extract_in_order
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.backbones.options import FitOptions
from actiondiff.errors import UsageError, VideoError
from actiondiff.types import Array, DecodeReport, FeatureKey, Features, Frames, Progress, Sampling
from actiondiff.video.opening import ProgressReader, Video, part_of_progress, picture_size, read_chunks

__all__ = ["PlaceTokens", "cell_tokens", "patch_pixels", "patch_tokens"]

Shares = NDArray[np.float64]
"""Positions along one side of the picture, as shares of its length in [0, 1]."""


@dataclass(frozen=True, eq=False)
class PlaceTokens:
    """Tokens of a grid of places, over time.

    Attributes:
        video: The video's path as given, or its identity for frames in memory.
        tokens: (T, gh, gw, D) float32.
        seconds: (T,) float64, presentation time of each sampled frame; None if unknown.
        frame_index: (T,) int64, number of each sampled frame among the video's raw frames.
        rows: (gh,) vertical positions of the places, as shares of the picture's height, top to bottom.
        columns: (gw,) horizontal positions of the places, as shares of its width, left to right.
        padding_share: Share of the backbone's window slots that held padding.
        report: How decoding went; None for frames in memory.
        widths: Width of each feature in `tokens`.
    """

    video: str
    tokens: Array
    seconds: NDArray[np.float64] | None
    frame_index: NDArray[np.int64]
    rows: Shares
    columns: Shares
    padding_share: float
    report: DecodeReport | None
    widths: tuple[int, ...] = ()


def cell_tokens(
    backbone: Backbone,
    keys: Sequence[FeatureKey],
    video: Video,
    sampling: Sampling,
    grid: tuple[int, int],
    *,
    progress: Progress | None = None,
) -> PlaceTokens:
    """Sample maps of layers bilinearly at a grid whose outermost places are the corners of the maps.

    The video is processed one batch of windows at a time, so that the maps of a whole video are never in
    memory. With `padding: shift`, where the last window is moved back until it is full, the features of that
    window can differ from those of the whole picture.

    Args:
        backbone: The frozen network.
        keys: Features that make up one token, side by side.
        video: A file or frames in memory.
        sampling: Which frames of a file are read.
        grid: Rows and columns of the grid, at least 2 each.
        progress: Called as the video is read.

    Raises:
        VideoError: If no frame decodes.
        UsageError: If a feature is one vector per picture.
    """
    # Each chunk of frames fills one batch, and its maps are sampled at once.
    size = int(backbone.options.window or 1) * int(backbone.options.batch or 1)
    reading = read_chunks(video, sampling, chunk_frames=size, progress=progress)
    parts: list[Features] = []
    sampled: list[Array] = []
    shape = (1, 1)
    chunks = (FrameSequence([chunk], chunk.report) for chunk in reading)
    for _, features in extract_in_order(backbone, chunks, keys, maps=True):
        assert features is not None  # each chunk has frames
        shape = features.maps[keys[0]].shape[-2:]
        sampled.append(np.concatenate([_sample(features.maps[key], grid) for key in keys], axis=-1))
        parts.append(replace(features, maps={}))
    if not parts or (reading.report and reading.report.status == "failed"):
        raise _no_frames(reading)
    # The parts are joined over time; times are known only if every chunk has them.
    times = [part.seconds for part in parts if part.seconds is not None]
    top, left = _cropped_shares(backbone, video, sampling)
    return PlaceTokens(
        video=reading.name,
        tokens=np.concatenate(sampled),
        seconds=np.concatenate(times) if len(times) == len(parts) else None,
        frame_index=np.concatenate([part.frame_index for part in parts]),
        rows=top + (1 - 2 * top) * _spread(grid[0], shape[0]),
        columns=left + (1 - 2 * left) * _spread(grid[1], shape[1]),
        padding_share=_padding(parts),
        report=reading.report,
    )


def patch_tokens(
    backbone: Backbone,
    keys: Sequence[FeatureKey],
    video: Video,
    sampling: Sampling,
    grid: tuple[int, int],
    *,
    overlap: float = 0.0,
    progress: Progress | None = None,
) -> PlaceTokens:
    """Cut a video into patches and process each patch as a video of its own.

    The file is read once per patch, so that it need not be kept in memory.

    Args:
        backbone: See `cell_tokens`.
        keys: See `cell_tokens`.
        video: See `cell_tokens`.
        sampling: See `cell_tokens`.
        grid: Rows and columns of patches.
        overlap: Share of a patch that overlaps with the next patch.
        progress: Called as the video is read.

    Raises:
        VideoError: If no frame decodes.
    """
    # One reader per patch; each accounts for an equal part of the progress.
    places = list(np.ndindex(*grid))
    readings = [
        read_chunks(
            video,
            sampling,
            progress=part_of_progress(progress, number / len(places), (number + 1) / len(places)),
        )
        for number in range(len(places))
    ]
    patches = [
        FrameSequence(_cut(chunks, place, grid, overlap))
        for chunks, place in zip(readings, places, strict=True)
    ]
    # The backbone sees the patches as videos; a missing part means that no frame of the file decodes.
    parts = [part for _, part in extract_in_order(backbone, patches, keys) if part is not None]
    if len(parts) < len(places) or (readings[0].report and readings[0].report.status == "failed"):
        raise _no_frames(readings[0])
    tokens = np.stack([np.concatenate([part.tokens[key] for key in keys], axis=1) for part in parts], axis=1)
    height, width = picture_size(video, stream=sampling.stream, square=sampling.square)
    return PlaceTokens(
        video=readings[0].name,
        tokens=tokens.reshape(len(tokens), *grid, -1),
        seconds=parts[0].seconds,
        frame_index=parts[0].frame_index,
        rows=_middles(grid[0], overlap, height),
        columns=_middles(grid[1], overlap, width),
        padding_share=_padding(parts),
        report=readings[0].report,
        widths=tuple(parts[0].tokens[key].shape[1] for key in keys),
    )


def patch_pixels(number: int, count: int, overlap: float, length: int) -> slice:
    """Pixels along one side that one of `count` patches covers.

    >>> [patch_pixels(i, 3, 0.5, 100) for i in range(3)]
    [slice(0, 50, None), slice(25, 75, None), slice(50, 100, None)]
    """
    size = length / (count - (count - 1) * overlap)
    start = number * size * (1 - overlap)
    return slice(round(start), max(round(start) + 1, round(start + size)))


def _sample(maps: Array, grid: tuple[int, int]) -> Array:
    """Sample maps at a grid: (T, C, h, w) -> (T, gh, gw, C)."""
    if maps.shape[-2:] == (1, 1):
        raise UsageError(
            "the model's feature is one vector per picture, whose map is 1 x 1 and has no places. Use method "
            "crops, or a model that was trained on a layer with places."
        )
    cells = F.interpolate(torch.from_numpy(maps), grid, mode="bilinear", align_corners=True)
    return cells.permute(0, 2, 3, 1).numpy()


def _spread(count: int, size: int) -> Shares:
    """(count,) even positions along a side, from the centre of the first of `size` pixels to the last's."""
    return (0.5 + np.arange(count) * (size - 1) / (count - 1)) / size


def _cropped_shares(backbone: Backbone, video: Video, sampling: Sampling) -> tuple[float, float]:
    """Shares of height and of width that the backbone crops on each side of a picture."""
    options = backbone.options
    if not isinstance(options, FitOptions) or options.fit != "crop":
        return 0.0, 0.0
    height, width = picture_size(video, stream=sampling.stream, square=sampling.square)
    seen_height, seen_width = int(options.height or height), int(options.width or width)
    scale = max(seen_height / height, seen_width / width)
    return (1 - seen_height / (height * scale)) / 2, (1 - seen_width / (width * scale)) / 2


def _cut(
    chunks: Iterable[Frames], place: tuple[int, ...], grid: tuple[int, int], overlap: float
) -> Iterator[Frames]:
    """Cut one patch out of every frame. Its own identity gives each patch random draws of its own."""
    for chunk in chunks:
        down, across = (
            patch_pixels(number, count, overlap, length)
            for number, count, length in zip(place, grid, chunk.pixels.shape[1:3], strict=True)
        )
        identity = f"{chunk.identity}/{place} of {grid}"
        pixels = chunk.pixels[:, down, across]
        yield Frames(pixels, chunk.seconds, chunk.frame_index, identity, crop_places=chunk.crop_places)


def _middles(count: int, overlap: float, length: int) -> Shares:
    """(count,) centres of the patches along a side, as shares of its length."""
    spans = [patch_pixels(number, count, overlap, length) for number in range(count)]
    return np.array([(span.start + span.stop) / 2 / length for span in spans])


def _padding(parts: Sequence[Features]) -> float:
    """Share of padding in the window slots of all parts together."""
    slots = sum(part.num_windows * part.window_length for part in parts)
    return sum(part.num_padded for part in parts) / max(1, slots)


def _no_frames(reading: ProgressReader) -> VideoError:
    return VideoError(f"{reading.name}: {reading.report.reason if reading.report else 'no frame'}.")
