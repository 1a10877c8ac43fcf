"""Heatmaps of a sweep's grid, layer by timestep, from plain tables (figure 5 of the paper)."""

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
    """Heatmaps of layer and timestep side by side, the best over the layers below each (figure 5).

    Args:
        panels: Title -> scores in [0, 1]; index: layers; columns: timesteps. In pairs, in and out of domain.
        title: Heading.
        name: Stem of its files.
        floors: Title -> what guessing by class frequencies scores.
        chosen: Title -> a second curve: for each column the score of the row that was chosen on the source.
        row_title: What the rows are, if not layers.
        column_title: What the columns are, if not timesteps.
        caption: What it shows and on what.

    Raises:
        UsageError: If there is no panel.
    """
    if not panels:
        raise UsageError("a figure of a sweep needs one panel at least.")
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    tall = max(1.2, 0.24 * max(len(frame) for frame in panels.values()))
    drawing, _ = canvas(
        min(11.0, across * (1.6 + 0.5 * max(f.shape[1] for f in panels.values()))), down * (tall + 2.0)
    )
    drawing.clear()
    parts = np.atleast_1d(drawing.subfigures(down, across, squeeze=False).ravel())
    tables, said = [], []
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
            said.append(
                f"{panel}: {percent(values[i, j])} at {row_title} {rows[i]}, {column_title} {columns[j]}"
            )
    best = f"Best cells: {'; '.join(said)}." if said else ""
    notes = ["A larger timestep is cleaner." if column_title == "timestep" else ""]
    notes += ["Open circles: the one that is best on held-out clips of the source." if chosen else ""]
    text = " ".join(part for part in (caption, best, *notes, _floors_said(floors)) if part)
    return Figure(name, drawing, title, f"{title}. {best}", text, pd.concat(tables, ignore_index=True))


def _floors_said(floors: Mapping[str, float] | None) -> str:
    if not floors:
        return ""
    return (
        "Dashed: the prior floor, "
        + "; ".join(f"{name} {percent(floor)}" for name, floor in floors.items())
        + "."
    )
