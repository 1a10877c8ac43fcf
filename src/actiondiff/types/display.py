"""How values show themselves: one line at a prompt, a picture in a notebook."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["bars", "bouts_picture", "count_and_span", "film_strip", "heat_picture", "summary_table", "titled"]

_MOST_PICTURES, _THUMBNAIL_HEIGHT = 8, 90  # of a film strip; pixels
_MOST_CHANNELS = 64  # of a heat picture
_MOST_BARS = 10
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7d4f8d", "#66696f")
_ROW, _WIDTH, _LABELS = 22, 640, 150  # pixels of a row, of the time axis and of the labels beside it


def titled(video: str, individual: str) -> str:
    """A video and the individual in it that a result is about, such as `a.mp4 · fox`."""
    return f"{video} · {individual}" if individual else video


def count_and_span(count: int, noun: str, seconds: NDArray[np.float64] | None) -> str:
    """A number of things and the time that they cover, such as `16 frames, 0.00 to 2.40 s`."""
    text = f"{count} {noun if count == 1 else noun + 's'}"
    if count == 0:
        return text
    return f"{text}, times unknown" if seconds is None else f"{text}, {seconds[0]:.2f} to {seconds[-1]:.2f} s"


def film_strip(pixels: NDArray[np.uint8], seconds: NDArray[np.float64] | None, title: str) -> str:
    """Evenly spaced frames side by side, as HTML.

    Args:
        pixels: (T, H, W, 3) uint8 frames.
        seconds: (T,) float64 times; None if unknown.
        title: Text above the strip.
    """
    chosen = np.unique(np.linspace(0, len(pixels) - 1, min(_MOST_PICTURES, len(pixels))).round().astype(int))
    figures = []
    for index in chosen:
        under = f"frame {index}" if seconds is None else f"{seconds[index]:.2f} s"
        picture = _picture(pixels[index], height=_THUMBNAIL_HEIGHT)
        figures.append(
            f'<figure style="margin:0"><img src="{picture}" alt="{under}">'
            f'<figcaption style="font-size:75%">{under}</figcaption></figure>'
        )
    return (
        f'<div>{escape(title)}</div><div style="display:flex;gap:4px;flex-wrap:wrap">{"".join(figures)}</div>'
    )


def heat_picture(tokens: NDArray[np.floating[Any]]) -> str:
    """The first channels of tokens over time, each scaled to its own range, as HTML.

    Args:
        tokens: (T, C) tokens.
    """
    values = np.nan_to_num(np.asarray(tokens[:, :_MOST_CHANNELS], dtype=np.float64).T)
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    grey = (255 * (values - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)
    picture = _picture(np.repeat(grey[..., None], 3, axis=2), height=2 * len(grey))
    return (
        f'<img src="{picture}" alt="channels over time" style="width:{_WIDTH}px;image-rendering:pixelated">'
    )


def summary_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def bars(probabilities: Mapping[str, float], title: str) -> str:
    """The most probable labels as bars, as HTML."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    lines = [
        f'<text x="{_LABELS - 8}" y="{_ROW * row + 15}" text-anchor="end">{escape(label)}</text>'
        f'<rect x="{_LABELS}" y="{_ROW * row + 3}" width="{300 * value:.1f}" height="16" '
        f'fill="{_COLOURS[0]}"/>'
        f'<text x="{_LABELS + 6 + 300 * value:.1f}" y="{_ROW * row + 15}">{value:.2f}</text>'
        for row, (label, value) in enumerate(ranked[:_MOST_BARS])
    ]
    rest = len(ranked) - _MOST_BARS
    more = f"<div>and {rest} less probable</div>" if rest > 0 else ""
    return f"<div>{escape(title)}</div>{_svg(lines, _LABELS + 360, _ROW * len(lines))}{more}"


def bouts_picture(
    labels: Sequence[str], bouts: Iterable[tuple[str, float, float]], end_seconds: float, title: str
) -> str:
    """Bouts along time, one row per label that has any, as HTML.

    Args:
        labels: All labels, in the order of the colours.
        bouts: Label, start and end of each bout in seconds.
        end_seconds: End of the video.
        title: Text above the picture.
    """
    bouts = list(bouts)
    present = [label for label in labels if any(label == name for name, _, _ in bouts)]
    scale = _WIDTH / max(end_seconds, 1e-9)
    lines = [
        f'<text x="{_LABELS - 8}" y="{_ROW * row + 15}" text-anchor="end">{escape(label)}</text>'
        f'<line x1="{_LABELS}" x2="{_LABELS + _WIDTH}" y1="{_ROW * (row + 1)}" y2="{_ROW * (row + 1)}" '
        'stroke="#d4d6da"/>'
        for row, label in enumerate(present)
    ]
    for label, start, end in bouts:
        colour = _COLOURS[list(labels).index(label) % len(_COLOURS)]
        lines.append(
            f'<rect x="{_LABELS + scale * start:.2f}" y="{_ROW * present.index(label) + 3}" '
            f'width="{max(scale * (end - start), 1):.2f}" height="16" fill="{colour}">'
            f"<title>{escape(label)}, {start:.2f} to {end:.2f} s</title></rect>"
        )
    bottom = _ROW * len(present) + 16
    lines += [
        f'<text x="{_LABELS}" y="{bottom}">0 s</text>',
        f'<text x="{_LABELS + _WIDTH}" y="{bottom}" text-anchor="end">{end_seconds:.1f} s</text>',
    ]
    return f"<div>{escape(title)}</div>{_svg(lines, _LABELS + _WIDTH + 10, bottom + 8)}"


def _svg(lines: Iterable[str], width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'style="max-width:100%" font-family="sans-serif" font-size="13" fill="currentColor">{"".join(lines)}'
        "</svg>"
    )


def _picture(pixels: NDArray[np.uint8], *, height: int) -> str:
    """A picture as a data address, (H, W, 3) uint8, scaled to a height."""
    from PIL import Image  # loads for a while, and only notebooks need it

    image = Image.fromarray(pixels)
    size = (max(1, round(image.width * height / image.height)), height)
    buffer = io.BytesIO()
    image.resize(size).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
