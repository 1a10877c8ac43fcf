"""Heatmaps of a sweep's grid of layers and timesteps (figure 5 of the paper)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from actiondiff.errors import UsageError
from actiondiff.report.card import percent
from actiondiff.report.drawing import Figure, canvas, styled
from actiondiff.report.figures import draw_best, draw_cells, label_of, long_table

__all__ = ["sweep_panels"]


@styled()
def sweep_panels(
    panels: Mapping[str, pd.DataFrame],
    *,
    title: str,
    name: str = "layers-timesteps",
    floors: Mapping[str, float] | None = None,
    chosen: Mapping[str, Sequence[float]] | None = None,
    row_title: str = "layer",
    column_title: str = "timestep",
    caption: str = "",
) -> Figure:
    """Draw heatmaps of layers and timesteps side by side, with the best layer of each timestep below.

    This is figure 5 of the paper.

    Args:
        panels: Title -> scores in [0, 1], with layers as index and timesteps as columns. Two panels, such as
            in domain and out of domain, share a line.
        title: Heading.
        name: Stem of the figure's files.
        floors: Title -> score of guessing by class frequencies; None for none.
        chosen: Title -> for each column, the score of the row that was chosen on the source, drawn as a
            second curve; None for none.
        row_title: Title of the row axis.
        column_title: Title of the column axis.
        caption: Text below the figure: what it shows, and on which clips.

    Raises:
        UsageError: If there is no panel.
    """
    if not panels:
        raise UsageError("a figure of a sweep needs at least one panel.")
    # Two panels share a line; the drawing grows with rows and columns.
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    tall = max(1.2, 0.24 * max(len(frame) for frame in panels.values()))
    drawing, _ = canvas(
        min(11.0, across * (1.6 + 0.5 * max(f.shape[1] for f in panels.values()))), down * (tall + 2.0)
    )
    drawing.clear()
    parts = np.atleast_1d(drawing.subfigures(down, across, squeeze=False).ravel())
    # Each panel: the heatmap, and below it the best of each column.
    tables, sentences = [], []
    for part, (panel, frame) in zip(parts, panels.items(), strict=False):
        values = frame.to_numpy(dtype=np.float64)
        rows, columns = list(frame.index), list(frame.columns)
        above, below = part.subplots(2, 1, height_ratios=(tall, 1.0), sharex=True)
        draw_best(
            below, values, floor=(floors or {}).get(panel), columns=columns, column_title=column_title,
            chosen=(chosen or {}).get(panel),
        )  # fmt: skip
        draw_cells(above, values, rows=rows, columns=columns, row_title=row_title)
        above.set_title(label_of(panel))
        tables.append(long_table(values, rows, columns, row_title, column_title).assign(panel=panel))
        if np.isfinite(values).any():
            i, j = divmod(int(np.nanargmax(values)), values.shape[1])
            sentences.append(
                f"{panel}: {percent(values[i, j])} at {row_title} {rows[i]}, {column_title} {columns[j]}"
            )
    best = f"Best cells: {'; '.join(sentences)}." if sentences else ""
    notes = ["Features of a larger timestep contain less noise." if column_title == "timestep" else ""]
    notes += ["Open circles: the layer that is best on held-out clips of the source." if chosen else ""]
    text = " ".join(part for part in (caption, best, *notes, _floors_sentence(floors)) if part)
    return Figure(name, drawing, title, f"{title}. {best}", text, pd.concat(tables, ignore_index=True))


def _floors_sentence(floors: Mapping[str, float] | None) -> str:
    if not floors:
        return ""
    return (
        "The dashed lines are the prior floors: "
        + "; ".join(f"{name} {percent(floor)}" for name, floor in floors.items())
        + "."
    )
