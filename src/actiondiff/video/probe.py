"""Finding videos, reading their headers, and checking them for problems and oddities."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actiondiff.errors import UsageError, VideoError
from actiondiff.types import DecodeReport, Frames
from actiondiff.video.container import (
    Decoding,
    average_rate,
    duration_seconds,
    open_video,
    orientation,
    other_streams,
    pixel_aspect,
)
from actiondiff.video.crop_file import is_crop, read_crop, source_of
from actiondiff.video.cutting import CropFile, Cutter
from actiondiff.video.decode import iter_video
from actiondiff.video.search import SUFFIXES, find_videos
from actiondiff.video.survey import length_seconds_of

__all__ = [
    "VideoCheck",
    "VideoInfo",
    "check_video",
    "check_videos",
    "length_seconds",
    "probe",
]

_FEW_FRAMES = 16
_SMALL_SIDE_PX = 96
_DARK = 8.0  # mean of 0..255
_COLOURLESS = 0.5  # mean difference between a pixel's channels, of 255
_WRONG_SECONDS, _WRONG_SHARE = 0.3, 0.02  # the larger is the tolerated error of a header's duration
_UNEVEN = 0.25  # tolerated deviation of an interval from the median, as a share of it


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video, from its header and its first frame.

    Attributes:
        container: Format of the file, for example `matroska,webm`.
        codec: Name of the codec, for example `h264`.
        pixel_format: Name of the pixel format, for example `yuv420p`.
        width_px: Width as shown: with square pixels, after rotation.
        height_px: Height as shown, after rotation.
        stored_size_px: Width and height as stored, before stretching and rotation.
        pixel_aspect: Width of a stored pixel over its height.
        average_rate: Frames per second; None if unknown.
        num_frames_from_header: Number of frames in the header; None if it has none. Often wrong; count the
            frames that decode instead.
        duration_seconds: Duration of the video stream, or else of the file; None if unknown.
        rotation_degrees: Angle by which frames are turned counter-clockwise when shown: 0, 90, 180 or -90.
        is_mirrored: Whether frames are mirrored left-right before that.
        has_audio: Whether the file has sound.
        stream: Number of the stream that is decoded.
        other_streams: The other video streams, in words.
    """

    container: str
    codec: str
    pixel_format: str
    width_px: int
    height_px: int
    average_rate: float | None
    num_frames_from_header: int | None
    duration_seconds: float | None
    rotation_degrees: int
    is_mirrored: bool
    has_audio: bool
    stored_size_px: tuple[int, int] = (0, 0)
    pixel_aspect: float = 1.0
    stream: int = 0
    other_streams: tuple[str, ...] = ()


def probe(path: str | os.PathLike[str], *, stream: int | None = None) -> VideoInfo:
    """Read a video's header and first frame; of a crop file those of its source, with the crop's size.

    Args:
        path: The file.
        stream: Number of the stream; None for the main one.

    Raises:
        VideoError: If the path is not a file, the file is not a video, or has no stream of that number.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path} is not a file; the path of a video file is needed.")
    if is_crop(path):
        crop = read_crop(path)
        return _cropped(probe(source_of(crop, path), stream=stream), crop)
    try:
        with open_video(path, stream) as (container, main):
            context = main.codec_context
            turns, mirrored = next(map(orientation, Decoding(container, main)), (0, False))
            aspect = pixel_aspect(main)
            sides = (round(context.width * aspect), context.height)[:: -1 if turns % 2 else 1]
            return VideoInfo(
                container=container.format.name,
                codec=context.name,
                pixel_format=context.pix_fmt or "unknown",
                width_px=sides[0],
                height_px=sides[1],
                average_rate=average_rate(main),
                num_frames_from_header=main.frames or None,
                duration_seconds=duration_seconds(container, main),
                rotation_degrees=(0, 90, 180, -90)[turns],
                is_mirrored=mirrored,
                has_audio=bool(container.streams.audio),
                stored_size_px=(context.width, context.height),
                pixel_aspect=float(aspect),
                stream=main.index,
                other_streams=other_streams(container, main),
            )
    except VideoError as error:
        raise VideoError(f"{path}: {error}.") from None


def _cropped(info: VideoInfo, crop: CropFile) -> VideoInfo:
    """Properties of a crop, from those of its source."""
    height, width = Cutter(crop, info.height_px, info.width_px).size
    # Pictures are cut after they are turned; the stored size is one before that.
    is_turned = info.rotation_degrees % 180 != 0
    turned = info.stored_size_px[::-1] if is_turned else info.stored_size_px
    stored = Cutter(crop, turned[1], turned[0]).size
    return replace(
        info, width_px=width, height_px=height, stored_size_px=stored if is_turned else (stored[1], stored[0])
    )


def length_seconds(path: str | os.PathLike[str]) -> float | None:
    """Seconds from a video's first frame to the end of its last, from its packets; None if unknown.

    Raises:
        VideoError: If the path is not a file, or the file is not a video.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path} is not a file; the path of a video file is needed.")
    if is_crop(path):
        path = source_of(read_crop(path), path)
    try:
        return length_seconds_of(path)
    except VideoError as error:
        raise VideoError(f"{path}: {error}.") from None


@dataclass(frozen=True)
class VideoCheck:
    """Result of decoding a whole video.

    Attributes:
        path: The file.
        report: How decoding went.
        info: Properties of the video; None if it cannot be opened.
        num_bytes: Size of the file; 0 if it cannot be read.
        notes: Oddities, one phrase each. They do no harm, but users should know of them.
        seconds: How long the frames that decode are shown; None if unknown. Headers may say otherwise.
    """

    path: Path
    report: DecodeReport
    info: VideoInfo | None = None
    num_bytes: int = 0
    notes: tuple[str, ...] = ()
    seconds: float | None = None


def check_videos(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, stream: int | None = None
) -> Iterator[VideoCheck]:
    """Check every video that `find_videos` finds, one after the other.

    Args:
        paths: Files and folders.
        stream: Number of the stream to check; None for the main one.

    Raises:
        UsageError: If a path does not exist, or there is no video.
    """
    videos = find_videos(paths)
    if not videos:
        raise UsageError(f"no videos found; their names end with {', '.join(SUFFIXES)}, in any case.")
    return (check_video(path, stream=stream) for path in videos)


def check_video(path: str | os.PathLike[str], *, stream: int | None = None) -> VideoCheck:
    """Decode a whole video, and describe problems and oddities. Never raises for a damaged file."""
    path = Path(path)
    statistics = _Statistics()
    try:
        reader = iter_video(path, stride=1, chunk_frames=8, stream=stream)
        for chunk in reader:
            statistics.add(chunk)
        num_bytes = path.stat().st_size
        report = reader.report
    except VideoError as error:
        return VideoCheck(path, DecodeReport("failed", error.reason_for(path)))
    try:
        info = probe(path, stream=stream)
    except VideoError:
        return VideoCheck(path, report, None, num_bytes)
    seconds = statistics.shown_seconds(info.average_rate)
    return VideoCheck(path, report, info, num_bytes, tuple(_notes(report, info, statistics)), seconds)


@dataclass
class _Statistics:
    """Statistics of a video's frames."""

    seconds: list[NDArray[np.float64]] = field(default_factory=list)
    brightness: list[float] = field(default_factory=list)  # of each frame, mean of 0..255
    colour: list[float] = field(default_factory=list)  # of each frame, mean channel difference

    def add(self, chunk: Frames) -> None:
        if chunk.seconds is not None:
            self.seconds.append(chunk.seconds)
        for frame in chunk.pixels[:, ::4, ::4].astype(np.int16):
            self.brightness.append(float(frame.mean()))
            self.colour.append(float((frame.max(-1) - frame.min(-1)).mean()))

    def shown_seconds(self, rate: float | None) -> float | None:
        """From the first frame to the end of the last, which lasts as long as the others."""
        if not self.seconds:
            return None
        times = np.concatenate(self.seconds)
        if len(times) == 1:
            return 1 / rate if rate else None
        return float(times[-1] + np.median(np.diff(times)))


def _notes(report: DecodeReport, info: VideoInfo, statistics: _Statistics) -> Iterator[str]:
    if report.times_repaired:
        number = f" of {report.num_times_mended} frame(s)" if report.num_times_mended else ""
        yield f"times{number} are mended: {report.times_note}"
    elif statistics.seconds:
        steps = np.diff(np.concatenate(statistics.seconds))
        if len(steps) and (abs(steps - np.median(steps)) > _UNEVEN * np.median(steps)).any():
            yield f"variable frame rate: {steps.min():.3g} to {steps.max():.3g} s between frames"
    if statistics.seconds and report.status == "ok" and info.duration_seconds:
        times = np.concatenate(statistics.seconds)
        duration = float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0))
        if abs(info.duration_seconds - duration) > max(_WRONG_SECONDS, _WRONG_SHARE * duration):
            yield f"its pictures last {duration:.2f} s, not the {info.duration_seconds:.2f} s of the header"
    if report.num_frames_corrupt:
        yield f"the decoder flags {report.num_frames_corrupt} frames as corrupt"
    if info.other_streams:
        yield f"stream {info.stream} is decoded; {', '.join(info.other_streams)}"
    if info.pixel_aspect != 1:
        width, height = info.stored_size_px
        yield f"stored as {width}x{height} px, each {info.pixel_aspect:.4g} times as wide as high"
    if info.rotation_degrees:
        yield f"turned by {info.rotation_degrees} degrees for showing"
    if info.is_mirrored:
        yield "mirrored for showing"
    if statistics.brightness and np.mean(statistics.brightness) < _DARK:
        yield f"very dark: mean brightness {np.mean(statistics.brightness):.1f} of 255"
    elif statistics.colour and max(statistics.colour) < _COLOURLESS:
        yield "grayscale pictures"
    if 0 < report.num_frames_decoded <= _FEW_FRAMES:
        yield f"only {report.num_frames_decoded} frames"
    if report.num_frames_decoded and min(info.width_px, info.height_px) < _SMALL_SIDE_PX:
        yield f"small pictures: {info.width_px}x{info.height_px} px"
