"""The time between the frames that a model is asked about, compared with what it has learnt from.

Times are those of tokens, of which each covers one frame or several; see `frames_per_token`.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from actiondiff.errors import VideoError, warn_once
from actiondiff.heads.bundle import ModelConfig
from actiondiff.types import Features, Frames, Sampling
from actiondiff.video.crop_file import is_crop, read_crop
from actiondiff.video.opening import Video, check_crop
from actiondiff.video.survey import survey

__all__ = ["chosen_sampling", "frame_seconds", "frames_per_token", "warn_of_rate"]

_TIMES = 2.0  # a model is warned of from so many times its own interval, or as small a part of it
_SAME = 1.1  # intervals that differ by less are the same


def frame_seconds(features: Features) -> float | None:
    """Median time from one token to the next; None for a single token, or where times are unknown."""
    if features.seconds is None:
        return None
    steps = np.diff(features.seconds)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else None


def frames_per_token(videos: Sequence[Features], sampling: Sampling) -> int:
    """Number of sampled frames from one token to the next; 1 where frames were sampled by time.

    Args:
        videos: Features whose frames are numbered as in their files.
        sampling: How the files were read.
    """
    steps = [int(np.median(np.diff(video.frame_index))) for video in videos if len(video) > 1]
    if sampling.stride is None or not steps:
        return 1
    return max(1, round(float(np.median(steps)) / sampling.stride))


def chosen_sampling(config: ModelConfig, video: Video) -> Sampling:
    """How a model reads a video: as the training videos were, unless that gives other times between frames.

    A stride of 4 frames is 0.16 s at 25 frames a second, and 0.08 s at 50. If a model has learnt from frames
    that are 0.16 s apart, the latter video is sampled by time: every 0.16 s.

    Args:
        config: The model's config; models of earlier versions do not know their interval.
        video: The video. Frames in memory, and files whose times are unknown, are read as they are.

    Raises:
        VideoError: If the model has learnt from crops and the video is none, or the other way round.
    """
    sampling = config.sampling
    check_crop(video, sampling)
    if sampling.stride is None or config.frame_seconds is None or isinstance(video, Frames):
        return sampling
    low, high = config.frame_seconds_range or (config.frame_seconds, config.frame_seconds)
    interval = config.frames_per_token * sampling.stride * _raw_step(video, sampling.stream)
    if not interval or low / _SAME <= interval <= high * _SAME:
        return sampling
    rate = float(f"{config.frames_per_token / config.frame_seconds:.6g}")
    return replace(sampling, stride=None, fps=rate)


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


def _raw_step(video: Video, stream: int | None) -> float:
    """The usual seconds from one frame of a file to the next; 0 if unknown, or if the file cannot be read."""
    assert not isinstance(video, Frames)
    try:
        file = read_crop(video).source if is_crop(video) else Path(video).absolute()
        state = file.stat()
        return _step_of_file(file, stream, state.st_mtime_ns, state.st_size)
    except (VideoError, OSError, ValueError, av.error.FFmpegError):  # whoever reads it says what is wrong
        return 0.0


@functools.lru_cache(maxsize=4096)
def _step_of_file(path: Path, stream: int | None, _modified: int, _size: int) -> float:
    """The usual step of a file, which is asked for several times; another file has another time or size."""
    return survey(path, stream).step_seconds
