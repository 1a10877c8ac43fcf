"""Strips of video frames for galleries, plain or with heatmaps."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import Normalize
from numpy.typing import NDArray
from PIL import Image

from actiondiff.errors import UsageError
from actiondiff.report.items import Picture

__all__ = ["frame_strip", "heat_strip", "scaled"]


def frame_strip(
    frames: NDArray[np.uint8],
    caption: str,
    *,
    num_frames: int = 4,
    height_px: int = 96,
    alt: str = "",
) -> Picture:
    """Make a strip of evenly spaced frames of a clip.

    Args:
        frames: (T, H, W, 3) uint8, RGB.
        caption: Text below the strip.
        num_frames: Maximum number of frames.
        height_px: Height to which the frames are scaled.
        alt: Description for readers who cannot see the strip; if empty, the number of frames and the caption.

    Raises:
        UsageError: If there is no frame, or the frames have another shape or dtype.
    """
    chosen = _spread(frames, num_frames)
    strip = _beside([scaled(frames[i], height_px) for i in chosen])
    return Picture(strip, caption, alt or f"{len(chosen)} frames of a clip: {caption}")


def heat_strip(
    frames: NDArray[np.uint8],
    heat: NDArray[np.floating],
    caption: str,
    *,
    limits: tuple[float, float] = (0.0, 1.0),
    num_frames: int = 4,
    height_px: int = 96,
) -> Picture:
    """Make a strip of frames, and below it the same frames under heatmaps, bright where values are high.

    Args:
        frames: (T, H, W, 3) uint8, RGB.
        heat: (T, gh, gw), a value for each cell of a grid over each frame.
        caption: Text below the strip.
        limits: Values at the ends of the colour scale.
        num_frames: Maximum number of frames.
        height_px: Height of each of the two rows.

    Raises:
        UsageError: If there is no frame, or heat and frames do not fit.
    """
    if heat.ndim != 3 or len(heat) != len(frames):
        raise UsageError(
            f"{len(frames)} frames need heatmaps of shape ({len(frames)}, gh, gw); got {heat.shape}."
        )
    above, below = [], []
    for i in _spread(frames, num_frames):
        frame = scaled(frames[i], height_px)
        intensity = Normalize(*limits, clip=True)(heat[i].astype(np.float64))
        size = frame.shape[1], height_px
        weight = np.asarray(
            Image.fromarray(np.asarray(intensity, dtype=np.float32)).resize(size, Image.Resampling.BILINEAR)
        )
        colour = 255 * matplotlib.colormaps["inferno"](weight.clip(0, 1))[..., :3]
        share = 0.35 + 0.4 * weight[..., None].clip(0, 1)
        above.append(frame)
        below.append(((1 - share) * frame + share * colour).round().astype(np.uint8))
    gap = np.full((2, _beside(above).shape[1], 3), 255, np.uint8)
    alt = f"{len(above)} frames of a clip, and the same under a heatmap: {caption}"
    return Picture(np.concatenate([_beside(above), gap, _beside(below)]), caption, alt)


def _spread(frames: NDArray[np.uint8], num_frames: int) -> list[int]:
    """Positions of evenly spaced frames: the middle of each of `num_frames` equal parts."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise UsageError(
            f"frames must be (T, H, W, 3) uint8, at least one; got {frames.shape} {frames.dtype}."
        )
    count = min(num_frames, len(frames))
    return [(2 * i + 1) * len(frames) // (2 * count) for i in range(count)]


def _beside(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((images[0].shape[0], 2, 3), 255, np.uint8)
    return np.concatenate([part for image in images for part in (image, gap)][:-1], axis=1)


def scaled(frame: NDArray[np.uint8], height_px: int) -> NDArray[np.uint8]:
    """Scale a frame (H, W, 3) to another height, keeping its aspect ratio."""
    size = (max(1, round(height_px * frame.shape[1] / frame.shape[0])), height_px)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
