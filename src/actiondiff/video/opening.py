"""Reading of videos, whether files or frames in memory, in chunks that report progress."""

import os
import time
from collections.abc import Iterator
from typing import TypeAlias

from actiondiff.errors import UsageError, VideoError
from actiondiff.types import DecodeReport, Frames, Progress, Sampling
from actiondiff.video.crop_file import is_crop, read_crop
from actiondiff.video.decode import VideoReader, iter_video
from actiondiff.video.probe import probe

__all__ = [
    "ProgressReader",
    "Video",
    "check_crop",
    "part_of_progress",
    "picture_size",
    "read_chunks",
    "share_done",
]

Video: TypeAlias = str | os.PathLike[str] | Frames
_NOTE_SECONDS = 0.2  # between two calls with progress within a chunk


class ProgressReader(Iterator[Frames]):
    """Chunks of one video's sampled frames; made by `read_chunks`.

    Attributes:
        name: The path as given, or the identity of frames in memory.
    """

    def __init__(self, name: str, source: "VideoReader | _InMemory", total: int, progress: Progress | None):
        self.name = name
        self._source = source
        self._total = total
        self._progress = progress
        self._next_note = time.monotonic() + _NOTE_SECONDS
        if progress is not None and isinstance(source, VideoReader):
            source.on_frame = self._note

    @property
    def report(self) -> DecodeReport | None:
        """How decoding went; final once all chunks were read. None for frames not read from a file."""
        return self._source.report

    def __next__(self) -> Frames:
        chunk = next(self._source)
        self._report(int(chunk.frame_index[-1]) + 1)
        return chunk

    def _note(self, num_frames: int) -> None:
        """Report between chunks as well: of a large video one chunk takes long."""
        now = time.monotonic()
        if now >= self._next_note:
            self._next_note = now + _NOTE_SECONDS
            self._report(num_frames)

    def _report(self, done: int) -> None:
        if self._progress:
            self._progress(min(done, self._total) if self._total else done, self._total, self.name)


class _InMemory(Iterator[Frames]):
    def __init__(self, frames: Frames, chunk_frames: int) -> None:
        self.report = frames.report
        self._chunks = (frames[i : i + chunk_frames] for i in range(0, len(frames), chunk_frames))

    def __next__(self) -> Frames:
        return next(self._chunks)


def read_chunks(
    video: Video,
    sampling: Sampling,
    *,
    chunk_frames: int = 32,
    progress: Progress | None = None,
) -> ProgressReader:
    """Start to read a video.

    Args:
        video: A file; or frames, which are used as they are.
        sampling: Which frames of a file are read.
        chunk_frames: Sampled frames per chunk; the last chunk may have fewer.
        progress: Called after each chunk, and several times a second within one, with the raw frames read,
            and those that the header promises.

    Raises:
        VideoError: If the file does not exist.
        UsageError: If there are no frames.
    """
    if isinstance(video, Frames):
        if not len(video):
            raise UsageError("no frames to look at: got 0.")
        last = int(video.frame_index[-1]) + 1
        return ProgressReader(video.identity, _InMemory(video, chunk_frames), last, progress)
    reader = iter_video(
        video,
        stride=sampling.stride,
        fps=sampling.fps,
        chunk_frames=chunk_frames,
        stream=sampling.stream,
        square=sampling.square,
    )
    return ProgressReader(os.fspath(video), reader, _promised(video) if progress else 0, progress)


def check_crop(video: Video, sampling: Sampling) -> None:
    """Make sure that a video is a crop if crops are to be read, with the same options, and else is none.

    Args:
        video: The video. Frames in memory are taken as they are.
        sampling: How videos are to be read.

    Raises:
        VideoError: If it is not so, or the video is a crop file that is damaged.
    """
    if isinstance(video, Frames):
        return
    crops = read_crop(video).options if is_crop(video) else None
    if crops == sampling.crops:
        return
    wanted = "whole videos" if sampling.crops is None else f"crops around animals ({sampling.crops})"
    here = "a whole video" if crops is None else f"a crop ({crops})"
    advice = (
        "give the videos themselves" if sampling.crops is None else "give --boxes, or crops made like these"
    )
    raise VideoError(f"{video}: this is {here}, and features of {wanted} are needed; {advice}.")


def picture_size(video: Video, *, stream: int | None = None, square: bool = True) -> tuple[int, int]:
    """Height and width of a video's pictures, in pixels.

    Args:
        video: A file or frames.
        stream: Number of the file's stream; None for the main one.
        square: Whether pictures are stretched to square pixels, as players show them.

    Raises:
        VideoError: If the file cannot be read.
    """
    if isinstance(video, Frames):
        return video.pixels.shape[1], video.pixels.shape[2]
    info = probe(video, stream=stream)
    if square or info.pixel_aspect == 1:
        return info.height_px, info.width_px
    width, height = info.stored_size_px
    return (width, height) if info.rotation_degrees % 180 else (height, width)


def share_done(done: int, total: int) -> float:
    """The share of the work that is done, in [0, 1]; 0 if the number of steps is not known."""
    return min(1.0, done / total) if total else 0.0


def part_of_progress(progress: Progress | None, start: float, end: float) -> Progress | None:
    """Progress of a part of some work, reported as progress of the whole.

    Args:
        progress: Progress of the whole; None if nobody asks for it.
        start: Share of the whole, in [0, 1], that is done when the part begins.
        end: Share of the whole that is done when the part ends.

    Returns:
        What the part is to call; the whole then has 1000 steps.
    """
    if progress is None:
        return None

    def part(done: int, total: int, what: str, /) -> None:
        progress(round(1000 * (start + (end - start) * share_done(done, total))), 1000, what)

    return part


def _promised(video: str | os.PathLike[str]) -> int:
    """Number of raw frames that a file's header promises; 0 if unknown or if the file cannot be read."""
    try:
        info = probe(video)
    except VideoError:
        return 0
    if info.num_frames_from_header:
        return info.num_frames_from_header
    return round((info.duration_seconds or 0) * (info.average_rate or 0))
