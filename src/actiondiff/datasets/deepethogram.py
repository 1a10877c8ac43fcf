"""Bouts from the frame-by-frame labels of DeepEthogram.

A file has one row per frame and one column per behaviour: 1 present, 0 absent, -1 not labelled. It holds no
times; they are those of the video's own frames.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actiondiff.datasets.bouts import CodedBout
from actiondiff.errors import TableError, UsageError
from actiondiff.video.decode import iter_video
from actiondiff.video.search import SUFFIXES

__all__ = ["BACKGROUND", "read_deepethogram"]

BACKGROUND = "background"
_ENDING = "_labels"


def read_deepethogram(path: str | Path, *, fps: float | None = None) -> list[CodedBout]:
    """Read the bouts of a label file or a folder; runs of `background` are bouts as well.

    Args:
        path: A label file, or a folder that is searched for `*_labels.csv`.
        fps: Frames per second; None for the times of the frames of the video beside each label file.

    Raises:
        UsageError: If there is no label file, or no video to take times from.
        TableError: If a file is not such a matrix, or does not fit its video.
    """
    path = Path(path)
    files = sorted(path.rglob(f"*{_ENDING}.csv")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise UsageError(
            f"there are no labels at {path}; give a *{_ENDING}.csv, or a folder that holds some."
        )
    return [bout for file in files for bout in _bouts(file, fps)]


def _bouts(file: Path, fps: float | None) -> list[CodedBout]:
    labels = pd.read_csv(file, index_col=0)
    values = labels.to_numpy()
    if not len(labels) or values.dtype.kind not in "if" or not np.isin(values, (-1, 0, 1)).all():
        raise TableError(
            file,
            ["the file needs one row per frame, and 1, 0 or -1 in every cell below the behaviours' names"],
        )
    name = file.stem.removesuffix(_ENDING)
    video = next((p for p in sorted(file.parent.iterdir()) if _is_video(p, name)), None)
    if video is None and fps is None:
        raise UsageError(
            f"there is no video {name} beside {file} to take times from; give the frames per second (--fps)."
        )
    media = str((video or file.with_name(name)).resolve())
    edges = np.arange(len(labels) + 1) / fps if fps is not None else _edges(video or file, len(labels), file)
    bouts = []
    for column in labels.columns:
        label = BACKGROUND if column == "none" else str(column)
        held = np.diff((labels[column].to_numpy() == 1).astype(np.int8), prepend=0, append=0)
        starts, stops = np.flatnonzero(held == 1), np.flatnonzero(held == -1)
        bouts += [
            CodedBout(media, label, float(edges[a]), float(edges[b]), group=name)
            for a, b in zip(starts, stops, strict=True)
        ]
    return bouts


def _edges(video: Path, count: int, file: Path) -> NDArray[np.float64]:
    """(count + 1,) seconds at which each frame begins, and at which the last one ends."""
    chunks = [chunk.seconds for chunk in iter_video(video, stride=1)]
    times = np.concatenate([chunk for chunk in chunks if chunk is not None] or [np.zeros(0)])
    if len(times) != count:
        raise TableError(
            file, [f"the file has {count} rows, but {video.name} has {len(times)} frames with times"]
        )
    step = float(np.median(np.diff(times))) if count > 1 else 1.0
    return np.append(times, times[-1] + step)


def _is_video(path: Path, stem: str) -> bool:
    return path.stem == stem and path.suffix.lower() in SUFFIXES
