"""Heatmaps laid over their videos, as a video and as a strip of frames."""

import functools
import os
from collections.abc import Iterator

import matplotlib
import matplotlib.font_manager
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from actiondiff.errors import UsageError
from actiondiff.inference.localization import Heatmap
from actiondiff.provenance import atomic_path
from actiondiff.report.items import Picture
from actiondiff.report.strips import frame_strip
from actiondiff.types import Frames, Progress, Sampling
from actiondiff.video.opening import Video, picture_size, read_chunks
from actiondiff.video.probe import probe
from actiondiff.video.write import write_chunks

__all__ = ["colour_limits", "overlay_strip", "write_overlay", "write_strip"]

Pixels = NDArray[np.uint8]
_EVERY_FRAME = Sampling(stride=1, square=True)
_CHUNK = 16
_LEAST_HEIGHT, _MOST_HEIGHT = 240, 720
_BAR = 26  # px, height of the bar below the picture that names the action and explains the colours
_STRONGEST = 0.65  # opacity of the colour where the probability is highest


def write_overlay(
    path: str | os.PathLike[str],
    video: Video,
    heatmap: Heatmap,
    *,
    height_px: int | None = None,
    limits: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a video with every frame under the colours of its heatmap.

    Where the probability is at the lower limit or below, the picture is unchanged. Frames between two sampled
    frames are shown with the map of the former.

    Args:
        path: File to write to; the name must end with .mp4.
        video: Video that the heatmap was made from: the same file, or the same frames.
        heatmap: Heatmap to show.
        height_px: Height of the pictures; None for the height of the video, limited to 240 to 720.
        limits: Probabilities at which the colour begins and is strongest; None for the prior and the highest
            probability of the heatmap.
        progress: Called with the frames that are drawn.

    Raises:
        UsageError: If the name does not end with .mp4, or height or limits are invalid.
        VideoError: If the file cannot be read.
    """
    size = _size(video, height_px)
    low, high = limits or colour_limits(heatmap)
    if not low < high:
        raise UsageError(f"the lower limit must be below the upper one; got {low:g} and {high:g}.")

    def chunks() -> Iterator[Pixels]:
        for chunk in read_chunks(video, _EVERY_FRAME, chunk_frames=_CHUNK, progress=progress):
            yield np.stack([_frame(chunk, i, heatmap, size, (low, high)) for i in range(len(chunk))])

    write_chunks(path, chunks(), fps=_rate(heatmap, video))


def overlay_strip(video: Video, heatmap: Heatmap, *, num_frames: int = 6, height_px: int = 160) -> Picture:
    """Make a strip of evenly spaced frames under the colours of the heatmap.

    Raises:
        VideoError: If the file cannot be read.
    """
    count = min(num_frames, len(heatmap.frame_index))
    chosen = [(2 * i + 1) * len(heatmap.frame_index) // (2 * count) for i in range(count)]
    wanted = {int(heatmap.frame_index[t]) for t in chosen}
    size, limits = _size(video, height_px), colour_limits(heatmap)
    pictures: list[Pixels] = []
    for chunk in read_chunks(video, _EVERY_FRAME, chunk_frames=_CHUNK):
        here = [i for i, frame in enumerate(chunk.frame_index) if int(frame) in wanted]
        pictures += [_frame(chunk, i, heatmap, size, limits) for i in here]
        if len(pictures) == len(wanted):
            break
    caption = (
        f"{heatmap.action}: the colour begins at a probability of {limits[0]:.2f} and is brightest at "
        f"{limits[1]:.2f}, the highest in the video."
    )
    return frame_strip(np.stack(pictures), caption, num_frames=count, height_px=pictures[0].shape[0])


def write_strip(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write a strip as a PNG file."""
    with atomic_path(path) as aside:
        Image.fromarray(picture.pixels).save(aside, format="png")


def colour_limits(heatmap: Heatmap) -> tuple[float, float]:
    """Limits of the colours: the prior, and the highest probability of the heatmap if that is higher."""
    return heatmap.prior, max(float(heatmap.probabilities.max()), heatmap.prior + 0.01)


def _size(video: Video, height_px: int | None) -> tuple[int, int]:
    """Height and width of the pictures, both even."""
    height, width = picture_size(video)
    wanted = height_px or min(max(height, _LEAST_HEIGHT), _MOST_HEIGHT)
    if wanted < 16:
        raise UsageError(f"height_px must be at least 16; got {wanted}.")
    even = wanted // 2 * 2
    return even, max(2, round(width * even / height / 2) * 2)


def _rate(heatmap: Heatmap, video: Video) -> float:
    """Raw frames per second."""
    if heatmap.seconds is None or len(heatmap.seconds) < 2:
        return 25.0 if isinstance(video, Frames) else probe(video).average_rate or 25.0
    time = float(heatmap.seconds[-1] - heatmap.seconds[0])
    if isinstance(video, Frames):  # there are no further frames between them
        return float(np.clip((len(heatmap.seconds) - 1) / time, 1, 1000))
    return float(np.clip(int(heatmap.frame_index[-1] - heatmap.frame_index[0]) / time, 1, 1000))


def _frame(
    chunk: Frames, i: int, heatmap: Heatmap, size: tuple[int, int], limits: tuple[float, float]
) -> Pixels:
    """One picture (height + bar, width, 3) uint8 under its colours, with the bar that explains them."""
    t = max(0, int(np.searchsorted(heatmap.frame_index, chunk.frame_index[i], side="right")) - 1)
    picture = np.asarray(Image.fromarray(chunk.pixels[i]).resize(size[::-1], Image.Resampling.BILINEAR))
    values = heatmap[t : t + 1].at(*size)[0]
    strength = ((values - limits[0]) / (limits[1] - limits[0])).clip(0, 1)[..., None]
    colour = 255 * matplotlib.colormaps["inferno"](0.25 + 0.75 * strength[..., 0])[..., :3]
    mixed = (1 - _STRONGEST * strength) * picture + _STRONGEST * strength * colour
    seconds = None if chunk.seconds is None else float(chunk.seconds[i])
    top = float(heatmap.probabilities[t].max())
    return np.concatenate(
        [mixed.round().astype(np.uint8), _bar(heatmap.action, seconds, top, size[1], limits)]
    )


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """Font of the figures, because Pillow's own font has Latin letters only."""
    return ImageFont.truetype(matplotlib.font_manager.findfont("DejaVu Sans"), 11)


def _bar(action: str, seconds: float | None, top: float, width: int, limits: tuple[float, float]) -> Pixels:
    """(26, width, 3) uint8: `eating 0.83   0.12 [colours] 0.90   3.2 s`, or as much of it as fits."""
    bar = Image.new("RGB", (width, _BAR), (24, 24, 24))
    draw = ImageDraw.Draw(bar)
    font = _font()
    white = (240, 240, 240)
    seconds_px, ramp_px = 60 if width >= 160 else 0, 140 if width >= 300 else 0
    # The action and its highest probability, shortened until they fit.
    room = width // 2 - ramp_px // 2 - 12 if ramp_px else width - seconds_px - 12
    words = " ".join(action.split())
    text = f"{words} {top:.2f}"
    while words and draw.textlength(text, font) > room:
        words = words[:-1]
        text = f"{words}… {top:.2f}"
    draw.text((6, 5), text, fill=white, font=font)
    # The colours between their limits, and the time, where there is room.
    if ramp_px:
        ramp = matplotlib.colormaps["inferno"](np.linspace(0.25, 1, 60))[:, :3]
        strip = np.repeat((255 * ramp).astype(np.uint8)[None], 10, axis=0)
        middle = width // 2
        bar.paste(Image.fromarray(strip), (middle - 30, 8))
        draw.text((middle - 36, 5), f"{limits[0]:.2f}", fill=white, font=font, anchor="ra")
        draw.text((middle + 36, 5), f"{limits[1]:.2f}", fill=white, font=font)
    if seconds is not None and seconds_px:
        draw.text((width - 6, 5), f"{seconds:.1f} s", fill=white, font=font, anchor="ra")
    return np.asarray(bar)
