"""Scores of heatmaps where it is known in which box something happens, and maps that know nothing of it.

pointing game   share of the frames whose highest pixel lies in the box (of equals: the share that does)
energy inside   share of a map that lies in the box, after its lowest value over the video was taken off, so
                that a level which is the same everywhere counts for nothing; mean over frames

A map that is the same everywhere, which is chance, scores the box's share of the frame in both.
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
    """Both scores of one video.

    Args:
        maps: (T, H, W), higher where the action is.
        boxes: (T, 4) x0, y0, x1, y1 in pixels; pixel i covers [i, i + 1).

    Returns:
        `pointing_game`, `energy_inside`, and `box_share` of the picture, which is what chance scores.

    Raises:
        UsageError: If the two differ in length, or there is no frame.
    """
    if maps.ndim != 3 or boxes.shape != (len(maps), 4) or not len(maps):
        raise UsageError(
            f"maps (T, H, W) need as many boxes (T, 4), one at least; got {maps.shape} and {boxes.shape}."
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
    """(T, height, width), which pixels' centres lie in the box of each frame."""
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    x0, y0, x1, y1 = (boxes[:, k, None] for k in range(4))
    return ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None, :]


def centre_prior(count: int, height: int, width: int, *, spread: float = 0.25) -> Array:
    """(count, height, width), the same for all: highest in the middle.

    Args:
        count: T.
        height: H.
        width: W.
        spread: Standard deviation of the bell, as a share of each side.
    """
    down, across = (
        np.exp(-(((np.arange(n) + 0.5) / n - 0.5) ** 2) / (2 * spread**2)) for n in (height, width)
    )
    return np.broadcast_to(np.outer(down, across), (count, height, width)).astype(np.float32)


def change_energy(pixels: NDArray[np.uint8], *, blur: float = 0.03) -> Array:
    """(T, H, W) squared change from frame to frame, blurred: what a motion detector sees.

    Args:
        pixels: (T, H, W, 3) uint8; the first frame gets the change to the second.
        blur: Standard deviation as a share of the height.
    """
    grey = pixels.mean(axis=-1, dtype=np.float32)
    change = np.square(np.diff(grey, axis=0))
    change = change if len(change) else np.zeros_like(grey)
    change = np.concatenate([change[:1], change])[: len(grey)]
    sigma = blur * grey.shape[1]
    blurred: Array = gaussian_filter(change, (0, sigma, sigma)).astype(np.float32)
    return blurred
