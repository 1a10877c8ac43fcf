"""Scores of heatmaps against boxes in which the action happens, and simple maps to compare them with.

pointing game   share of the frames whose highest pixel lies in the box; where several pixels are the highest,
                the share of these that do
energy inside   share of a map's sum that lies in the box, averaged over frames; the lowest value of the video
is
                subtracted first, so that a constant level does not count

A constant map, which is chance level, scores the box's share of the frame in both.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from actiondiff.errors import UsageError
from actiondiff.types import Array

__all__ = ["box_masks", "centre_prior", "change_energy", "score_places"]

Boxes = NDArray[np.floating]


def score_places(maps: Array, boxes: Boxes) -> Mapping[str, float]:
    """Score the maps of one video.

    Args:
        maps: (T, H, W), higher where the action is more probable.
        boxes: (T, 4), x0, y0, x1, y1 in pixels; pixel i covers [i, i + 1).

    Returns:
        `pointing_game`, `energy_inside`, and `box_share`, the box's share of the frame, which is chance
        level.

    Raises:
        UsageError: If maps and boxes differ in length, or there is no frame.
    """
    if maps.ndim != 3 or boxes.shape != (len(maps), 4) or not len(maps):
        raise UsageError(
            f"maps (T, H, W) need boxes (T, 4) of the same length, at least one; got {maps.shape} and "
            f"{boxes.shape}."
        )
    inside = box_masks(boxes, *maps.shape[1:])
    flat, boxed = maps.reshape(len(maps), -1), inside.reshape(len(maps), -1)
    highest = flat == flat.max(axis=1, keepdims=True)
    hits = (highest & boxed).sum(1) / highest.sum(1)
    energy = maps.astype(np.float64) - float(maps.min())
    total = energy.sum((1, 2))
    share = inside.mean((1, 2))
    held = np.divide((energy * inside).sum((1, 2)), total, out=share.copy(), where=total > 0)
    return {
        "pointing_game": float(hits.mean()),
        "energy_inside": float(held.mean()),
        "box_share": float(share.mean()),
    }


def box_masks(boxes: Boxes, height: int, width: int) -> NDArray[np.bool_]:
    """(T, height, width) bool, whether the centre of a pixel lies in the box of its frame."""
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    x0, y0, x1, y1 = (boxes[:, k, None] for k in range(4))
    return ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None, :]


def centre_prior(count: int, height: int, width: int, *, spread: float = 0.25) -> Array:
    """(count, height, width) float32, a Gaussian in the middle of every frame.

    Args:
        count: Number of frames.
        height: Height of the maps.
        width: Width of the maps.
        spread: Standard deviation of the Gaussian, as a share of each side.
    """
    down, across = (
        np.exp(-(((np.arange(n) + 0.5) / n - 0.5) ** 2) / (2 * spread**2)) for n in (height, width)
    )
    return np.broadcast_to(np.outer(down, across), (count, height, width)).astype(np.float32)


def change_energy(pixels: NDArray[np.uint8], *, blur: float = 0.03) -> Array:
    """(T, H, W) float32, the blurred squared change from frame to frame, as a motion detector sees it.

    Args:
        pixels: (T, H, W, 3) uint8; the map of the first frame is that of the second.
        blur: Standard deviation of the blur, as a share of the height.
    """
    grey = pixels.mean(axis=-1, dtype=np.float32)
    change = np.square(np.diff(grey, axis=0))
    change = change if len(change) else np.zeros_like(grey)
    change = np.concatenate([change[:1], change])[: len(grey)]
    sigma = blur * grey.shape[1]
    blurred: Array = gaussian_filter(change, (0, sigma, sigma)).astype(np.float32)
    return blurred
