"""Bouts as a matrix of frames by behaviours, as DeepEthogram keeps labels."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actiondiff.exports.boris import observation_names
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import write_csv

__all__ = ["frame_matrix", "write_matrices"]


def frame_matrix(timeline: Timeline) -> tuple[list[str], NDArray[np.int8]]:
    """Column names, `background` first, and (frames, columns) of 0 and 1 for each raw frame that decoded.

    A frame has a behaviour if a bout's start is not after its time and the end is. Times of frames between
    sampled ones are interpolated.
    """
    columns = [k for k, label in enumerate(timeline.labels) if label != timeline.options.background]
    index, seconds = timeline.frame_index, timeline.seconds
    count = timeline.report.num_frames_decoded if timeline.report else int(index[-1]) + 1
    times = np.interp(np.arange(count), index, seconds)
    if len(index) > 1:  # beyond the last sampled frame time goes on as before
        beyond = np.arange(count) > index[-1]
        rate = (seconds[-1] - seconds[0]) / (index[-1] - index[0])
        times[beyond] = seconds[-1] + rate * (np.arange(count)[beyond] - index[-1])
    names = [timeline.labels[k] for k in columns]
    held = np.zeros((count, len(names)), dtype=np.int8)
    for bout in timeline.bouts:
        inside = (times >= bout.start_seconds - 1e-6) & (times < bout.end_seconds - 1e-6)
        held[inside, names.index(bout.label)] = 1
    none = 1 - held.max(axis=1, initial=0)
    return ["background", *names], np.column_stack([none, held]).astype(np.int8)


def write_matrices(folder: str | os.PathLike[str], timelines: Sequence[Timeline]) -> list[Path]:
    """Write `<video>/<video>_labels.csv` for every video, with frames as rows.

    The program itself silently turns a matrix with more behaviours than frames on its side.
    """
    paths = []
    for name, timeline in zip(observation_names(timelines), timelines, strict=True):
        columns, matrix = frame_matrix(timeline)
        path = Path(folder) / name / f"{name}_labels.csv"
        write_csv(path, ["", *columns], [[i, *row] for i, row in enumerate(matrix.tolist())])
        paths.append(path)
    return paths
