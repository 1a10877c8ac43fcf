"""Figures that every report uses: heatmaps, bars, frames. Scores are plain numbers in [0, 1]."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from unicodedata import east_asian_width

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import NDArray
from PIL import Image

from actiondiff.errors import UsageError
from actiondiff.report.card import percent
from actiondiff.report.drawing import INK, SERIES, Figure, canvas, shade, styled
from actiondiff.report.html import Picture
from actiondiff.report.tables import Score

__all__ = [
    "bars",
    "best_over_rows",
    "draw_cells",
    "frame_strip",
    "heat_strip",
    "heatmap",
    "label_of",
    "legend_name",
    "long_table",
    "longest_inches",
    "scaled",
]

Unit = Literal["percent", "count", "number"]
Matrix = NDArray[np.floating]
_LONG = 28  # characters of a label that a figure shows; tables and CSV have it whole
_MANY = 30  # cells across from which numbers are no longer written into them


def label_of(name: object) -> str:
    """A name as a figure shows it: shortened at the end, on one line."""
    text = " ".join(str(name).split()) or "(empty)"
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def longest_inches(names: Sequence[object]) -> float:
    """Room that the longest of some names takes in a figure; a Chinese character is two letters wide."""
    shown = [label_of(name) for name in names]
    return 0.075 * max((sum(1 + (east_asian_width(c) in "WF") for c in name) for name in shown), default=0)


@styled()
def heatmap(
    values: Matrix,
    *,
    rows: Sequence[object],
    columns: Sequence[object],
    title: str,
    name: str = "heatmap",
    row_title: str = "",
    column_title: str = "",
    caption: str = "",
    floor: float | None = None,
    limits: tuple[float, float] | None = None,
    centre: float | None = None,
    unit: Unit = "percent",
    best: bool = False,
) -> Figure:
    """A matrix of scores, each written into its cell.

    Args:
        values: (rows, columns); NaN where there is no number, which shows as a dash.
        rows: Their names, from the top.
        columns: Their names.
        title: Heading.
        name: Stem of its files.
        row_title: What the rows are.
        column_title: What the columns are.
        caption: What it shows and on what.
        floor: What a guess scores; said in the caption.
        limits: Ends of the colours; the numbers' own if None.
        centre: For gains and correlations: the value that is neither good nor bad, which is drawn pale.
        unit: How numbers are written.
        best: Also draw the best over the rows, below, as a curve over the columns.

    Raises:
        UsageError: If the names do not fit the numbers.
    """
    values = _checked(values, rows, columns)
    cell = 0.62 if unit != "number" else 0.66
    margin = longest_inches(rows) + 0.9
    width = min(11.0, max(3.6, margin + cell * max(1, len(columns)) + 0.6))
    below = max(0.9, 0.5 + 0.65 * longest_inches(columns))  # names of columns, at 40 degrees
    height = max(1.6, below + 0.34 * len(rows)) + (1.3 if best else 0.0)
    drawing, axes = canvas(width, height)
    if best:
        drawing.clear()
        axes, curve = drawing.subplots(2, 1, height_ratios=(height - 2.2, 1.2), sharex=True)
        draw_best(curve, values, floor=floor, column_title=column_title, columns=columns)
    draw_cells(
        axes, values, rows=rows, columns=columns, row_title=row_title,
        column_title="" if best else column_title, limits=limits, centre=centre, unit=unit,
    )  # fmt: skip
    said = _floor_said(floor)
    return Figure(
        name=name,
        drawing=drawing,
        title=title,
        alt=f"{title}. {_extremes(values, rows, columns, unit)}",
        caption=" ".join(part for part in (caption, said) if part),
        data=long_table(values, rows, columns, row_title or "row", column_title or "column"),
    )


def draw_cells(
    axes: Axes,
    values: Matrix,
    *,
    rows: Sequence[object],
    columns: Sequence[object],
    row_title: str = "",
    column_title: str = "",
    limits: tuple[float, float] | None = None,
    centre: float | None = None,
    unit: Unit = "percent",
) -> None:
    """The matrix itself, on given axes; see `heatmap`."""
    known = values[np.isfinite(values)]
    low, high = limits or ((float(known.min()), float(known.max())) if len(known) else (0.0, 1.0))
    if centre is not None:
        reach = max(abs(high - centre), abs(low - centre), 1e-9)
        low, high = centre - reach, centre + reach
    norm = Normalize(low, high if high > low else low + 1e-9)
    colours = matplotlib.colormaps["cividis" if centre is None else "PuOr_r"]
    axes.pcolormesh(np.ma.masked_invalid(values), cmap=colours, norm=norm, edgecolors="white", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(columns)) + 0.5, [label_of(column) for column in columns])
    axes.set_yticks(np.arange(len(rows)) + 0.5, [label_of(row) for row in rows])
    if max(len(label_of(column)) for column in columns) > 6:
        axes.tick_params(axis="x", rotation=40)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    inches = axes.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    room = 72 * 0.75 * np.array([inches[0] / len(columns), inches[1] / len(rows)])  # points a name
    axes.tick_params(axis="x", length=0, labelsize=float(np.clip(room[0], 3.5, 9)))
    axes.tick_params(axis="y", length=0, labelsize=float(np.clip(room[1], 3.5, 9)))
    axes.spines[:].set_visible(False)
    axes.set_xlabel(column_title)
    axes.set_ylabel(row_title)
    if max(values.shape) > _MANY:
        axes.figure.colorbar(axes.collections[0], ax=axes, shrink=0.6).outline.set_visible(False)
        return
    for (i, j), value in np.ndenumerate(values):
        colour = shade(*colours(norm(value))[:3]) if np.isfinite(value) else INK
        axes.text(
            j + 0.5, i + 0.5, _written(float(value), unit), ha="center", va="center", color=colour, fontsize=8
        )


def best_over_rows(values: Matrix) -> NDArray[np.float64]:
    """(columns,) the highest number of each column; NaN where a column has none."""
    filled = np.where(np.isfinite(values), values, -np.inf).max(axis=0)
    return np.where(np.isfinite(filled), filled, np.nan)


def draw_best(
    axes: Axes,
    values: Matrix,
    *,
    floor: float | None,
    columns: Sequence[object],
    column_title: str,
    chosen: Sequence[float] | None = None,
) -> None:
    """The curve below a heatmap: the best over its rows; as open circles that of the chosen ones."""
    best = best_over_rows(values)
    place = np.arange(len(columns)) + 0.5
    axes.plot(place, 100 * best, marker="o", markersize=4, color=SERIES[0])
    if np.isfinite(best).any():
        top = int(np.nanargmax(best))
        axes.plot(place[top], 100 * best[top], marker="o", markersize=8, color=SERIES[1])
    if chosen is not None:
        axes.plot(place, 100 * np.asarray(chosen), "o:", markersize=6, fillstyle="none", color=INK)
    if floor is not None:
        axes.axhline(100 * floor, color=SERIES[7], linestyle="--", linewidth=1)
    axes.set_xticks(place, [label_of(column) for column in columns])
    axes.set_ylabel("best (%)")
    axes.margins(y=0.18)
    axes.set_xlabel(column_title)
    axes.grid(axis="y")


@styled()
def bars(
    scores: Mapping[str, Mapping[str, Score]],
    *,
    title: str,
    name: str = "scores",
    floor: Mapping[str, float | None] | None = None,
    floor_title: str = "prior floor",
    caption: str = "",
    value_title: str = "accuracy (%)",
) -> Figure:
    """Scores side by side with their intervals: a group of bars a test, a bar a model, a line for the floor.

    Args:
        scores: Model -> test -> score, as `score_table` takes it.
        title: Heading.
        name: Stem of its files.
        floor: Test -> what a guess scores.
        floor_title: What the floor is.
        caption: What the bars and intervals are.
        value_title: The axis.
    """
    tests = list(dict.fromkeys(test for row in scores.values() for test in row))
    drawing, axes = canvas(min(10.5, 1.6 + len(tests) * (0.55 + 0.24 * len(scores))), 3.4)
    step = 0.8 / max(1, len(scores))
    rows = []
    for i, (model, row) in enumerate(scores.items()):
        found = [row.get(test, Score(None)) for test in tests]
        middle = np.array([np.nan if s.value is None else 100 * s.value for s in found])
        low = np.array([m if s.low is None else 100 * s.low for s, m in zip(found, middle, strict=True)])
        high = np.array([m if s.high is None else 100 * s.high for s, m in zip(found, middle, strict=True)])
        place = np.arange(len(tests)) - 0.4 + step * (i + 0.5)
        hatch = "////" if i >= len(SERIES) else ""
        axes.bar(
            place, middle, step * 0.88, color=SERIES[i % len(SERIES)], hatch=hatch, label=legend_name(model)
        )
        axes.vlines(place, low, high, color=INK, linewidth=1.1)
        rows += [(model, test, s.value, s.low, s.high) for test, s in zip(tests, found, strict=True)]
    lines = [
        (j, float(floor[test] or 0)) for j, test in enumerate(tests) if floor and floor.get(test) is not None
    ]
    if lines:
        place, heights = np.array(lines).T
        axes.hlines(100 * heights, place - 0.45, place + 0.45, color=INK, linestyle="--", label=floor_title)
    axes.set_xticks(range(len(tests)), [label_of(test) for test in tests])
    axes.set_ylabel(value_title)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    handles: list[Any] = [*axes.containers, *axes.collections[len(scores) :]]  # the floor last
    drawing.legend(handles, [str(h.get_label()) for h in handles], loc="outside upper left", ncols=4)
    data = pd.DataFrame(rows, columns=["model", "test", "score", "low", "high"])
    data["floor"] = [(floor or {}).get(test) for test in data["test"]]
    spoken = "; ".join(
        f"{model}: " + ", ".join(f"{test} {percent(s.value)}" for test, s in row.items())
        for model, row in scores.items()
    )
    return Figure(name, drawing, title, f"{title}. {spoken}", caption, data)


def frame_strip(
    frames: NDArray[np.uint8],
    caption: str,
    *,
    num_frames: int = 4,
    height_px: int = 96,
    alt: str = "",
) -> Picture:
    """Frames of a clip, evenly spaced over it, beside each other.

    Args:
        frames: (T, H, W, 3) uint8, RGB.
        caption: Below them.
        num_frames: How many to show, at most.
        height_px: Height they are scaled to.
        alt: What is to be seen; the caption and the number of frames if empty.

    Raises:
        UsageError: If there is no frame, or they have another shape.
    """
    chosen = _spread(frames, num_frames)
    shown = [scaled(frames[i], height_px) for i in chosen]
    return Picture(_beside(shown), caption, alt or f"{len(chosen)} frames of a clip: {caption}")


def heat_strip(
    frames: NDArray[np.uint8],
    heat: NDArray[np.floating],
    caption: str,
    *,
    limits: tuple[float, float] = (0.0, 1.0),
    num_frames: int = 4,
    height_px: int = 96,
) -> Picture:
    """Frames, and below each the same under its heatmap: bright where the number is high.

    Args:
        frames: (T, H, W, 3) uint8, RGB.
        heat: (T, gh, gw), a number for each place of each frame.
        caption: Below them.
        limits: Numbers at the ends of the colours.
        num_frames: How many to show, at most.
        height_px: Height of a row.

    Raises:
        UsageError: If there is no frame, or heat and frames do not fit.
    """
    if heat.ndim != 3 or len(heat) != len(frames):
        raise UsageError(f"{len(frames)} frames need heat of shape (T, gh, gw); got {heat.shape}.")
    above, below = [], []
    for i in _spread(frames, num_frames):
        frame = scaled(frames[i], height_px)
        place = Normalize(*limits, clip=True)(heat[i].astype(np.float64))
        size = frame.shape[1], height_px
        weight = np.asarray(
            Image.fromarray(np.asarray(place, dtype=np.float32)).resize(size, Image.Resampling.BILINEAR)
        )
        colour = 255 * matplotlib.colormaps["inferno"](weight.clip(0, 1))[..., :3]
        share = 0.35 + 0.4 * weight[..., None].clip(0, 1)
        above.append(frame)
        below.append(((1 - share) * frame + share * colour).round().astype(np.uint8))
    gap = np.full((2, _beside(above).shape[1], 3), 255, np.uint8)
    alt = f"{len(above)} frames of a clip, and the same under a heatmap: {caption}"
    return Picture(np.concatenate([_beside(above), gap, _beside(below)]), caption, alt)


def _spread(frames: NDArray[np.uint8], num_frames: int) -> list[int]:
    """Positions of some frames, in the midst of equal parts."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise UsageError(f"frames are (T, H, W, 3) uint8, one at least; got {frames.shape} {frames.dtype}.")
    count = min(num_frames, len(frames))
    return [(2 * i + 1) * len(frames) // (2 * count) for i in range(count)]


def _beside(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((images[0].shape[0], 2, 3), 255, np.uint8)
    return np.concatenate([part for image in images for part in (image, gap)][:-1], axis=1)


def scaled(frame: NDArray[np.uint8], height_px: int) -> NDArray[np.uint8]:
    """A frame (H, W, 3) at another height, in its own proportions."""
    size = (max(1, round(height_px * frame.shape[1] / frame.shape[0])), height_px)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def _checked(values: Matrix, rows: Sequence[object], columns: Sequence[object]) -> NDArray[np.float64]:
    checked: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if checked.shape != (len(rows), len(columns)) or not checked.size:
        raise UsageError(
            f"{len(rows)} row names and {len(columns)} column names need numbers of that shape; "
            f"got {checked.shape}."
        )
    return checked


def long_table(
    values: NDArray[np.number], rows: Sequence[object], columns: Sequence[object], row: str, column: str
) -> pd.DataFrame:
    """A row a cell of a matrix: its row's name, its column's, and `value`."""
    cells = [(rows[i], columns[j], value) for (i, j), value in np.ndenumerate(values)]
    return pd.DataFrame(cells, columns=[row, column, "value"])


def _written(value: float, unit: Unit) -> str:
    if not np.isfinite(value):
        return "–"
    if unit == "percent":
        return f"{100 * value:.0f}" if abs(value) >= 0.9995 else f"{100 * value:.1f}"
    return f"{value:.0f}" if unit == "count" else f"{value:.2f}"


def _extremes(values: Matrix, rows: Sequence[object], columns: Sequence[object], unit: Unit) -> str:
    if not np.isfinite(values).any():
        return "No number is known."
    said = []
    for word, flat in (("Highest", np.nanargmax(values)), ("Lowest", np.nanargmin(values))):
        i, j = divmod(int(flat), values.shape[1])
        mark = " %" if unit == "percent" else ""
        said.append(f"{word}: {_written(float(values[i, j]), unit)}{mark} at {rows[i]}, {columns[j]}.")
    return " ".join(said)


def _floor_said(floor: float | None) -> str:
    return (
        ""
        if floor is None
        else f"The prior floor, what guessing by class frequencies scores, is {percent(floor)}."
    )


def legend_name(name: object) -> str:
    """A name that matplotlib does not take for its own: those that begin with _ it leaves out of legends."""
    text = label_of(name)
    return f"\u2009{text}" if text.startswith("_") else text
