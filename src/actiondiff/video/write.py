"""Writing of frames to video files."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from actiondiff.errors import UsageError
from actiondiff.provenance import atomic_path

__all__ = ["write_chunks", "write_numbered", "write_video"]

# crf is the quality scale of x264: 20 is visually close to lossless. The macroblock tree is off, since it
# gives different bytes from run to run on small pictures.
_QUALITY = {"crf": "20", "preset": "veryfast", "x264-params": "mbtree=0"}


def write_video(path: str | os.PathLike[str], pixels: NDArray[np.uint8], *, fps: float) -> None:
    """Write frames as H.264 in an MP4 file, whole or not at all; the same frames give the same bytes.

    Args:
        path: File to write, whose name ends with .mp4. Folders are created.
        pixels: (T, H, W, 3) uint8 RGB, T at least 1, H and W even (colour is stored at half the resolution).
        fps: Frames per second.

    Raises:
        UsageError: If the name, the array or the rate is not as described.
    """
    write_chunks(path, [pixels], fps=fps)


def write_chunks(path: str | os.PathLike[str], chunks: Iterable[NDArray[np.uint8]], *, fps: float) -> None:
    """Write frames that come in chunks, as `write_video` does, holding one chunk at a time in memory.

    Raises:
        UsageError: If the name, a chunk or the rate is not as described, or there is no chunk.
    """
    _check_file(path, fps)
    remaining = iter(chunks)
    first = next(remaining, np.zeros(0, dtype=np.uint8))
    _check(first)
    height, width = first.shape[1:3]
    with _encoder(path, height, width, fps) as (container, stream):
        for chunk in chain([first], remaining):
            _check(chunk)
            for picture in chunk:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_numbered(
    path: str | os.PathLike[str], pictures: Iterable[tuple[int, NDArray[np.uint8]]], *, fps: float
) -> None:
    """Write pictures that come with their numbers; a player shows each until the next one is due.

    So a pause of an hour takes no more bytes, and no more time to write, than one picture.

    Args:
        path: File to write, whose name ends with .mp4. Folders are created.
        pictures: Rising numbers with (H, W, 3) uint8 RGB pictures; picture n is shown at n / fps seconds.
        fps: Numbers per second.

    Raises:
        UsageError: If the name, a picture or the rate is not as described, or there is no picture.
    """
    _check_file(path, fps)
    remaining = iter(pictures)
    first = next(remaining, (0, np.zeros(0, dtype=np.uint8)))
    _check(first[1][None])
    height, width = first[1].shape[:2]
    with _encoder(path, height, width, fps) as (container, stream):
        for number, picture in chain([first], remaining):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, 1 / _rate(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@contextmanager
def _encoder(
    path: str | os.PathLike[str], height: int, width: int, fps: float
) -> Iterator[tuple[OutputContainer, VideoStream]]:
    """A file that appears when it is complete, and its stream."""
    with atomic_path(path) as aside, av.open(str(aside), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_rate(fps), options=_QUALITY)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # x264's threads change bits
        yield container, stream


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


def _check_file(path: str | os.PathLike[str], fps: float) -> None:
    if Path(path).suffix.lower() != ".mp4":
        raise UsageError(f"videos are written as .mp4; got {path}.")
    if not 0 < fps <= 1000:
        raise UsageError(f"fps must be above 0 and at most 1000; got {fps}.")


def _check(pixels: NDArray[np.uint8]) -> None:
    if pixels.ndim != 4 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8 or not len(pixels):
        raise UsageError(f"pixels must be (T, H, W, 3) uint8 with T >= 1; got {pixels.shape} {pixels.dtype}.")
    height, width = pixels.shape[1:3]
    if height % 2 or width % 2 or not height or not width:
        raise UsageError(
            f"H.264 needs an even width and height; got {width}x{height} px. Crop or pad by one."
        )
