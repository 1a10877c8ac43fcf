"""Figures that all reports share: heatmaps and bars. Scores are numbers in [0, 1]."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from unicodedata import east_asian_width

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from actiondiff.errors import UsageError
from actiondiff.report.card import percent
from actiondiff.report.drawing import INK, SERIES, Figure, canvas, shade, styled
from actiondiff.report.tables import Score

__all__ = [
    "MOST_NAMES",
    "bars",
    "best_over_rows",
    "busiest",
    "counted_cells",
    "draw_cells",
    "heatmap",
    "label_of",
    "legend_name",
    "long_table",
    "longest_inches",
]

Unit = Literal["percent", "count", "number"]
Matrix = NDArray[np.floating]
MOST_NAMES = 30
"""Classes, behaviours or videos in one figure; of more, those that matter most are drawn."""
_LONG = 28  # characters of a label in a figure; tables and CSV have the whole label
_MANY = 30  # cells in a row or column; with more, numbers are not written into the cells


def label_of(name: object) -> str:
    """Name as shown in a figure: on one line, and shortened at the end if it is long."""
    text = " ".join(str(name).split()) or "(empty)"
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def longest_inches(names: Sequence[object]) -> float:
    """Width in inches of the longest of some names; a Chinese character is as wide as two letters."""
    labels = [label_of(name) for name in names]
    return 0.075 * max((sum(1 + (east_asian_width(c) in "WF") for c in label) for label in labels), default=0)


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
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Draw a matrix of scores, each written into its cell.

    Args:
        values: (rows, columns); NaN where a number does not exist, which is shown as a dash.
        rows: Names of the rows, from the top.
        columns: Names of the columns.
        title: Heading.
        name: Stem of the figure's files.
        row_title: Title of the row axis.
        column_title: Title of the column axis.
        caption: Text below the figure: what it shows, and on which clips.
        floor: Score of guessing by class frequencies, stated in the caption; None for none.
        limits: Values at the ends of the colour scale; None for the range of the numbers.
        centre: Value that is neither good nor bad, drawn pale, for gains and correlations; None for none.
        unit: How numbers are written.
        best: Whether to draw a curve of the highest value of each column below the matrix.
        colours: Name -> colour of a mark between a name and its row or column; None for no marks.

    Raises:
        UsageError: If the names do not fit the numbers.
    """
    values = _checked(values, rows, columns)
    # The size of the drawing follows from the number of cells and the lengths of the names.
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
    if colours:
        _mark_names(axes, rows, columns, colours)
    return Figure(
        name=name,
        drawing=drawing,
        title=title,
        alt=f"{title}. {_extremes(values, rows, columns, unit)}",
        caption=" ".join(part for part in (caption, _floor_sentence(floor)) if part),
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
    """Draw the matrix itself on axes; see `heatmap`."""
    # The colour scale: from the lowest to the highest number, or symmetric around the centre.
    finite = values[np.isfinite(values)]
    low, high = limits or ((float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0))
    if centre is not None:
        reach = max(abs(high - centre), abs(low - centre), 1e-9)
        low, high = centre - reach, centre + reach
    norm = Normalize(low, high if high > low else low + 1e-9)
    colours = matplotlib.colormaps["cividis" if centre is None else "PuOr_r"]
    axes.pcolormesh(np.ma.masked_invalid(values), cmap=colours, norm=norm, edgecolors="white", linewidth=0.8)
    # Names of rows and columns, as large as the cells permit.
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(columns)) + 0.5, [label_of(column) for column in columns])
    axes.set_yticks(np.arange(len(rows)) + 0.5, [label_of(row) for row in rows])
    if max(len(label_of(column)) for column in columns) > 6:
        axes.tick_params(axis="x", rotation=40)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    inches = axes.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    room = 72 * 0.75 * np.array([inches[0] / len(columns), inches[1] / len(rows)])  # points per name
    axes.tick_params(axis="x", length=0, labelsize=float(np.clip(room[0], 3.5, 9)))
    axes.tick_params(axis="y", length=0, labelsize=float(np.clip(room[1], 3.5, 9)))
    axes.spines[:].set_visible(False)
    axes.set_xlabel(column_title)
    axes.set_ylabel(row_title)
    # Numbers in the cells, or a colour bar where there are too many cells.
    if max(values.shape) > _MANY:
        axes.figure.colorbar(axes.collections[0], ax=axes, shrink=0.6).outline.set_visible(False)
        return
    for (i, j), value in np.ndenumerate(values):
        colour = shade(*colours(norm(value))[:3]) if np.isfinite(value) else INK
        axes.text(
            j + 0.5, i + 0.5, _written(float(value), unit), ha="center", va="center", color=colour, fontsize=8
        )


def _mark_names(
    axes: Axes, rows: Sequence[object], columns: Sequence[object], colours: Mapping[str, str]
) -> None:
    """Draw a square of its colour between each name of a row or column and the matrix."""
    room = 8  # points
    axes.tick_params(axis="both", pad=room + 6)
    drawing = axes.get_figure(root=True)
    assert drawing is not None
    down, left = (
        ScaledTranslation(x / 72, y / 72, drawing.dpi_scale_trans) for x, y in ((0, -room), (-room, 0))
    )
    for place, name in enumerate(map(str, rows)):
        if name in colours:
            beside = axes.get_yaxis_transform() + left
            axes.plot([0], [place + 0.5], "s", color=colours[name], transform=beside, clip_on=False)
    for place, name in enumerate(map(str, columns)):
        if name in colours:
            below = axes.get_xaxis_transform() + down
            axes.plot([place + 0.5], [0], "s", color=colours[name], transform=below, clip_on=False)


def best_over_rows(values: Matrix) -> NDArray[np.float64]:
    """(columns,) float64, the highest number of each column; NaN where a column has none."""
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
    """Draw the curve below a heatmap: the best over its rows, and the chosen values as open circles."""
    best = best_over_rows(values)
    positions = np.arange(len(columns)) + 0.5
    axes.plot(positions, 100 * best, marker="o", markersize=4, color=SERIES[0])
    if np.isfinite(best).any():
        top = int(np.nanargmax(best))
        axes.plot(positions[top], 100 * best[top], marker="o", markersize=8, color=SERIES[1])
    if chosen is not None:
        axes.plot(positions, 100 * np.asarray(chosen), "o:", markersize=6, fillstyle="none", color=INK)
    if floor is not None:
        axes.axhline(100 * floor, color=SERIES[7], linestyle="--", linewidth=1)
    axes.set_xticks(positions, [label_of(column) for column in columns])
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
    """Draw scores as bars with intervals: a group of bars per test, a bar per model, a line for the floor.

    Args:
        scores: Model -> test -> score, as in `score_table`.
        title: Heading.
        name: Stem of the figure's files.
        floor: Test -> score of guessing by class frequencies; None for none.
        floor_title: Name of the floor in the legend.
        caption: Text below the figure: what the bars and intervals are.
        value_title: Title of the score axis.
    """
    tests = list(dict.fromkeys(test for row in scores.values() for test in row))
    drawing, axes = canvas(min(10.5, 1.6 + len(tests) * (0.55 + 0.24 * len(scores))), 3.4)
    step = 0.8 / max(1, len(scores))
    rows = []
    # One series of bars per model.
    for i, (model, row) in enumerate(scores.items()):
        cells = [row.get(test, Score(None)) for test in tests]
        middle = np.array([np.nan if s.value is None else 100 * s.value for s in cells])
        low = np.array([m if s.low is None else 100 * s.low for s, m in zip(cells, middle, strict=True)])
        high = np.array([m if s.high is None else 100 * s.high for s, m in zip(cells, middle, strict=True)])
        positions = np.arange(len(tests)) - 0.4 + step * (i + 0.5)
        hatch = "////" if i >= len(SERIES) else ""
        axes.bar(
            positions,
            middle,
            step * 0.88,
            color=SERIES[i % len(SERIES)],
            hatch=hatch,
            label=legend_name(model),
        )
        axes.vlines(positions, low, high, color=INK, linewidth=1.1)
        rows += [(model, test, s.value, s.low, s.high) for test, s in zip(tests, cells, strict=True)]
    # The floor of each test, as a dashed line across its group.
    lines = [
        (j, float(floor[test] or 0)) for j, test in enumerate(tests) if floor and floor.get(test) is not None
    ]
    if lines:
        positions, heights = np.array(lines).T
        axes.hlines(
            100 * heights, positions - 0.45, positions + 0.45, color=INK, linestyle="--", label=floor_title
        )
    axes.set_xticks(range(len(tests)), [label_of(test) for test in tests])
    axes.set_ylabel(value_title)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    handles: list[Any] = [*axes.containers, *axes.collections[len(scores) :]]  # the floor last
    drawing.legend(handles, [str(h.get_label()) for h in handles], loc="outside upper left", ncols=4)
    data = pd.DataFrame(rows, columns=["model", "test", "score", "low", "high"])
    data["floor"] = [(floor or {}).get(test) for test in data["test"]]
    # The same numbers in words, for readers who cannot see the figure.
    spoken = "; ".join(
        f"{model}: " + ", ".join(f"{test} {percent(s.value)}" for test, s in row.items())
        for model, row in scores.items()
    )
    return Figure(name, drawing, title, f"{title}. {spoken}", caption, data)


def _checked(values: Matrix, rows: Sequence[object], columns: Sequence[object]) -> NDArray[np.float64]:
    checked: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if checked.shape != (len(rows), len(columns)) or not checked.size:
        raise UsageError(
            f"{len(rows)} row names and {len(columns)} column names need values of that shape; "
            f"got {checked.shape}."
        )
    return checked


def long_table(
    values: NDArray[np.number], rows: Sequence[object], columns: Sequence[object], row: str, column: str
) -> pd.DataFrame:
    """One row per cell of a matrix: the name of its row, the name of its column, and `value`."""
    cells = [(rows[i], columns[j], value) for (i, j), value in np.ndenumerate(values)]
    return pd.DataFrame(cells, columns=[row, column, "value"])


def counted_cells(
    counts: NDArray[np.integer], rows: Sequence[object], columns: Sequence[object], row: str, column: str
) -> pd.DataFrame:
    """`long_table` without the cells that are 0, which is almost all of them where there are many names."""
    first, second = np.nonzero(counts)
    cells = zip(first.tolist(), second.tolist(), strict=True)
    return pd.DataFrame(
        [(rows[i], columns[j], counts[i, j]) for i, j in cells], columns=[row, column, "value"]
    )


def busiest(counts: NDArray[np.integer], most: int) -> NDArray[np.intp]:
    """Numbers, rising, of the names that have the largest counts beside the diagonal of a square matrix."""
    beside = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    return np.sort(np.argsort(-beside, kind="stable")[:most])


def _written(value: float, unit: Unit) -> str:
    if not np.isfinite(value):
        return "–"
    if unit == "percent":
        return f"{100 * value:.0f}" if abs(value) >= 0.9995 else f"{100 * value:.1f}"
    return f"{value:.0f}" if unit == "count" else f"{value:.2f}"


def _extremes(values: Matrix, rows: Sequence[object], columns: Sequence[object], unit: Unit) -> str:
    if not np.isfinite(values).any():
        return "There are no numbers."
    sentences = []
    for word, flat in (("Highest", np.nanargmax(values)), ("Lowest", np.nanargmin(values))):
        i, j = divmod(int(flat), values.shape[1])
        mark = " %" if unit == "percent" else ""
        sentences.append(f"{word}: {_written(float(values[i, j]), unit)}{mark} at {rows[i]}, {columns[j]}.")
    return " ".join(sentences)


def _floor_sentence(floor: float | None) -> str:
    return (
        ""
        if floor is None
        else f"The prior floor, the score of guessing by class frequencies, is {percent(floor)}."
    )


def legend_name(name: object) -> str:
    """Name for a legend, with a thin space before a leading _, as matplotlib leaves such names out."""
    text = label_of(name)
    return f"\u2009{text}" if text.startswith("_") else text
