"""A pass over the frames of a video: from its start, or from a key frame before the span that is wanted.

A pass that begins at a key frame gives the same frames, with the same numbers and times, as one from the
start. It is only made where that is certain beforehand: each packet is one frame, its times are in no doubt,
and the coded data show that nothing after the key frame depends on what is before it (`entries`). The frames
between the key frame and the span must then come out as the packets announce; else the pass begins at the
start after all. Damage before the key frame is not noticed.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from actiondiff.video.clock import Schedule
from actiondiff.video.container import Decoding, open_video
from actiondiff.video.entries import enter, rewind
from actiondiff.video.limits import Limits
from actiondiff.video.sampling import Clock, Sampler
from actiondiff.video.slots import SlotTimes
from actiondiff.video.survey import Survey, schedule, survey_packets

__all__ = ["Pass", "open_pass"]

_SPARE_SECONDS = 1e-9  # far below a tick, far above the rounding of a time


@dataclass
class Pass:
    """An open video whose frames are taken one by one.

    Attributes:
        container: The open file.
        stream: The stream that is decoded.
        findings: What its packets say.
        clock: Clock that is to be asked for the time of each frame.
        decoding: What cannot be decoded, so far.
        frames: The frames, in order.
        num_skipped: Number of frames of the file before the first of these.
    """

    container: InputContainer
    stream: VideoStream
    findings: Survey
    clock: Clock
    decoding: Decoding
    frames: Iterable[VideoFrame]
    num_skipped: int = 0


@contextmanager
def open_pass(path: Path, sampler: Sampler, number: int | None, limits: Limits) -> Iterator[Pass]:
    """Open a video at its start, or near the start of a span that lies far from it.

    Args:
        path: The file.
        sampler: The span; it is told how exact the times of the video are.
        number: Number of the stream; None for the main one.
        limits: Limits on pauses.

    Raises:
        VideoError: If the file is not a video.
    """
    with ExitStack() as stack:
        container, stream = stack.enter_context(open_video(path, number))
        findings = survey_packets(path, container, stream, finds_entries=sampler.begins_late)
        mended = partial(schedule, path, findings, number)
        if sampler.begins_late:
            sampler.set_resolution(float(stream.time_base or 0), findings.step_seconds)
            entered = _enter(container, stream, findings, sampler.first_seconds, limits)
            if entered is not None:
                decoding, frames, num_skipped = entered
                clock = _clock(stream, findings, mended, limits)
                assert findings.ticks is not None
                clock.skip(findings.ticks[:num_skipped])
                yield Pass(container, stream, findings, clock, decoding, frames, num_skipped)
                return
        if not rewind(container, stream, findings.first_packet):
            stack.close()
            container, stream = stack.enter_context(open_video(path, number))
        clock = _clock(stream, findings, mended, limits)
        sampler.set_resolution(float(stream.time_base or 0), clock.step_seconds or findings.step_seconds)
        decoding = Decoding(container, stream)
        yield Pass(container, stream, findings, clock, decoding, clock.confirmed(decoding))


def _clock(stream: VideoStream, findings: Survey, mended: Callable[[], Schedule], limits: Limits) -> Clock:
    slots = None
    if findings.times_in_doubt and findings.slots is not None and len(findings.slots) and stream.time_base:
        slots = SlotTimes(findings.slots, Fraction(stream.time_base))
    return Clock(
        stream,
        mended,
        in_doubt=findings.times_in_doubt,
        limits=limits,
        first_ticks=findings.first_ticks if findings.ticks is not None else None,
        slots=slots,
    )


def _enter(
    container: InputContainer, stream: VideoStream, findings: Survey, first_seconds: float, limits: Limits
) -> tuple[Decoding, Iterator[VideoFrame], int] | None:
    """Continue at a key frame before a time.

    Returns:
        The decoding, its frames from that time on, and the number of frames before them. None if the pass
        must begin at the start; the container's place is then anywhere.
    """
    ticks, entries = findings.ticks, findings.entries
    if findings.times_in_doubt or ticks is None or not len(entries) or findings.first_ticks != ticks[0]:
        return None
    base = Fraction(stream.time_base or 1)
    seconds = (ticks - ticks[0]) * base.numerator / base.denominator
    wanted = int(np.searchsorted(seconds, first_seconds - _SPARE_SECONDS))
    if wanted == len(ticks) or ticks[wanted] < entries[0]:
        return None
    entry = int(entries[np.searchsorted(entries, ticks[wanted], side="right") - 1])
    is_long = (np.diff(seconds[: wanted + 1]) > limits.max_pause_seconds).any()  # an error, raised on the way
    if entry == ticks[0] or is_long:
        return None
    landed = enter(container, stream, entries, entry)
    if landed is None:
        return None
    decoding = Decoding(container, stream)
    frames = iter(decoding)
    rank = int(np.searchsorted(ticks, landed))
    for frame in frames:
        if frame.pts is not None and frame.pts < landed:
            continue  # it is shown before the key frame, and is stored behind it
        if frame.pts != ticks[rank] or decoding.losses or frame.is_corrupt:
            return None
        if rank == wanted:
            return decoding, chain([frame], frames), wanted
        rank += 1
    return None
