"""Where a student's word reaches: which pictures it learnt from, and up to which distance it is near."""

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from actiondiff.backbones.strangeness import NUM_STATISTICS, PictureSpace, picture_statistics
from actiondiff.distillation.lessons import Lessons
from actiondiff.inference.token_space import fit_token_space
from actiondiff.types import Array, DoubleArray, Features

__all__ = ["NEAR", "Reach", "fit_pictures", "measure_reach", "near_bound", "scale_bound", "unexplained_share"]

NEAR = 0.2
"""Unexplained share up to which a video's tokens are near the teacher's: a correlation of about 0.9."""
_SHARE_NEAR = 0.9  # of held-out videos up to the bound that are near
_LEAST_DEVIATION = 0.002  # of a statistic, in [-1, 1]; a quarter of a step of a byte
_RIDGE = 1e-3  # added to standardised variances, so that no direction counts without bound
_BEFORE = 0.999  # of the distance of the first held-out video, where none is near
_CHUNK = 64  # windows


class Reach(BaseModel):
    """What a student's distance of pictures says about held-out videos.

    Attributes:
        num_videos: Number of held-out videos.
        near: Share of them whose tokens are near the teacher's.
        outside: Share of them that lie outside.
        near_inside: Share of those inside that are near; None if all lie outside.
    """

    model_config = ConfigDict(frozen=True)

    num_videos: int
    near: float
    outside: float
    near_inside: float | None


def fit_pictures(lessons: Lessons, recordings: Sequence[str], *, tubelet: int) -> PictureSpace | None:
    """Fit the distribution of pictures that a student learns from; 1 is the bound of the domain guard.

    Args:
        lessons: Windows that it learns from.
        recordings: For each window the recording that it is from.
        tubelet: Number of frames that one token covers.

    Returns:
        The distribution; None if there are too few windows or recordings to tell.
    """
    parts = []
    for start in range(0, len(recordings), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(recordings)))
        pixels, _, real = lessons.batch(rows)
        parts.append(picture_statistics(pixels, (real.sum(1) - 1) * tubelet + 1).double().numpy())
    statistics = np.concatenate(parts)
    mean, scale = statistics.mean(0), np.maximum(statistics.std(0), _LEAST_DEVIATION)
    space = fit_token_space((statistics - mean) / scale, recordings)
    if space is None:
        return None
    axes = space.axes
    beside = np.eye(NUM_STATISTICS) - axes.T @ axes
    precision = (axes.T / (space.variances + _RIDGE)) @ axes + beside / (space.rest + _RIDGE)
    pictures = PictureSpace()
    pictures.fill(mean + scale * space.centre, precision / np.outer(scale, scale) / space.bound**2)
    return pictures


def unexplained_share(student: Array, teacher: Array, deviation: DoubleArray) -> float:
    """Squared distance of a video's tokens, (T, D) each, as a share of the variance of the teacher's."""
    return float(np.mean(((student.astype(np.float64) - teacher) / deviation) ** 2))


def near_bound(distances: Sequence[float], shares: Sequence[float]) -> float:
    """The distance up to which a student is near its teacher, at most 1.

    Nine of ten of the held-out videos up to it are near; where that is so for none, it lies just before the
    first of them.

    Args:
        distances: Distance of each held-out video.
        shares: Unexplained share of each.
    """
    order = np.argsort(distances, kind="stable")
    ordered, near = np.asarray(distances)[order], np.asarray(shares)[order] <= NEAR
    shares_near = near.cumsum() / np.arange(1, len(near) + 1)
    count = max(np.flatnonzero(shares_near >= _SHARE_NEAR) + 1, default=0)  # of videos up to the bound
    if count == 0:
        return min(1.0, _BEFORE * float(ordered[0]))
    return 1.0 if count == len(ordered) else min(1.0, float(ordered[count - 1 : count + 1].mean()))


def measure_reach(pairs: Sequence[tuple[Features, float]]) -> Reach | None:
    """What the distance says about held-out videos.

    Args:
        pairs: For each its features by the student, and its unexplained share.

    Returns:
        None if the student has no distribution of pictures.
    """
    looks = [features.appearance for features, _ in pairs]
    values = [look.strangeness for look in looks if look is not None and look.strangeness is not None]
    if not values or len(values) < len(pairs):
        return None
    near = np.array([share <= NEAR for _, share in pairs])
    inside = np.array(values) <= 1
    return Reach(
        num_videos=len(pairs),
        near=float(near.mean()),
        outside=float(1 - inside.mean()),
        near_inside=float(near[inside].mean()) if inside.any() else None,
    )


def scale_bound(pictures: PictureSpace, bound: float) -> None:
    """Make another distance the bound."""
    with torch.no_grad():
        pictures.whitening /= max(bound, 1e-6)
