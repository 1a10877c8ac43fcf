"""Opening of video files, and what their headers and packets say before a frame is decoded."""

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
"""Containers whose header has a duration but no count of frames. For other containers without a count, libav
derives the duration from the data that exist or from the bit rate, so that it does not show what is
missing."""
_REPEAT_HORIZON = 64  # packets; no codec reorders further than 16 frames


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video; yields the container and its first video stream, which decodes in one thread.

    Raises:
        VideoError: If the file is not a video, has no video stream, or there is no decoder for it. The
            message does not name the path.
    """
    name = str(path.absolute())  # libav would take "a:b.mp4" for the protocol a
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
    """Frames per second, from the container or estimated by libav; None if unknown."""
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate else None


def duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Duration of the video stream, or else of the container's longest stream; None if unknown."""
    tagged = _tagged_duration(stream)
    if tagged is not None:
        return tagged
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _tagged_duration(stream: VideoStream) -> float | None:
    """Seconds in the tag `DURATION` = 00:00:10.333000000 that Matroska files have for each stream."""
    try:
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True)
class Survey:
    """Findings from all packets of a file, without decoding them.

    Attributes:
        times_in_doubt: Whether presentation times may be missing or out of order once frames are decoded.
        num_gaps: Number of frames that an AVI counts but does not contain (recorders drop some).
        end_seconds: Latest end of a packet of any stream, on the container's clock.
    """

    times_in_doubt: bool
    num_gaps: int
    end_seconds: float


def survey(path: Path) -> Survey:
    """Read all packets of a video.

    Times are in doubt if packets lack them, repeat them, or are not stored in decoding order. They are in
    doubt if they rise in the order of storage although the codec reorders frames, or do not rise although it
    does not. They are in doubt for every AVI that has other frames than key frames: AVI stores no
    presentation times, and those that libav derives are wrong with B-frames.

    Raises:
        VideoError: If the file is not a video.
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

    Headers are not reliable if a video does not begin at 0 (Matroska gives the time of its end), was not
    finished, or is an MPEG stream (whose duration is estimated). Frames without times are counted at the
    average rate.
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
    return (
        seconds * num_frames / (num_frames - 1)
    )  # packets have no durations: the last is as long as the others


def frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All frames in order of presentation, not converted.

    Raises:
        av.error.FFmpegError: If the data are damaged.
    """
    for packet in _packets(container, stream):
        yield from stream.decode(packet)


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """The orientation of a frame: quarter turns counter-clockwise (0 to 3), and whether to mirror it before.

    `VideoFrame.rotation` does not suffice: it takes a frame mirrored left-right for one turned upside down.
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
    """Packets up to the end or the first damaged one, without those that only flush the decoder.

    Packets of all streams are included unless streams are named.
    """
    with suppress(av.error.FFmpegError):
        yield from (packet for packet in _packets(container, *streams) if packet.size)


def _packets(container: InputContainer, *streams: Stream) -> Iterator["Packet[Stream]"]:
    with suppress(
        IndexError
    ):  # PyAV raises it at the end if streams appeared while reading, as in broadcasts
        yield from container.demux(*streams)


@dataclass(frozen=True)
class Promise:
    """The number of frames that a file should hold.

    Attributes:
        num_frames: Number of raw frames; None if unknown.
        source: Where the number comes from, in words.
    """

    num_frames: int | None
    source: str = ""


def promise(
    container: InputContainer,
    stream: VideoStream,
    packets: Survey,
    num_decoded: int,
    end_seconds: float | None,
) -> Promise:
    """The number of frames that the header promises, or else the duration.

    The header's count is reduced by frames that are not shown: those outside an MP4's edit list, and gaps in
    an AVI. A duration is not multiplied by an average rate, which is not meaningful if the rate varies.
    Instead, the decoded frames are counted, and the time from the end of the last one to the promised end is
    filled with frames at their own rate. The duration of a container is that of its longest stream, which may
    be sound.

    Args:
        container: The open file, after decoding.
        stream: The video stream.
        packets: Findings from the packets.
        num_decoded: Number of raw frames that decoded.
        end_seconds: When the last of them ends, on the container's clock; None if unknown.
    """
    if container.format.name.startswith("mov") and len(stream.index_entries):
        return Promise(sum(not entry.is_discard for entry in stream.index_entries), "the header")
    if stream.frames:
        return Promise(stream.frames - packets.num_gaps, "the header")
    if container.format.name not in _STATES_DURATION or not container.duration or not end_seconds:
        return Promise(None)
    stated, covered = _tagged_duration(stream), end_seconds
    if stated is None:
        stated, covered = container.duration / av.time_base, max(end_seconds, packets.end_seconds)
    start = float((stream.start_time or 0) * (stream.time_base or 0))
    rate = num_decoded / (end_seconds - start) if end_seconds > start else average_rate(stream) or 0
    return Promise(num_decoded + max(0, round((stated - covered) * rate)), f"the duration of {stated:.2f} s")
