"""Export of bouts to DeepEthogram, whose label files are matrices of frames by behaviours.

Its label files name neither the video, which is expected beside them, nor an individual, so that each
individual of a video has a file; `videos.csv` says where each video lies and which individual a file is of.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actiondiff.datasets.deepethogram import LOCATIONS
from actiondiff.exports.boris import observation_names
from actiondiff.exports.individuals import has_individuals, with_individual
from actiondiff.inference.timeline import Timeline
from actiondiff.provenance import write_csv

__all__ = ["frame_matrix", "write_matrices"]


def frame_matrix(timeline: Timeline) -> tuple[list[str], NDArray[np.int8]]:
    """Names of the columns, `background` first, and a matrix (frames, columns) of 0 and 1.

    The matrix has one row per raw frame that decoded. A frame shows a behaviour if its time lies in a bout,
    including the bout's start and excluding its end. Times between sampled frames are interpolated.
    """
    columns = [k for k, label in enumerate(timeline.labels) if label != timeline.options.background]
    index, seconds = timeline.frame_index, timeline.seconds
    count = timeline.report.num_frames_decoded if timeline.report else int(index[-1]) + 1
    times = np.interp(np.arange(count), index, seconds)
    if len(index) > 1:  # beyond the last sampled frame, time continues at the mean rate
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
    """Write `<video>/<video>_labels.csv` for every video, one row per frame, and `videos.csv`.

    The latter has the paths of those videos that lead to a file from the folder. The files of a crop's
    individual are called `<video>_<individual>`, and `videos.csv` names it.

    DeepEthogram itself silently transposes a matrix that has more behaviours than frames.
    """
    paths = []
    for name, timeline in zip(observation_names(timelines), timelines, strict=True):
        columns, matrix = frame_matrix(timeline)
        path = Path(folder) / name / f"{name}_labels.csv"
        write_csv(path, ["", *columns], [[i, *row] for i, row in enumerate(matrix.tolist())])
        paths.append(path)
    located = [
        {
            "labels": path.relative_to(folder).as_posix(),
            "video": timeline.video,
            "individual": timeline.individual,
        }
        for path, timeline in zip(paths, timelines, strict=True)
        if timeline.individual or Path(folder, timeline.video).is_file()
    ]
    if located:
        fields = with_individual(("labels", "video"), wanted=has_individuals(timelines))
        write_csv(Path(folder) / LOCATIONS, fields, located)
    return paths
