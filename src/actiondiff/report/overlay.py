"""A heatmap laid over its video: to be watched, and as a strip of frames."""

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
from actiondiff.report.figures import frame_strip
from actiondiff.report.html import Picture
from actiondiff.types import Frames, Progress, Sampling
from actiondiff.video.opening import Video, picture_size, read_chunks
from actiondiff.video.probe import probe
from actiondiff.video.write import write_chunks

__all__ = ["colour_limits", "overlay_strip", "write_overlay", "write_strip"]

Pixels = NDArray[np.uint8]
_EVERY_FRAME = Sampling(stride=1)
_CHUNK = 16
_LEAST_HEIGHT, _MOST_HEIGHT = 240, 720
_BAR = 26  # px below the picture: the action, its colours and what they mean
_STRONGEST = 0.65  # share of the colour where the probability is highest


def write_overlay(
    path: str | os.PathLike[str],
    video: Video,
    heatmap: Heatmap,
    *,
    height_px: int | None = None,
    limits: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the video, every frame of it, under the heatmap's colours.

    Where the probability is at the lower limit or below, a picture is as it was. The time from one sampled
    frame to the next has the map of the former.

    Args:
        path: Where to; ends with .mp4.
        video: That the heatmap was made of: the same file, or the same frames.
        heatmap: What to show.
        height_px: Of the pictures; that of the video, within 240 to 720, if None.
        limits: Probabilities without and with full colour; the prior and the map's highest if None.
        progress: Called with the frames that are drawn.

    Raises:
        UsageError: If the name is no .mp4, or heights or limits do not fit.
        VideoError: If the file cannot be read.
    """
    size = _size(video, height_px)
    low, high = limits or colour_limits(heatmap)
    if not low < high:
        raise UsageError(f"limits rise from the first to the second; got {low:g} and {high:g}.")

    def chunks() -> Iterator[Pixels]:
        for chunk in read_chunks(video, _EVERY_FRAME, chunk_frames=_CHUNK, progress=progress):
            yield np.stack([_frame(chunk, i, heatmap, size, (low, high)) for i in range(len(chunk))])

    write_chunks(path, chunks(), fps=_rate(heatmap, video))


def overlay_strip(video: Video, heatmap: Heatmap, *, num_frames: int = 6, height_px: int = 160) -> Picture:
    """Frames evenly spread over the video, under the heatmap's colours.

    Raises:
        VideoError: If the file cannot be read.
    """
    count = min(num_frames, len(heatmap.frame_index))
    chosen = [(2 * i + 1) * len(heatmap.frame_index) // (2 * count) for i in range(count)]
    wanted = {int(heatmap.frame_index[t]) for t in chosen}
    size, limits = _size(video, height_px), colour_limits(heatmap)
    shown: list[Pixels] = []
    for chunk in read_chunks(video, _EVERY_FRAME, chunk_frames=_CHUNK):
        here = [i for i, frame in enumerate(chunk.frame_index) if int(frame) in wanted]
        shown += [_frame(chunk, i, heatmap, size, limits) for i in here]
        if len(shown) == len(wanted):
            break
    caption = (
        f"{heatmap.action}: without colour up to {limits[0]:.2f}, the brightest at {limits[1]:.2f}, which is "
        "the highest of the video."
    )
    return frame_strip(np.stack(shown), caption, num_frames=count, height_px=shown[0].shape[0])


def write_strip(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write a strip as a PNG."""
    with atomic_path(path) as aside:
        Image.fromarray(picture.pixels).save(aside, format="png")


def colour_limits(heatmap: Heatmap) -> tuple[float, float]:
    """From the prior to the map's highest; where nothing exceeds the prior, nothing is coloured."""
    return heatmap.prior, max(float(heatmap.probabilities.max()), heatmap.prior + 0.01)


def _size(video: Video, height_px: int | None) -> tuple[int, int]:
    """Height and width of the pictures, even."""
    height, width = picture_size(video)
    wanted = height_px or min(max(height, _LEAST_HEIGHT), _MOST_HEIGHT)
    if wanted < 16:
        raise UsageError(f"pictures need a height of 16 pixels or more; got {wanted}.")
    even = wanted // 2 * 2
    return even, max(2, round(width * even / height / 2) * 2)


def _rate(heatmap: Heatmap, video: Video) -> float:
    """Raw frames a second."""
    if heatmap.seconds is None or len(heatmap.seconds) < 2:
        return 25.0 if isinstance(video, Frames) else probe(video).average_rate or 25.0
    time = float(heatmap.seconds[-1] - heatmap.seconds[0])
    if isinstance(video, Frames):  # these are all there is to show
        return float(np.clip((len(heatmap.seconds) - 1) / time, 1, 1000))
    return float(np.clip(int(heatmap.frame_index[-1] - heatmap.frame_index[0]) / time, 1, 1000))


def _frame(
    chunk: Frames, i: int, heatmap: Heatmap, size: tuple[int, int], limits: tuple[float, float]
) -> Pixels:
    """One picture (height + bar, width, 3) under its colours, and the bar that explains them."""
    t = max(0, int(np.searchsorted(heatmap.frame_index, chunk.frame_index[i], side="right")) - 1)
    picture = np.asarray(Image.fromarray(chunk.pixels[i]).resize(size[::-1], Image.Resampling.BILINEAR))
    values = heatmap[t : t + 1].at(*size)[0]
    place = ((values - limits[0]) / (limits[1] - limits[0])).clip(0, 1)[..., None]
    colour = 255 * matplotlib.colormaps["inferno"](0.25 + 0.75 * place[..., 0])[..., :3]
    mixed = (1 - _STRONGEST * place) * picture + _STRONGEST * place * colour
    seconds = None if chunk.seconds is None else float(chunk.seconds[i])
    top = float(heatmap.probabilities[t].max())
    return np.concatenate(
        [mixed.round().astype(np.uint8), _bar(heatmap.action, seconds, top, size[1], limits)]
    )


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """That of the figures: Pillow's own has no letters but Latin ones."""
    return ImageFont.truetype(matplotlib.font_manager.findfont("DejaVu Sans"), 11)


def _bar(action: str, seconds: float | None, top: float, width: int, limits: tuple[float, float]) -> Pixels:
    """(26, width, 3): `eating 0.83   0.12 [colours] 0.90   3.2 s`, as much of it as there is room for."""
    bar = Image.new("RGB", (width, _BAR), (24, 24, 24))
    draw = ImageDraw.Draw(bar)
    font = _font()
    white = (240, 240, 240)
    seconds_px, ramp_px = 60 if width >= 160 else 0, 140 if width >= 300 else 0
    room = width // 2 - ramp_px // 2 - 12 if ramp_px else width - seconds_px - 12
    words = " ".join(action.split())
    said = f"{words} {top:.2f}"
    while words and draw.textlength(said, font) > room:
        words = words[:-1]
        said = f"{words}… {top:.2f}"
    draw.text((6, 5), said, fill=white, font=font)
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
