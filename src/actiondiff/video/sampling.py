"""Times of frames while a video is decoded, and the choice of frames that are kept."""

import math
from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from actiondiff.errors import UsageError, VideoError
from actiondiff.types import Sampling
from actiondiff.video.clock import Schedule
from actiondiff.video.container import average_rate
from actiondiff.video.limits import Limits
from actiondiff.video.slots import SlotTimes

__all__ = ["Clock", "Sampler"]

_GRID_TOLERANCE = 1e-3  # seconds by which a frame may precede the point of the grid that it is taken for
_STEP_SHARE = 0.25  # of the usual step between frames: no tolerance is ever larger
_MICROSECOND = 1e-6  # tables write 1/3 as 0.333333


class Clock:
    """Gives the times of frames, one after the other: 0 for the first, and always rising.

    Args:
        stream: The video stream.
        schedule: Gives the times of all frames, mended (`survey.schedule`). Called at once if times are in
            doubt, else as soon as a time does not rise: damage may yield such a frame although the packets
            were in order.
        in_doubt: Whether times are in doubt.
        limits: Limits on pauses.
        first_ticks: Time of the first packet, if it is a key frame: the origin, even if it does not decode.
        slots: The times of an AVI, which take the place of a schedule until `distrust_slots` is called.

    Attributes:
        num_frames: Number of frames so far.
        last_seconds: Time of the latest frame; None if unknown.
        end_seconds: When the latest frame ends, on the container's clock; None if no frame has a time.
    """

    def __init__(
        self,
        stream: VideoStream,
        schedule: Callable[[], Schedule],
        *,
        in_doubt: bool,
        limits: Limits,
        first_ticks: int | None = None,
        slots: SlotTimes | None = None,
    ) -> None:
        self.num_frames = 0
        self.last_seconds: float | None = None
        self.end_seconds: float | None = None
        self._slots = slots
        self._schedule = schedule() if in_doubt and slots is None else None
        self._mend = schedule
        self._time_base = stream.time_base
        # Whole numbers are divided as exactly as fractions are, and much faster.
        self._numerator, self._denominator = (stream.time_base or Fraction(0)).as_integer_ratio()
        self._period = 1 / rate if (rate := average_rate(stream)) else 0.0
        self._origin: float | None = None  # of the times that are right, on the container's clock
        self._limits = limits
        self._first_pts: int | None = None
        self._first_ticks = first_ticks

    def seconds(self, frame: VideoFrame) -> float | None:
        """Time of the next frame in seconds; None if the file has neither times nor a rate.

        Raises:
            VideoError: If the frame comes later after the one before than the limits allow.
        """
        own_seconds = seconds = self._own_seconds(frame)
        if self.schedule is None:
            first = not self.num_frames
            if seconds is None or not (
                first or (self.last_seconds is not None and seconds > self.last_seconds)
            ):
                self._schedule = self._mend()
        if self.schedule is not None:
            seconds = self._scheduled()
        if seconds is not None and self.last_seconds is not None:
            self._limits.check_pause(self.last_seconds, seconds)
        if own_seconds is not None and seconds is not None:
            is_moved = (
                self.schedule is not None and self.schedule.moved[self.num_frames : self.num_frames + 1].all()
            )
            self._note_end(frame, seconds, is_moved=bool(is_moved))
        self.last_seconds = seconds
        self.num_frames += 1
        return seconds

    @property
    def schedule(self) -> Schedule | None:
        """The mended times; None if the file's own times are used."""
        return self._slots.schedule if self._slots else self._schedule

    def distrust_slots(self) -> None:
        """Decode all frames for their times, since not every packet of an AVI yields one frame."""
        self._slots, self._schedule = None, self._mend()

    def confirmed(self, frames: Iterable[VideoFrame]) -> Iterable[VideoFrame]:
        """The frames, each as soon as its time is certain."""
        return self._slots.confirmed(frames, self.distrust_slots) if self._slots else frames

    def skip(self, ticks: NDArray[np.int64]) -> None:
        """Take frames as seen that are not decoded. Must be called before the first frame.

        Args:
            ticks: (N,) their times, sorted, of which the first is that of the first packet.
        """
        assert not self.num_frames
        self.num_frames = len(ticks)
        self.last_seconds = self._seconds(int(ticks[-1] - ticks[0]))

    @property
    def step_seconds(self) -> float:
        """The usual step between frames, if times are mended; else 0."""
        times = self.schedule.seconds if self.schedule else None
        return float(np.median(np.diff(times))) if times is not None and len(times) > 1 else 0.0

    def seconds_of(self, ticks: int) -> float | None:
        """Time of a place of the container's clock in seconds; None if there is no such clock."""
        if self._origin is None or self._time_base is None:
            return None
        return max(0.0, self._seconds(ticks) - self._origin)

    def _seconds(self, ticks: int) -> float:
        return ticks * self._numerator / self._denominator

    def _note_end(self, frame: VideoFrame, seconds: float, *, is_moved: bool) -> None:
        """Take note of when a frame ends. The origin is known from frames whose own time is right."""
        assert frame.pts is not None
        if self._origin is None or not is_moved:
            self._origin = self._seconds(frame.pts) - seconds
        self.end_seconds = self._origin + seconds + (self._seconds(frame.duration) or self._period)

    def _scheduled(self) -> float | None:
        assert self.schedule is not None
        times = self.schedule.seconds
        if times is None:
            return None
        if self.num_frames < len(times):
            seconds = float(times[self.num_frames])
        else:  # the frames of the other pass have all been seen
            seconds = (self.last_seconds or 0.0) + (
                float(times[-1] / (len(times) - 1)) if len(times) > 1 else 1.0
            )
        if self.last_seconds is not None and seconds <= self.last_seconds:
            seconds = math.nextafter(self.last_seconds, math.inf)
        return seconds

    def _own_seconds(self, frame: VideoFrame) -> float | None:
        """The time of a frame in the file, in seconds from the first frame that has a time."""
        if frame.pts is None or self._time_base is None:
            return None
        if self._first_pts is None:
            self._first_pts = frame.pts if self._first_ticks is None else min(frame.pts, self._first_ticks)
        return self._seconds(frame.pts - self._first_pts)


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
        self._tolerance, self._grid_tolerance = _MICROSECOND, _GRID_TOLERANCE
        self._first: int | None = None  # index of the span's first frame
        self._origin: float | None = None  # time of the span's first frame
        self._next_tick = 0

    @property
    def begins_late(self) -> bool:
        """Whether the span begins after the start of the video."""
        return self._start > 0

    @property
    def first_seconds(self) -> float:
        """Frames before this time are not kept."""
        return max(0.0, self._start - self._tolerance)

    @property
    def span(self) -> str:
        """The span in words, for messages."""
        until = "its end" if self._end == math.inf else f"{self._end:g} s"
        return f"{self._start:g} s to {until}"

    def set_resolution(self, tick_seconds: float, step_seconds: float) -> None:
        """Say how exact the times of the video are.

        A container rounds times to the ticks of its clock: at 30 fps, Matroska has frame 10 at 0.333 s. Times
        that differ by half a tick or less are therefore the same time, unless frames follow so closely that
        this would take one for another.

        Args:
            tick_seconds: One tick of the container's clock.
            step_seconds: The usual step from one frame to the next; 0 if unknown.
        """
        most = _STEP_SHARE * step_seconds or math.inf
        self._tolerance = min(max(tick_seconds / 2, _MICROSECOND), most)
        self._grid_tolerance = min(_GRID_TOLERANCE, most)

    def is_past(self, seconds: float | None) -> bool:
        """Whether a frame, and thus every later one, lies after the span."""
        return seconds is not None and seconds >= self._end - self._tolerance

    def keeps(self, index: int, seconds: float | None) -> bool:
        """Whether to keep the next frame. Must be called once for each frame, in order.

        The stride counts from the first frame of the span by index, so that a frame that is lost to damage
        does not change which of the others are kept.

        Args:
            index: Number of the frame among the raw frames of the file.
            seconds: Its time.

        Raises:
            VideoError: If the choice depends on times and the frame has none.
        """
        if seconds is None:
            if self._needs_times:
                raise VideoError("the file has neither times nor a frame rate: it can only be read by stride")
            seconds = 0.0
        if seconds < self._start - self._tolerance:
            return False
        self._first = index if self._first is None else self._first
        if self._fps is None:
            assert self._stride is not None
            return (index - self._first) % self._stride == 0
        self._origin = seconds if self._origin is None else self._origin
        elapsed = seconds - self._origin + self._grid_tolerance
        if elapsed < self._next_tick / self._fps:
            return False
        self._next_tick = math.floor(elapsed * self._fps) + 1
        return True
