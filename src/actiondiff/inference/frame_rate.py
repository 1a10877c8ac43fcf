"""The time between the frames that a model is asked about, compared with what it has learnt from."""

import numpy as np

from actiondiff.errors import warn_once
from actiondiff.heads.bundle import ModelConfig
from actiondiff.types import Features

__all__ = ["frame_seconds", "warn_of_rate"]

_TIMES = 2.0  # a model is warned of from so many times its own interval, or as small a part of it


def frame_seconds(features: Features) -> float | None:
    """Median time from one sampled frame to the next; None for a single frame, or where times are unknown."""
    if features.seconds is None:
        return None
    steps = np.diff(features.seconds)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else None


def warn_of_rate(config: ModelConfig, features: Features, video: str) -> bool:
    """Warn where a video's frames are twice as far apart as those of the training videos, or half as far.

    Args:
        config: The model's config; models of earlier versions do not know their interval.
        features: Features of the video.
        video: Name of the video.

    Returns:
        Whether there was a warning.
    """
    learnt, here = config.frame_seconds, frame_seconds(features)
    if learnt is None or here is None or 1 / _TIMES < here / learnt < _TIMES:
        return False
    warn_once(
        f"{video}: {1 / here:.3g} frames a second were read; the model has learnt from {1 / learnt:.3g}, "
        "so movements look faster or slower than those that it knows. Its answers for it may be wrong."
    )
    return True
