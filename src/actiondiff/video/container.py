"""Opening of video files: the stream that is decoded, its packets and its frames."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from actiondiff.errors import VideoError
from actiondiff.video.limits import limits_in_force

__all__ = [
    "DROPPING_CODECS",
    "FORMATS",
    "Decoding",
    "Loss",
    "average_rate",
    "duration_seconds",
    "has_times",
    "is_broadcast",
    "open_video",
    "orientation",
    "other_streams",
    "packets",
    "pixel_aspect",
    "stated_rate",
    "tagged_duration",
]

FORMATS = (
    *(
        "mov",
        "matroska",
        "webm",
        "avi",
        "asf",
        "flv",
        "live_flv",
        "kux",
        "ogg",
        "mpeg",
        "mpegts",
        "mpegvideo",
    ),
    *(
        "h264",
        "hevc",
        "vvc",
        "evc",
        "m4v",
        "h263",
        "h261",
        "av1",
        "obu",
        "ivf",
        "vc1",
        "vc1test",
        "cavsvideo",
    ),
    *(
        "mjpeg",
        "jpeg_pipe",
        "mjpeg_2000",
        "dv",
        "dhav",
        "mxf",
        "mxf_opatom",
        "gxf",
        "lxf",
        "wtv",
        "nut",
        "rm",
        "dirac",
        "gif",
    ),
    *("apng", "yuv4mpegpipe", "nsv", "nuv", "r3d", "swf", "pva", "pmp", "rpl", "smk", "bink", "flic", "mv"),
)
"""Formats that are read, by their names in FFmpeg. None of them opens other files, as play lists do."""
_PLAY_LISTS = (b"ffconcat", b"#EXTM3U", b"<MPD", b"<?xml", b"[playlist]", b"v=0", b"RTSP")
_NO_TIMESTAMPS, _DISCONTINUOUS = 0x0080, 0x0200  # AVFMT_NOTIMESTAMPS, AVFMT_TS_DISCONT
_STILL_CODECS = {"mjpeg", "png", "bmp", "gif", "webp", "tiff"}
DROPPING_CODECS = {"hevc", "vvc"}
"""Decoders that drop, without an error, every frame that refers to a lost one; others give it with a flag."""
_PASSED_OVER = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_PREVIEW_SHARE = 0.1  # of the pixels x frames of the largest stream
_MOST_FAILURES = 1000  # damaged places in a row without a packet after which the rest of a file is given up
_ASPECTS = (Fraction(1, 5), Fraction(5))  # of a pixel; others are damage
_NO_ASPECT = Fraction(1)
_ALMOST_SQUARE = Fraction(1, 50)


@contextmanager
def open_video(path: Path, number: int | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video; yields the container and the stream to decode, which decodes in one thread.

    Args:
        path: The file.
        number: Number of the stream in the file; None for the main one, see `main_stream`.

    Raises:
        VideoError: If the file is not a video, has no video stream, its pictures are larger than allowed, or
            there is no decoder for it. The message does not name the path.
    """
    name = str(path.absolute())  # libav would take "a:b.mp4" for the protocol a
    limits = limits_in_force()
    # A play list posing as a video must neither reach the network nor open other files.
    only = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
    try:
        container = av.open(name, options=only, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise VideoError(_why_closed(path, error)) from None
    with container:
        stream = main_stream(container) if number is None else _numbered(container, number)
        context = stream.codec_context
        if context is None:
            raise VideoError("the file's video codec is unknown to this machine's FFmpeg libraries")
        limits.check_picture(context.width, context.height)
        context.thread_count = 1
        context.options = {"max_pixels": str(limits.max_pixels)}
        if context.name in DROPPING_CODECS:
            context.flags |= Flags.output_corrupt
        yield container, stream


def _why_closed(path: Path, error: av.error.FFmpegError) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError:
        start = b""
    if start.startswith(_PLAY_LISTS):
        return "the file is a play list, which names other files; give those files"
    if start and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return "the file holds text"
    return f"the file cannot be opened: it is cut short, damaged or no video ({error.strerror})"


def main_stream(container: InputContainer) -> VideoStream:
    """The stream that holds the film: of those flagged as default, the one with the most pixels x frames.

    Covers, thumbnails, still pictures and previews (less than a tenth of the largest stream) are passed over;
    where no stream is flagged, all others compete.

    Raises:
        VideoError: If there is no video stream.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & _PASSED_OVER]
    if not streams:
        raise VideoError("the file has no video stream")
    films = [stream for stream in streams if stream.codec_context and not _is_still(stream)] or streams
    extents = {stream.index: _extent(container, stream) for stream in films}
    films = [stream for stream in films if extents[stream.index] >= _PREVIEW_SHARE * max(extents.values())]
    flagged = [stream for stream in films if stream.disposition & Disposition.default] or films
    return max(flagged, key=lambda stream: (extents[stream.index], -stream.index))


def other_streams(container: InputContainer, chosen: VideoStream) -> tuple[str, ...]:
    """Each video stream that is not decoded, in words."""
    words = []
    for stream in container.streams.video:
        if stream.index != chosen.index:
            kind = "a cover or thumbnail" if stream.disposition & _PASSED_OVER else "another video"
            context = stream.codec_context
            size = f" of {context.width}x{context.height} px" if context else ", of an unknown codec"
            words.append(f"stream {stream.index} is {kind}{size}")
    return tuple(words)


def _is_still(stream: VideoStream) -> bool:
    return stream.frames == 1 or (not stream.average_rate and stream.codec_context.name in _STILL_CODECS)


def _extent(container: InputContainer, stream: VideoStream) -> float:
    """Pixels x frames, as far as the header says; a frame at least."""
    context = stream.codec_context
    if context is None:
        return 0.0
    seconds = duration_seconds(container, stream) or 0.0
    frames = stream.frames or seconds * (average_rate(stream) or 1.0)
    return context.width * context.height * max(1.0, frames)


def _numbered(container: InputContainer, number: int) -> VideoStream:
    for stream in container.streams.video:
        if stream.index == number:
            return stream
    numbers = ", ".join(str(stream.index) for stream in container.streams.video) or "none"
    raise VideoError(f"the file has no video stream {number}; its video streams are: {numbers}")


def average_rate(stream: VideoStream) -> float | None:
    """Frames per second, from the container or from the codec; None if neither states one.

    libav's guesses are not used: where a container states no rate, they are the ticks of its clock.
    """
    rate = stream.average_rate or stated_rate(stream)
    return float(rate) if rate else None


def stated_rate(stream: VideoStream) -> Fraction | None:
    """Frames per second as the coded stream states it; None if it does not."""
    rate = stream.codec_context.framerate if stream.codec_context else None
    return Fraction(rate) if rate else None


def has_times(container: InputContainer) -> bool:
    """Whether the container's format has times at all; where it has none, libav makes some up."""
    return not container.format.flags & _NO_TIMESTAMPS and container.format.name != "jpeg_pipe"


def is_broadcast(container: InputContainer) -> bool:
    """Whether the container's clock may start again at any place, as in MPEG streams."""
    return bool(container.format.flags & _DISCONTINUOUS)


def duration_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Duration of the video stream, or else of the container's longest stream; None if unknown."""
    tagged = tagged_duration(stream)
    if tagged is not None:
        return tagged
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def tagged_duration(stream: VideoStream) -> float | None:
    """Seconds in the tag `DURATION` = 00:00:10.333000000 that Matroska files have for each stream."""
    try:
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (KeyError, ValueError):
        return None


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a stored pixel over its height.

    1 if it is not stated, cannot be right, or differs from 1 by less than anyone can see: encoders that
    were asked for 4:3 state 256:255 for 340x256 px.
    """
    stated = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    aspect = Fraction(stated) if stated else _NO_ASPECT
    is_sound = _ASPECTS[0] <= aspect <= _ASPECTS[1] and abs(aspect - 1) > _ALMOST_SQUARE
    return aspect if is_sound else _NO_ASPECT


@dataclass(frozen=True)
class Loss:
    """A packet that cannot be decoded.

    Attributes:
        ticks: Its time of presentation, or else of storage; None if it has neither.
        reason: What the decoder says.
    """

    ticks: int | None
    reason: str


@dataclass
class Decoding:
    """The frames of a stream in the order of presentation, not converted. Goes on after damage.

    A packet that cannot be decoded, or a place that cannot be read, costs its own frames and no others.

    Attributes:
        container: The open file.
        stream: The stream to decode.
        losses: The packets that cannot be decoded, so far.
        read_error: Why the file cannot be read further; empty if its end was reached.
    """

    container: InputContainer
    stream: VideoStream
    losses: list[Loss] = field(default_factory=list)
    read_error: str = ""

    def __iter__(self) -> Iterator[VideoFrame]:
        for packet in packets(self.container, self.stream, on_error=self._note):
            self.read_error = ""
            yield from self._decoded(packet)
        yield from self._drained()

    def _note(self, reason: str) -> None:
        self.read_error = reason

    def _decoded(self, packet: "Packet[Stream]") -> Iterator[VideoFrame]:
        try:
            pictures = self.stream.decode(packet)
        except (av.error.BlockingIOError, av.error.EOFError):
            return  # a state of the decoder, no damage
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            ticks = packet.pts if packet.pts is not None else packet.dts
            self.losses.append(Loss(ticks, error.strerror or str(error)))
            return
        yield from pictures

    def _drained(self) -> Iterator[VideoFrame]:
        """The frames that the decoder still holds at the end."""
        for _ in range(_MOST_FAILURES):
            try:
                pictures = self.stream.decode(None)
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            except av.error.FFmpegError as error:
                self.losses.append(Loss(None, error.strerror or str(error)))
                continue
            yield from pictures
            return


def packets(
    container: InputContainer, *streams: Stream, on_error: "Any" = None
) -> Iterator["Packet[Stream]"]:
    """Packets up to the end of the file, without those that only flush the decoder. Goes on after damage.

    Args:
        container: The open file.
        *streams: The streams; all if none is named.
        on_error: Called with what libav says of each place that cannot be read.
    """
    failures = 0
    while failures < _MOST_FAILURES:
        try:
            for packet in container.demux(*streams):
                if packet.size:
                    failures = 0
                    yield packet
        except av.error.EOFError:
            return
        except IndexError:  # PyAV raises it at the end if streams appeared while reading, as in broadcasts
            return
        except av.error.FFmpegError as error:
            failures += 1
            if on_error:
                on_error(error.strerror or str(error))
        else:
            return


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
