"""Features of places in a video: of cells of a layer's map, or of patches that are videos of their own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.engine.run import run
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.backbones.options import FitOptions
from actiondiff.errors import UsageError, VideoError
from actiondiff.types import (
    Array,
    DecodeReport,
    FeatureKey,
    Features,
    Frames,
    Progress,
    Sampling,
    part_of_progress,
)
from actiondiff.video.opening import Reading, Video, picture_size, read_chunks

__all__ = ["PlaceTokens", "cell_tokens", "patch_pixels", "patch_tokens"]

Shares = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlaceTokens:
    """Tokens of a grid of places, over time.

    Attributes:
        video: The video's path as given, or its identity for frames in memory.
        tokens: (T, gh, gw, D) float32.
        seconds: (T,) float64, or None.
        frame_index: (T,) int64.
        rows: (gh,) where the places lie, as shares of the picture's height, top to bottom.
        columns: (gw,) the same for its width, left to right.
        padding_share: Share of the backbone's window slots that held padding.
        report: How decoding went; None for frames in memory.
    """

    video: str
    tokens: Array
    seconds: NDArray[np.float64] | None
    frame_index: NDArray[np.int64]
    rows: Shares
    columns: Shares
    padding_share: float
    report: DecodeReport | None


def cell_tokens(
    backbone: Backbone,
    keys: Sequence[FeatureKey],
    video: Video,
    sampling: Sampling,
    grid: tuple[int, int],
    *,
    progress: Progress | None = None,
) -> PlaceTokens:
    """Sample layers' maps at a grid whose outermost places are the maps' corners (bilinear).

    A batch of windows at a time, so that no whole video's maps are held. Only where windows are shifted to be
    full (`padding: shift`) does the last one differ from that of the whole picture's features.

    Args:
        backbone: The frozen network.
        keys: Features; several stand side by side in a token.
        video: A file or frames.
        sampling: Which frames of a file are read.
        grid: Rows and columns, 2 at least.
        progress: Called as the video is read.

    Raises:
        VideoError: If no frame decodes.
        UsageError: If a feature is one vector a picture.
    """
    size = int(backbone.options.window or 1) * int(backbone.options.batch or 1)
    reading = read_chunks(video, sampling, chunk_frames=size, progress=progress)
    parts: list[Features] = []
    sampled: list[Array] = []
    shape = (1, 1)
    chunks = (FrameSequence([chunk], chunk.report) for chunk in reading)
    for _, features in run(backbone, chunks, keys, maps=True):
        assert features is not None  # each chunk has frames
        shape = features.maps[keys[0]].shape[-2:]
        sampled.append(np.concatenate([_sample(features.maps[key], grid) for key in keys], axis=-1))
        parts.append(replace(features, maps={}))
    if not parts:
        raise _nothing(reading)
    times = [part.seconds for part in parts if part.seconds is not None]
    top, left = _unseen(backbone, video)
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
    """Cut a video into patches and take each for a video of its own.

    The file is read once for each patch, so that it need not be held.

    Args:
        backbone: See `cell_tokens`.
        keys: See `cell_tokens`.
        video: See `cell_tokens`.
        sampling: See `cell_tokens`.
        grid: Rows and columns of patches.
        overlap: Share of a patch that the next one has, too.
        progress: Called as the video is read.

    Raises:
        VideoError: If no frame decodes.
    """
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
    parts = [part for _, part in run(backbone, patches, keys) if part is not None]
    if len(parts) < len(places):
        raise _nothing(readings[0])
    tokens = np.stack([np.concatenate([part.tokens[key] for key in keys], axis=1) for part in parts], axis=1)
    height, width = picture_size(video)
    return PlaceTokens(
        video=readings[0].name,
        tokens=tokens.reshape(len(tokens), *grid, -1),
        seconds=parts[0].seconds,
        frame_index=parts[0].frame_index,
        rows=_middles(grid[0], overlap, height),
        columns=_middles(grid[1], overlap, width),
        padding_share=_padding(parts),
        report=readings[0].report,
    )


def patch_pixels(number: int, count: int, overlap: float, length: int) -> slice:
    """Pixels of one of the patches that cover a side of some pixels together.

    >>> [patch_pixels(i, 3, 0.5, 100) for i in range(3)]
    [slice(0, 50, None), slice(25, 75, None), slice(50, 100, None)]
    """
    size = length / (count - (count - 1) * overlap)
    start = number * size * (1 - overlap)
    return slice(round(start), max(round(start) + 1, round(start + size)))


def _sample(maps: Array, grid: tuple[int, int]) -> Array:
    """(T, C, h, w) -> (T, gh, gw, C)."""
    if maps.shape[-2:] == (1, 1):
        raise UsageError(
            "the model's feature is one vector a picture, without places: its maps are 1 x 1. Use method "
            "crops, or a model that was trained on a layer with places."
        )
    cells = F.interpolate(torch.from_numpy(maps), grid, mode="bilinear", align_corners=True)
    return cells.permute(0, 2, 3, 1).numpy()


def _spread(count: int, size: int) -> Shares:
    """(count,) shares of a side of `size` pixels, from its first pixel's centre to its last's."""
    return (0.5 + np.arange(count) * (size - 1) / (count - 1)) / size


def _unseen(backbone: Backbone, video: Video) -> tuple[float, float]:
    """Shares of height and width that the backbone cuts off on each side."""
    options = backbone.options
    if not isinstance(options, FitOptions) or options.fit != "crop":
        return 0.0, 0.0
    height, width = picture_size(video)
    kept_height, kept_width = int(options.height or height), int(options.width or width)
    scale = max(kept_height / height, kept_width / width)
    return (1 - kept_height / (height * scale)) / 2, (1 - kept_width / (width * scale)) / 2


def _cut(
    chunks: Iterable[Frames], place: tuple[int, ...], grid: tuple[int, int], overlap: float
) -> Iterator[Frames]:
    """One patch of every frame; what is random in the backbone differs from patch to patch."""
    for chunk in chunks:
        down, across = (
            patch_pixels(number, count, overlap, length)
            for number, count, length in zip(place, grid, chunk.pixels.shape[1:3], strict=True)
        )
        identity = f"{chunk.identity}/{place} of {grid}"
        yield Frames(chunk.pixels[:, down, across], chunk.seconds, chunk.frame_index, identity)


def _middles(count: int, overlap: float, length: int) -> Shares:
    spans = [patch_pixels(number, count, overlap, length) for number in range(count)]
    return np.array([(span.start + span.stop) / 2 / length for span in spans])


def _padding(parts: Sequence[Features]) -> float:
    slots = sum(part.num_windows * part.window_length for part in parts)
    return sum(part.num_padded for part in parts) / max(1, slots)


def _nothing(reading: Reading) -> VideoError:
    return VideoError(f"{reading.name}: {reading.report.reason if reading.report else 'no frame'}.")
