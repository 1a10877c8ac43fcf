"""Decoding of video files to sampled RGB frames, in one thread and in memory that does not grow with length.

All frames are decoded in order, and only the sampled ones are converted: seeking to each sampled frame would
be about twenty times slower. A file is read three times: for its sha256, for its packets (which show whether
its times can be trusted) and for its frames; the first two cost little.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from actiondiff.errors import UsageError, VideoError
from actiondiff.provenance import sha256_of_file
from actiondiff.types import DEFAULT_STRIDE, DecodeReport, Frames, Sampling, Status
from actiondiff.video.container import Promise, frames, open_video, orientation, promise, survey
from actiondiff.video.sampling import Clock, Sampler, times_rise

__all__ = ["VideoReader", "iter_video", "read_video"]

_TOLERATED_FRAMES = 2
_TOLERATED_SHARE = 0.02  # of the promise; the larger of the two may be missing
_UNTAGGED = 2  # AVCOL_SPC_UNSPECIFIED
_KeptFrame: TypeAlias = tuple[int, float | None, NDArray[np.uint8]]  # raw index, seconds, (H, W, 3) RGB


def iter_video(
    path: str | os.PathLike[str],
    *,
    stride: int | None = DEFAULT_STRIDE,
    fps: float | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    chunk_frames: int = 32,
) -> "VideoReader":
    """Decode a video in chunks.

    Frames are as a player shows them: RGB, rotated as the file says, and all of the first frame's size. Their
    seconds are presentation times; they are 0 at the video's first frame and always rise. If the times in the
    file do not rise, all are replaced by index / average rate; if there is no rate either, they are None.

    Args:
        path: The file.
        stride: Keep every stride-th raw frame, from the first (of the span) on. None if `fps` is given.
        fps: Keep frames by presentation time instead: for k = 0, 1, ... the first frame at or after k / fps
            seconds from the first (of the span). No frame comes twice: a rate above the video's keeps all.
        start_seconds: Start of the span to read, inclusive; None for the beginning.
        end_seconds: End of the span, exclusive; None for the end. Decoding stops there.
        chunk_frames: Sampled frames per chunk; the last chunk may have fewer. Changes no value.

    Returns:
        An iterator over chunks. It never raises for damage inside the file; see its `report`.

    Raises:
        VideoError: If the path is not a file or cannot be read.
        UsageError: If not exactly one of stride and fps is given, or a number is out of range.

    Example:
        >>> for chunk in iter_video("clip.mp4", stride=4):  # doctest: +SKIP
        ...     print(chunk.pixels.shape, chunk.seconds)
    """
    sampler = Sampler(Sampling(stride, fps), start_seconds=start_seconds, end_seconds=end_seconds)
    if chunk_frames < 1:
        raise UsageError(f"chunk_frames must be at least 1; got {chunk_frames}.")
    return VideoReader(path, sampler, chunk_frames)


def read_video(
    path: str | os.PathLike[str],
    *,
    stride: int | None = DEFAULT_STRIDE,
    fps: float | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Frames:
    """Decode a video into memory; arguments as for `iter_video`.

    Returns:
        Frames with the report attached. If the report says `partial`, the frames before the first error.

    Raises:
        VideoError: If the path is not a file, cannot be read, or no frame of it (or of the span) decodes.
        UsageError: If not exactly one of stride and fps is given, or a number is out of range.
    """
    reader = iter_video(path, stride=stride, fps=fps, start_seconds=start_seconds, end_seconds=end_seconds)
    chunks = list(reader)
    if not chunks:
        raise VideoError(f"{path}: {reader.report.reason}.")
    seconds = [chunk.seconds for chunk in chunks if chunk.seconds is not None]
    return Frames(
        pixels=np.concatenate([chunk.pixels for chunk in chunks]),
        seconds=np.concatenate(seconds) if len(seconds) == len(chunks) else None,
        frame_index=np.concatenate([chunk.frame_index for chunk in chunks]),
        identity=reader.identity,
        report=reader.report,
    )


class VideoReader(Iterator[Frames]):
    """Chunks of a video's sampled frames; made by `iter_video`.

    Attributes:
        path: The file.
        identity: sha256 of its content.
        report: How decoding went; final once the iterator is exhausted. Until then its status is `failed` or
            `partial`, and its reason says that decoding has not finished.
    """

    def __init__(self, path: str | os.PathLike[str], sampler: Sampler, chunk_frames: int) -> None:
        self.path = Path(path)
        try:
            if not self.path.is_file():
                what = "is not a file" if self.path.exists() else "does not exist"
                raise VideoError(f"{self.path} {what}; the path of a video file is needed.")
            self.identity = sha256_of_file(self.path)
        except OSError as error:
            raise VideoError(f"{self.path} cannot be read: {error.strerror}.") from None
        self.report = DecodeReport("failed", "decoding has not begun")
        self._sampler = sampler
        self._chunk_frames = chunk_frames
        self._chunks = self._decode()

    def __next__(self) -> Frames:
        return next(self._chunks)

    def _decode(self) -> Iterator[Frames]:
        state = _DecodingState()
        pending: list[_KeptFrame] = []
        for frame in self._kept_frames(state):
            pending.append(frame)
            if len(pending) == self._chunk_frames:
                self.report = DecodeReport("partial", "decoding has not finished", state.num_decoded)
                yield self._chunk(pending)
                pending = []
        self.report = state.report(self._sampler)
        if pending:
            yield self._chunk(pending)

    def _kept_frames(self, state: "_DecodingState") -> Iterator[_KeptFrame]:
        """Sampled frames up to the end of the span or the file, or the first error; the state shows which."""
        try:
            if not self.path.stat().st_size:
                raise VideoError("the file is empty (0 bytes)")
            packets = survey(self.path)
            counted = packets.times_in_doubt and not times_rise(self.path)
            with open_video(self.path) as (container, stream):
                state.clock = clock = Clock(stream, counted=counted)
                convert = _Converter()
                try:
                    for index, frame in enumerate(frames(container, stream)):
                        seconds = clock.seconds(frame)
                        if self._sampler.is_past(seconds):
                            state.ended_early = True
                            break
                        if self._sampler.keeps(seconds):
                            yield index, seconds, convert(frame)
                            state.num_kept += 1
                except av.error.FFmpegError as error:
                    state.error = error.strerror or str(error)
                state.promise = promise(container, stream, packets, clock.num_frames, clock.end_seconds)
        except VideoError as error:
            state.error = str(error)

    def _chunk(self, frames: list[_KeptFrame]) -> Frames:
        index, seconds, pixels = zip(*frames, strict=True)
        return Frames(
            pixels=np.stack(pixels),
            seconds=None if None in seconds else np.array(seconds, dtype=np.float64),
            frame_index=np.array(index, dtype=np.int64),
            identity=self.identity,
        )


class _Converter:
    """Converts decoded frames to RGB arrays, all with the size and orientation of the first frame."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._turns, self._mirrored = 0, False

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """(H, W, 3) uint8."""
        if self._size is None:
            self._size = frame.width, frame.height
            self._turns, self._mirrored = orientation(frame)
        try:
            rgb = self._rgb(frame, *self._size)
        except av.error.FFmpegError:
            frame.colorspace = _UNTAGGED  # the frame names a colour matrix that is reserved or not supported
            rgb = self._rgb(frame, *self._size)
        return np.rot90(rgb[:, ::-1] if self._mirrored else rgb, self._turns)

    def _rgb(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        rgb = self._reformatter.reformat(frame, width, height, format="rgb24", threads=1)
        return rgb.to_ndarray().astype(np.uint8, copy=False)


@dataclass
class _DecodingState:
    """The state of decoding one video, from which the report is made."""

    clock: Clock | None = None
    num_kept: int = 0
    error: str = ""
    ended_early: bool = False
    promise: Promise | None = None

    @property
    def num_decoded(self) -> int:
        return self.clock.num_frames if self.clock else 0

    def report(self, sampler: Sampler) -> DecodeReport:
        """The final report."""
        status, reason = self._judge(sampler)
        expected = self.promise.num_frames if self.promise else None
        repaired = self.clock is not None and self.clock.counted
        return DecodeReport(status, reason, self.num_decoded, expected, repaired)

    def _judge(self, sampler: Sampler) -> tuple[Status, str]:
        if self.clock is None or self.promise is None or not self.num_decoded:
            return "failed", self.error or "no frame can be decoded"
        decoded, expected = self.num_decoded, self.promise.num_frames
        if self.error:
            of = f" of {expected}" if expected else ""
            reason = f"decoding stopped after {decoded}{of} frames: {self.error}"
            return ("partial" if self.num_kept else "failed"), reason
        if not self.num_kept:
            last = self.clock.last_seconds or 0.0
            return "failed", f"no frame is shown from {sampler.span}: the last is at {last:.2f} s"
        missing = expected - decoded if expected and not self.ended_early else 0
        if missing > max(_TOLERATED_FRAMES, _TOLERATED_SHARE * (expected or 0)):
            return "partial", f"{decoded} frames decode of the {expected} that {self.promise.source} promises"
        return "ok", ""
