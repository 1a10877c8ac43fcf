"""Export of heatmaps as arrays and as a table."""

import os

import numpy as np

from actiondiff.inference.localization import Heatmap
from actiondiff.provenance import atomic_path, write_csv
from actiondiff.types.display import titled

__all__ = ["write_heatmap_csv", "write_heatmap_npz"]

_COLUMNS = ("frame_index", "seconds", "y", "x", "probability", "above_prior")


def write_heatmap_npz(path: str | os.PathLike[str], heatmap: Heatmap) -> None:
    """Write arrays named after the attributes of `Heatmap`, such as probabilities, rows and columns.

    `numpy.load(path)` reads the file. `seconds` is empty if the times of the frames are unknown. `video`
    names the individual of a crop as well, as in `a.mp4 · fox`.
    """
    seconds = np.zeros(0) if heatmap.seconds is None else heatmap.seconds
    with atomic_path(path) as aside, open(aside, "wb") as file:
        np.savez_compressed(
            file,
            probabilities=heatmap.probabilities,
            rows=heatmap.rows,
            columns=heatmap.columns,
            frame_index=heatmap.frame_index,
            seconds=seconds,
            prior=np.array(heatmap.prior),
            action=np.array(heatmap.action),
            video=np.array(titled(heatmap.video, heatmap.individual)),
        )


def write_heatmap_csv(path: str | os.PathLike[str], heatmap: Heatmap) -> None:
    """Write one row per place and sampled frame; `y` and `x` are shares of the height and the width."""
    rows = []
    for t, frame in enumerate(heatmap.frame_index):
        time = "" if heatmap.seconds is None else f"{heatmap.seconds[t]:.3f}"
        for i, y in enumerate(heatmap.rows):
            for j, x in enumerate(heatmap.columns):
                p = float(heatmap.probabilities[t, i, j])
                rows.append([frame, time, f"{y:.4f}", f"{x:.4f}", f"{p:.5f}", f"{p - heatmap.prior:.5f}"])
    write_csv(path, _COLUMNS, rows, line_end="\r\n")
