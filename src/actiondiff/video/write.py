"""Writing of frames to video files."""

import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from actiondiff.errors import UsageError
from actiondiff.provenance import atomic_path

__all__ = ["write_chunks", "write_video"]

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
    if Path(path).suffix.lower() != ".mp4":
        raise UsageError(f"videos are written as .mp4; got {path}.")
    if not 0 < fps <= 1000:
        raise UsageError(f"fps must be above 0 and at most 1000; got {fps}.")
    remaining = iter(chunks)
    first = next(remaining, np.zeros(0, dtype=np.uint8))
    _check(first)
    height, width = first.shape[1:3]
    with atomic_path(path) as aside, av.open(str(aside), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=_QUALITY)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # x264's threads change bits
        for chunk in chain([first], remaining):
            _check(chunk)
            for picture in chunk:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _check(pixels: NDArray[np.uint8]) -> None:
    if pixels.ndim != 4 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8 or not len(pixels):
        raise UsageError(f"pixels must be (T, H, W, 3) uint8 with T >= 1; got {pixels.shape} {pixels.dtype}.")
    height, width = pixels.shape[1:3]
    if height % 2 or width % 2 or not height or not width:
        raise UsageError(
            f"H.264 needs an even width and height; got {width}x{height} px. Crop or pad by one."
        )
