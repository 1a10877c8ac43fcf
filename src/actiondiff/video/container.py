"""Opening a video file, and what it says of itself before a frame is decoded."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from actiondiff.errors import VideoError

__all__ = ["Promise", "Survey", "average_rate", "duration_seconds", "open_video", "promise", "survey"]

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
    try:
        container = av.open(
            str(path.absolute()),  # absolute: libav would read "a:b.mp4" as protocol a
            options={
                "protocol_whitelist": "file"
            },  # a play list posing as a video must not reach the network
            metadata_errors="replace",
        )
    except av.error.FFmpegError as error:
        raise VideoError(f"the file cannot be opened as a video: {error.strerror}") from None
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
    storing order although the codec reorders frames; and for every AVI between whose key frames others lie,
    since AVI stores no presentation times: libav makes them up, wrongly so with B-frames.

    Raises:
        VideoError: If the file is no video.
    """
    with open_video(path) as (container, stream):
        is_avi = container.format.name == "avi"
        doubt = is_avi and not stream.codec_context.codec.intra_only
        seen: deque[int] = deque(maxlen=_REPEAT_HORIZON)
        reordered, previous, highest, gaps, end = False, None, None, 0, 0.0
        for packet in _packets(container):
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
        doubt |= stream.codec_context.has_b_frames and not reordered
    return Survey(bool(doubt), gaps, end)


def _packets(container: InputContainer) -> Iterator["Packet[Stream]"]:
    """All packets up to the end or the first error."""
    try:
        for packet in container.demux():
            if packet.size:  # the last, empty ones ask the decoders for what they hold back
                yield packet
    except av.error.FFmpegError:
        return


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
