"""Decoding of video files to sampled RGB frames, in one thread and in memory that does not grow with length.

Frames are decoded in order, and only the sampled ones are converted: seeking to each sampled frame would be
about twenty times slower. A file is read three times: for its sha256, for its packets (which show whether its
times can be trusted, and where a span may be entered) and for its frames; the first two cost little.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from actiondiff.errors import UsageError, VideoError, VideoLimitError
from actiondiff.provenance import sha256_of_file
from actiondiff.types import DEFAULT_STRIDE, DecodeReport, Frames, Sampling
from actiondiff.video.buffers import empty_pictures
from actiondiff.video.container import orientation, pixel_aspect
from actiondiff.video.crop_file import is_crop, read_crop, source_of
from actiondiff.video.cutting import WHOLE, CropFile, Cutter, PlaceRow
from actiondiff.video.judgement import DecodingState
from actiondiff.video.limits import limits_in_force
from actiondiff.video.passes import open_pass
from actiondiff.video.sampling import Sampler
from actiondiff.video.survey import promise

__all__ = ["VideoReader", "iter_video", "read_video"]

_UNTAGGED = 2  # AVCOL_SPC_UNSPECIFIED
_KeptFrame: TypeAlias = tuple[int, float | None, NDArray[np.uint8], PlaceRow | None]
"""Raw index, seconds, (H, W, 3) RGB, and where the crop lies if it is one."""
_FIRST_ROOM = 32  # frames that a chunk has room for at first; larger chunks grow


def iter_video(
    path: str | os.PathLike[str],
    *,
    stride: int | None = DEFAULT_STRIDE,
    fps: float | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    chunk_frames: int = 32,
    stream: int | None = None,
    square: bool = True,
    crop: CropFile | None = None,
) -> "VideoReader":
    """Decode a video in chunks.

    Frames are as a player shows them: RGB, rotated as the file says, and all of the first frame's size. Their
    seconds are presentation times; they are 0 at the video's first frame and always rise. Times that are
    missing or wrong are mended one by one, see `clock`; if there are none and no rate either, they are None.
    Damage costs the frames that it damages; those after it keep their times and their index. Of a crop file
    (`crop_file`), these are the frames of its source, each cut.

    Args:
        path: The file: a video, or a crop file.
        stride: Keep every stride-th raw frame, from the first (of the span) on. None if `fps` is given.
        fps: Keep frames by presentation time instead: for k = 0, 1, ... the first frame at or after k / fps
            seconds from the first (of the span). No frame comes twice: a rate above the video's keeps all.
        start_seconds: Start of the span to read, inclusive; None for the beginning. Where a key frame before
            it gives the same frames, decoding begins there, and the report says nothing of damage before it.
        end_seconds: End of the span, exclusive; None for the end. Decoding stops there.
        chunk_frames: Sampled frames per chunk; the last chunk may have fewer. Changes no value.
        stream: Number of the stream in the file; None for the main one: of those that are flagged as default
            the one with the most pixels x frames, never a cover.
        square: Whether pictures are stretched to square pixels, as players show them; else they are as the
            file stores them.
        crop: How to cut the pictures of a video that is no crop file; None for whole pictures.

    Returns:
        An iterator over chunks. It never raises for damage inside the file; see its `report`. If the report
        is `failed`, chunks that came before are to be discarded.

    Raises:
        VideoError: If the path is not a file or cannot be read, or it is a crop file whose source is not
            there or has changed.
        UsageError: If not exactly one of stride and fps is given, or a number is out of range.

    Example:
        >>> for chunk in iter_video("clip.mp4", stride=4):  # doctest: +SKIP
        ...     print(chunk.pixels.shape, chunk.seconds)
    """
    sampling = Sampling(stride, fps, stream, square)
    sampler = Sampler(sampling, start_seconds=start_seconds, end_seconds=end_seconds)
    if chunk_frames < 1:
        raise UsageError(f"chunk_frames must be at least 1; got {chunk_frames}.")
    return VideoReader(path, sampler, chunk_frames, sampling, crop)


def read_video(
    path: str | os.PathLike[str],
    *,
    stride: int | None = DEFAULT_STRIDE,
    fps: float | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    stream: int | None = None,
    square: bool = True,
) -> Frames:
    """Decode a video into memory; arguments as for `iter_video`.

    Returns:
        Frames with the report attached. If the report says `partial`, frames are missing; it says which.

    Raises:
        VideoError: If the path is not a file, cannot be read, or no frame of it (or of the span) decodes.
        UsageError: If not exactly one of stride and fps is given, or a number is out of range.
    """
    reader = iter_video(
        path,
        stride=stride,
        fps=fps,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        stream=stream,
        square=square,
    )
    chunks = list(reader)
    if reader.report.status == "failed":
        raise VideoError(f"{path}: {reader.report.reason}.")
    seconds = [chunk.seconds for chunk in chunks if chunk.seconds is not None]
    places = [chunk.crop_places for chunk in chunks if chunk.crop_places is not None]
    return Frames(
        pixels=np.concatenate([chunk.pixels for chunk in chunks]) if len(chunks) > 1 else chunks[0].pixels,
        seconds=np.concatenate(seconds) if len(seconds) == len(chunks) else None,
        frame_index=np.concatenate([chunk.frame_index for chunk in chunks]),
        identity=reader.identity,
        report=reader.report,
        crop_places=np.concatenate(places) if len(places) == len(chunks) else None,
    )


class VideoReader(Iterator[Frames]):
    """Chunks of a video's sampled frames; made by `iter_video`.

    Attributes:
        path: The file.
        identity: sha256 of its content; see `CropFile.identity` for crops.
        report: How decoding went; final once the iterator is exhausted. Until then its status is `failed` or
            `partial`, and its reason says that decoding has not finished.
        on_frame: Called with the number of raw frames that were decoded, after each; an exception that it
            raises ends the reading. None for nothing.
        outside_cause: Why reading failed, if the reason is not in the content: the file was replaced while it
            was read, a limit (`limits`) was reached, or memory does not suffice. Else empty.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        sampler: Sampler,
        chunk_frames: int,
        sampling: Sampling,
        crop: CropFile | None = None,
    ) -> None:
        self.path = self._source = Path(path)
        try:
            if not self.path.is_file():
                what = "is not a file" if self.path.exists() else "does not exist"
                raise VideoError(f"{self.path} {what}; the path of a video file is needed.")
            if is_crop(self.path):
                crop = read_crop(self.path)
                self._source = source_of(crop, self.path)
            self._state_of_file = _state_of(self._source)
            self._sha256 = sha256_of_file(self._source)
        except OSError as error:
            raise VideoError(f"{self.path} cannot be read: {error.strerror}.") from None
        if crop and self._sha256 != crop.source_sha256:
            raise VideoError(
                f"{self.path}: its video {self._source} has changed since the crop was made (its sha256 is "
                "another). Write the crops again with --boxes."
            )
        self.identity = crop.identity if crop else self._sha256
        self._crop = crop
        self.report = DecodeReport("failed", "decoding has not begun")
        self.on_frame: Callable[[int], None] | None = None
        self.outside_cause = ""
        self._sampler = sampler
        self._sampling = sampling
        self._chunk_frames = chunk_frames
        self._chunks = self._decode()

    def __next__(self) -> Frames:
        return next(self._chunks)

    def _decode(self) -> Iterator[Frames]:
        state = DecodingState()
        pending = _PendingChunk(self._chunk_frames)
        for index, seconds, picture, place in self._kept_frames(state):
            pending.add(index, seconds, picture, place)
            del picture  # so that the next one takes its memory, which is in the cache
            if len(pending) == self._chunk_frames:
                self.report = DecodeReport("partial", "decoding has not finished", state.num_decoded)
                yield pending.frames(self.identity)
                pending = _PendingChunk(self._chunk_frames)
        if self._was_replaced():
            state.error = "the file was replaced or written to while it was read; read it again"
            self.outside_cause = state.error
        self.report = state.report(self._sampler)
        if len(pending):
            yield pending.frames(self.identity)

    def _was_replaced(self) -> bool:
        """Whether the file is another one than when its sha256 was taken."""
        try:
            is_new = _state_of(self._source) != self._state_of_file
            return is_new and sha256_of_file(self._source) != self._sha256
        except OSError:
            return True

    def _kept_frames(self, state: DecodingState) -> Iterator[_KeptFrame]:
        """Sampled frames up to the end of the span or the file; the state shows what is missing.

        A picture may be overwritten when the next frame is taken.
        """
        limits = limits_in_force()
        try:
            num_bytes = self._source.stat().st_size
            if not num_bytes:
                raise VideoError("the file is empty (0 bytes)")
            with open_pass(self._source, self._sampler, self._sampling.stream, limits) as opened:
                state.begin(opened)
                clock, convert = opened.clock, _Converter(opened.stream, square=self._sampling.square)
                cutter: Cutter | None = None
                for frame in opened.frames:
                    state.num_corrupt += frame.is_corrupt
                    limits.check_count(clock.num_frames, num_bytes)
                    seconds = clock.seconds(frame)
                    if self.on_frame is not None:
                        self.on_frame(clock.num_frames)
                    if self._sampler.is_past(seconds):
                        state.ended_early = True
                        break
                    index = state.index_of(frame)
                    if self._sampler.keeps(index, seconds):
                        picture, row = convert(frame), None
                        if self._crop:
                            cutter = cutter or Cutter(self._crop, *picture.shape[:2])
                            place = cutter.place(index, seconds)
                            picture, row = cutter.cut(picture, place), place.row if place else WHOLE
                        yield index, seconds, picture, row
                        del picture  # so that the next one takes its memory
                        state.num_kept += 1
                state.promise = promise(
                    opened.container, opened.stream, opened.findings, clock.num_frames, clock.end_seconds
                )
        except VideoLimitError as error:
            state.error = self.outside_cause = str(error)
        except VideoError as error:
            state.error = str(error)
        except MemoryError:
            state.error = self.outside_cause = "memory does not suffice for its pictures"


class _PendingChunk:
    """A chunk that is being filled. Every picture is copied once, into its place.

    Args:
        size: Largest number of frames.
    """

    def __init__(self, size: int) -> None:
        self._room = min(size, _FIRST_ROOM)
        self._index: list[int] = []
        self._seconds: list[float | None] = []
        self._places: list[PlaceRow] = []
        self._pixels = np.empty((0, 0, 0, 3), np.uint8)

    def __len__(self) -> int:
        return len(self._index)

    def add(
        self, index: int, seconds: float | None, picture: NDArray[np.uint8], place: PlaceRow | None
    ) -> None:
        """Add a frame."""
        count = len(self)
        if not count:
            self._pixels = empty_pictures((self._room, *picture.shape))
        elif count == len(self._pixels):
            pixels = empty_pictures((2 * count, *picture.shape))
            pixels[:count] = self._pixels
            self._pixels = pixels
        self._pixels[count] = picture
        self._index.append(index)
        self._seconds.append(seconds)
        if place is not None:
            self._places.append(place)

    def frames(self, identity: str) -> Frames:
        """The frames of the chunk."""
        seconds = [value for value in self._seconds if value is not None]
        return Frames(
            pixels=self._pixels[: len(self)],
            seconds=np.array(seconds, dtype=np.float64) if len(seconds) == len(self) else None,
            frame_index=np.array(self._index, dtype=np.int64),
            identity=identity,
            crop_places=np.array(self._places) if self._places else None,
        )


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes when a file is replaced or written to."""
    state = path.stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


class _Converter:
    """Converts decoded frames to RGB arrays, all with the size and orientation of the first frame."""

    def __init__(self, stream: VideoStream, *, square: bool) -> None:
        self._reformatter = VideoReformatter()
        self._stream = stream
        self._square = square
        self._size: tuple[int, int] | None = None
        self._turns, self._mirrored = 0, False

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, as long as no other frame is decoded."""
        if self._size is None:
            aspect = pixel_aspect(self._stream) if self._square else 1
            self._size = max(1, round(frame.width * aspect)), frame.height
            self._turns, self._mirrored = orientation(frame)
        try:
            rgb = self._rgb(frame, *self._size)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            frame.colorspace = _UNTAGGED  # the frame names a colour matrix that is reserved or not supported
            rgb = self._rgb(frame, *self._size)
        return np.rot90(rgb[:, ::-1] if self._mirrored else rgb, self._turns)

    def _rgb(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        rgb = self._reformatter.reformat(frame, width, height, format="rgb24", threads=1)
        plane = rgb.planes[0]
        if plane.line_size < 3 * width:  # lines from the bottom to the top
            return rgb.to_ndarray().astype(np.uint8, copy=False)
        pixels = np.frombuffer(plane, np.uint8, plane.line_size * height)  # type: ignore[call-overload]  # a buffer
        lines = pixels.reshape(height, plane.line_size)
        return lines[:, : 3 * width].reshape(height, width, 3)
