"""Times of frames, and the choice of frames that are kept."""

import math
from pathlib import Path

import av
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from actiondiff.errors import UsageError, VideoError
from actiondiff.types import Sampling
from actiondiff.video.container import average_rate, frames, open_video

__all__ = ["Clock", "Sampler", "times_rise"]

_TOLERANCE_SECONDS = 1e-3  # many containers round times to milliseconds: at 30 fps, frame 1 is at 0.033


def times_rise(path: Path) -> bool:
    """Whether every frame has a later presentation time than the one before. Decodes all frames.

    Raises:
        VideoError: If the file is not a video.
    """
    last: int | None = None
    try:
        with open_video(path) as (container, stream):
            for frame in frames(container, stream):
                if frame.pts is None or (last is not None and frame.pts <= last):
                    return False
                last = frame.pts
    except av.error.FFmpegError:
        pass  # frames after the error are not decoded later either
    return True


class Clock:
    """Gives the times of frames, one after the other: 0 for the first, and always rising.

    A damaged stream may yield a frame whose time goes back although its packets were in order. From such a
    frame on, times are counted at the average rate.

    Args:
        stream: The video stream.
        counted: Whether to use index / average rate instead of the times in the file.

    Attributes:
        counted: Whether times were counted, at least in part.
        num_frames: Number of frames so far.
        last_seconds: Time of the latest frame; None if unknown.
        end_seconds: When the latest frame ends, on the container's clock; None if no frame has a time.
    """

    def __init__(self, stream: VideoStream, *, counted: bool) -> None:
        self.counted = counted
        self.num_frames = 0
        self.last_seconds: float | None = None
        self.end_seconds: float | None = None
        self._time_base = stream.time_base
        self._period = 1 / rate if (rate := average_rate(stream)) else None
        self._first_pts: int | None = None

    def seconds(self, frame: VideoFrame) -> float | None:
        """Time of the next frame in seconds; None if the file has neither times nor a rate."""
        own_seconds = self._own_seconds(frame)
        if not self.counted:
            rises = own_seconds is not None and (self.last_seconds is None or own_seconds > self.last_seconds)
            self.counted = not rises
        if not self.counted:
            self.last_seconds = own_seconds
        elif not self.num_frames:
            self.last_seconds = 0.0 if self._period else None
        elif self.last_seconds is not None and self._period:
            self.last_seconds += self._period
        else:
            self.last_seconds = None
        self.num_frames += 1
        return self.last_seconds

    def _own_seconds(self, frame: VideoFrame) -> float | None:
        """The time of a frame in the file, in seconds from the first frame that has a time."""
        if frame.pts is None or self._time_base is None:
            return None
        self._first_pts = frame.pts if self._first_pts is None else self._first_pts
        lasts = float(frame.duration * self._time_base) or self._period or 0.0
        end = float(frame.pts * self._time_base) + lasts
        self.end_seconds = end if self.end_seconds is None else max(self.end_seconds, end)
        return float((frame.pts - self._first_pts) * self._time_base)


class Sampler:
    """Decides frame by frame which frames of a video, or of a span of it, are kept.

    Args:
        sampling: Every stride-th frame, or frames at a fixed rate.
        start_seconds: First time of the span, inclusive; None for the beginning of the video.
        end_seconds: End of the span, exclusive; None for the end of the video.

    Raises:
        UsageError: If the span is empty or starts before 0.
    """

    def __init__(self, sampling: Sampling, *, start_seconds: float | None, end_seconds: float | None) -> None:
        start = 0.0 if start_seconds is None else start_seconds
        end = math.inf if end_seconds is None else end_seconds
        if not 0 <= start < end:
            raise UsageError(
                f"a span needs 0 <= start_seconds < end_seconds; got {start_seconds} to {end_seconds}."
            )
        self._stride, self._fps, self._start, self._end = sampling.stride, sampling.fps, start, end
        self._needs_times = sampling.fps is not None or start > 0 or end < math.inf
        self._num_in_span = 0
        self._origin: float | None = None  # time of the span's first frame
        self._next_tick = 0

    @property
    def span(self) -> str:
        """The span in words, for messages."""
        until = "its end" if self._end == math.inf else f"{self._end:g} s"
        return f"{self._start:g} s to {until}"

    def is_past(self, seconds: float | None) -> bool:
        """Whether a frame, and thus every later one, lies after the span."""
        return seconds is not None and seconds >= self._end - _TOLERANCE_SECONDS

    def keeps(self, seconds: float | None) -> bool:
        """Whether to keep the next frame. Must be called once for each frame, in order.

        Raises:
            VideoError: If the choice depends on times and the frame has none.
        """
        if seconds is None:
            if self._needs_times:
                raise VideoError("the file has neither times nor a frame rate: it can only be read by stride")
            seconds = 0.0
        if seconds < self._start - _TOLERANCE_SECONDS:
            return False
        self._num_in_span += 1
        if self._fps is None:
            assert self._stride is not None
            return (self._num_in_span - 1) % self._stride == 0
        self._origin = seconds if self._origin is None else self._origin
        elapsed = seconds - self._origin + _TOLERANCE_SECONDS
        if elapsed < self._next_tick / self._fps:
            return False
        self._next_tick = math.floor(elapsed * self._fps) + 1
        return True
