"""Cutting a video's sampled frames into the windows of fixed length that backbones take."""

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias, get_args

import numpy as np

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.types import Frames, Window

__all__ = ["Padding", "iter_windows", "plan_windows"]

Padding: TypeAlias = Literal["black", "repeat", "shift"]
"""How the last window is filled if frames are missing: `black` adds black frames, `repeat` repeats the last
frame, and `shift` starts the window early enough to be full; features of the overlap are averaged later. If
the whole video is shorter than a window, `shift` works like `repeat`."""


def plan_windows(num_frames: int, *, length: int, padding: Padding) -> list[Window]:
    """Windows that cover the sampled frames in order, without overlap except for the last one of `shift`.

    Args:
        num_frames: Number of sampled frames T; 0 gives no window.
        length: L, slots per window.
        padding: How the last window is filled.

    Raises:
        UsageError: If num_frames is negative or length is below 1.
        UnknownNameError: If the padding is unknown.

    Example:
        >>> [window.slots for window in plan_windows(5, length=3, padding="black")]
        [(0, 1, 2), (3, 4, -1)]
        >>> [window.slots for window in plan_windows(5, length=3, padding="shift")]
        [(0, 1, 2), (2, 3, 4)]

    Source: the released code appends black frames and cuts without overlap.
    """
    _check(length, padding)
    if num_frames < 0:
        raise UsageError(f"num_frames cannot be negative; got {num_frames}.")
    full = [_full(start, length) for start in range(0, num_frames - length + 1, length)]
    return full if num_frames == len(full) * length else [*full, _last(num_frames, length, padding)]


def iter_windows(
    chunks: Iterable[Frames], *, length: int, padding: Padding
) -> Iterator[tuple[Window, Frames]]:
    """The windows of `plan_windows` with their frames, from a stream of chunks.

    Frames are held only as long as their window needs them, so that memory does not grow with the video. The
    sizes of the chunks change nothing.

    Args:
        chunks: Consecutive frames of one video; chunks may have any size.
        length: L, slots per window.
        padding: How the last window is filled.

    Returns:
        Iterator over windows and exactly L frames each, in the order of slots. Black frames are zeros;
        frame_index and seconds of padded slots repeat those of the last real frame.

    Raises:
        UsageError: If length is below 1.
        UnknownNameError: If the padding is unknown.
    """
    _check(length, padding)
    return _windows(chunks, length, padding)


def _windows(chunks: Iterable[Frames], length: int, padding: Padding) -> Iterator[tuple[Window, Frames]]:
    held: list[Frames] = []
    # Indices of sampled frames: the first in `held`, the start of the next window, and how many came so far.
    first = start = total = 0
    for chunk in chunks:
        held.append(chunk)
        total += len(chunk)
        if total - start < length:
            continue
        frames = _join(held)
        while total - start >= length:
            yield _full(start, length), frames[start - first : start - first + length]
            start += length
        keep = start - length if padding == "shift" else start  # a shifted window reaches back into the last
        held, first = [frames[keep - first :]], keep
    if start < total:
        window = _last(total, length, padding)
        yield window, _fill(_join(held), first, window)


def _full(start: int, length: int) -> Window:
    return Window(tuple(range(start, start + length)), length)


def _last(num_frames: int, length: int, padding: Padding) -> Window:
    """The last window, whose frames do not fill it."""
    if padding == "shift" and num_frames >= length:
        return _full(num_frames - length, length)
    num_real = num_frames % length
    filler = -1 if padding == "black" else num_frames - 1
    slots = (*range(num_frames - num_real, num_frames), *[filler] * (length - num_real))
    return Window(slots, num_real)


def _fill(frames: Frames, first: int, window: Window) -> Frames:
    """Frames in the order of a window's slots; `frames` begins with sampled frame number `first`."""
    slots = np.array(window.slots)
    black = slots < 0
    taken = np.where(black, window.slots[window.num_real - 1], slots) - first
    pixels = frames.pixels[taken]
    pixels[black] = 0
    seconds = None if frames.seconds is None else frames.seconds[taken]
    places = None if frames.crop_places is None else frames.crop_places[taken]
    return Frames(pixels, seconds, frames.frame_index[taken], frames.identity, frames.report, places)


def _join(chunks: list[Frames]) -> Frames:
    if len(chunks) == 1:
        return chunks[0]
    seconds = [chunk.seconds for chunk in chunks if chunk.seconds is not None]
    places = [chunk.crop_places for chunk in chunks if chunk.crop_places is not None]
    return Frames(
        pixels=np.concatenate([chunk.pixels for chunk in chunks]),
        seconds=np.concatenate(seconds) if len(seconds) == len(chunks) else None,
        frame_index=np.concatenate([chunk.frame_index for chunk in chunks]),
        identity=chunks[-1].identity,
        report=chunks[-1].report,
        crop_places=np.concatenate(places) if len(places) == len(chunks) else None,
    )


def _check(length: int, padding: str) -> None:
    if length < 1:
        raise UsageError(f"a window's length is at least 1; got {length}.")
    if padding not in get_args(Padding):
        raise UnknownNameError("padding", padding, get_args(Padding))
