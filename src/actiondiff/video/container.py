"""Opening a video file, and what it says of itself before a frame is decoded."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from actiondiff.errors import VideoError

__all__ = [
    "Promise",
    "Survey",
    "average_rate",
    "duration_seconds",
    "frames",
    "length_from_packets",
    "open_video",
    "orientation",
    "promise",
    "survey",
]

_STATES_DURATION = {"matroska,webm", "asf", "flv"}
"""Containers without a count of frames whose header states a duration. Elsewhere libav's duration is read off
the data that are there, or guessed from the bit rate: it says nothing about what is missing."""
_REPEAT_HORIZON = 64  # packets; no codec reorders further than 16 frames


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first stream of moving pictures, decoding in one thread.

    Raises:
        VideoError: If the file is no video, has no video stream, or no decoder is known for it. The message
            leaves the path out.
    """
    name = str(path.absolute())  # libav would read "a:b.mp4" as protocol a
    files_only = {"protocol_whitelist": "file"}  # a play list posing as a video must not reach the network
    try:
        container = av.open(name, options=files_only, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise VideoError(
            f"the file cannot be opened: it is cut short, damaged or no video ({error.strerror})"
        ) from None
    with container:
        if container.format.name == "tty":
            raise VideoError("the file holds text")  # which libav would draw, letter by letter
        stream = next(
            (s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None
        )
        if stream is None:
            raise VideoError("the file has no video stream")
        if stream.codec_context is None:
            raise VideoError("the file's video codec is unknown to this machine's FFmpeg libraries")
        stream.codec_context.thread_count = 1
        yield container, stream


def average_rate(stream: VideoStream) -> float | None:
    """Frames a second, as the container says or libav estimates; None if unknown."""
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else None


def duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds the video stream lasts, failing that the container's longest stream; None if unknown."""
    tagged = _tagged_duration(stream)
    if tagged is not None:
        return tagged
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _tagged_duration(stream: VideoStream) -> float | None:
    """Matroska's tag of one stream, `DURATION` = 00:00:10.333000000, in seconds."""
    try:
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True)
class Survey:
    """What the packets of a file say, read from end to end without decoding.

    Attributes:
        times_in_doubt: Whether presentation times may be missing or out of order once frames are decoded.
        num_gaps: Frames that an AVI counts but never stored (recorders drop some).
        end_seconds: Latest end of any stream's packet, on the container's clock.
    """

    times_in_doubt: bool
    num_gaps: int
    end_seconds: float


def survey(path: Path) -> Survey:
    """Read all packets of a video.

    Times are in doubt if packets lack them, repeat them or are stored out of decoding order; if they rise in
    storing order although the codec reorders frames, or do not although it leaves them in order; and for
    every AVI with other than key frames, since AVI stores no presentation times: libav makes them up, wrongly
    so with B-frames.

    Raises:
        VideoError: If the file is no video.
    """
    with open_video(path) as (container, stream):
        is_avi = container.format.name == "avi"
        doubt = is_avi and not stream.codec_context.codec.intra_only
        seen: deque[int] = deque(maxlen=_REPEAT_HORIZON)
        reordered, previous, highest, gaps, end = False, None, None, 0, 0.0
        for packet in _sound_packets(container):
            pts, dts = packet.pts, packet.dts
            if pts is not None and packet.time_base:
                end = max(end, float((pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not stream:
                continue
            doubt |= pts is None or pts in seen
            if dts is not None:
                doubt |= previous is not None and dts < previous
                gaps += max(0, dts - previous - 1) if is_avi and previous is not None else 0
                previous = dts
            if pts is not None:
                reordered |= highest is not None and pts < highest
                highest = pts if highest is None else max(highest, pts)
                seen.append(pts)
        doubt |= reordered != bool(stream.codec_context.has_b_frames)
    return Survey(bool(doubt), gaps, end)


def length_from_packets(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds from a video's first frame to the end of its last, without decoding; None if unknown.

    Headers are no help where a video does not begin at 0 (Matroska states when it ends), was never finished,
    or is an MPEG stream (whose duration is guessed). Frames without times are counted at the average rate.
    """
    rate, num_frames = average_rate(stream), 0
    first, last, end = math.inf, -math.inf, -math.inf
    timed = stream.time_base is not None
    for packet in _sound_packets(container, stream):
        if packet.is_discard:  # outside the edit list
            continue
        num_frames += 1
        timed &= packet.pts is not None
        if packet.pts is not None:
            first, last = min(first, packet.pts), max(last, packet.pts)
            end = max(end, packet.pts + (packet.duration or 0))
    if not num_frames:
        return None
    if not timed or (last == first and num_frames > 1):
        return num_frames / rate if rate else None
    assert stream.time_base is not None
    seconds = float((end - first) * stream.time_base)
    if end > last or num_frames == 1:
        return seconds or (1 / rate if rate else None)
    return seconds * num_frames / (num_frames - 1)  # packets without durations: as long as the others


def frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All frames in order of presentation, not converted.

    Raises:
        av.error.FFmpegError: Where the data are damaged.
    """
    for packet in _packets(container, stream):
        yield from stream.decode(packet)


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """How a frame is to be shown: quarter turns counter-clockwise (0 to 3), and whether mirrored before that.

    `VideoFrame.rotation` is not enough: it takes a frame mirrored left-right for one turned upside down.
    """
    stored: Any = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return 0, False
    matrix = np.frombuffer(stored, np.int32).reshape(3, 3)
    (a, b), (c, d) = matrix[:2, :2].tolist()  # x' = ax + cy, y' = bx + dy
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(-math.atan2(b, a) / (math.pi / 2)) % 4, mirrored


def _sound_packets(container: InputContainer, *streams: Stream) -> Iterator["Packet[Stream]"]:
    """Packets up to the end or the first damage, of all streams if none is given; none that only flush."""
    with suppress(av.error.FFmpegError):
        yield from (packet for packet in _packets(container, *streams) if packet.size)


def _packets(container: InputContainer, *streams: Stream) -> Iterator["Packet[Stream]"]:
    with suppress(IndexError):  # PyAV's at the very end, if streams showed up while reading, as in broadcasts
        yield from container.demux(*streams)


@dataclass(frozen=True)
class Promise:
    """How many frames a file says it holds.

    Attributes:
        num_frames: Raw frames; None if the file does not say.
        source: What says so, in words.
    """

    num_frames: int | None
    source: str = ""


def promise(
    container: InputContainer, stream: VideoStream, found: Survey, num_decoded: int, end_seconds: float | None
) -> Promise:
    """What the header promises, or failing that the duration.

    A header's count leaves out what is not to be shown: frames outside an MP4's edit list, gaps in an AVI. A
    duration is not multiplied with an average rate, which says little where the rate varies: the frames that
    decoded are counted, plus, at their own rate, those that would fill the time from the last one's end to
    the promised end. The container's duration is that of its longest stream: sound may fill it as well.

    Args:
        container: The open file, decoded as far as it goes.
        stream: Its video stream.
        found: Its survey.
        num_decoded: Raw frames that decoded.
        end_seconds: When the last of them ends, on the container's clock; None if unknown.
    """
    if container.format.name.startswith("mov") and len(stream.index_entries):
        return Promise(sum(not entry.is_discard for entry in stream.index_entries), "the header")
    if stream.frames:
        return Promise(stream.frames - found.num_gaps, "the header")
    if container.format.name not in _STATES_DURATION or not container.duration or not end_seconds:
        return Promise(None)
    stated, covered = _tagged_duration(stream), end_seconds
    if stated is None:
        stated, covered = container.duration / av.time_base, max(end_seconds, found.end_seconds)
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    rate = num_decoded / (end_seconds - start) if end_seconds > start else average_rate(stream) or 0
    return Promise(num_decoded + max(0, round((stated - covered) * rate)), f"the duration of {stated:.2f} s")
