"""Frame-by-frame labels of DeepEthogram as bouts.

A file has a row a frame and a column a behaviour: 1 present, 0 absent, -1 not labelled. Times are not in it;
they are those of the video's own frames.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from actiondiff.datasets.bouts import CodedBout
from actiondiff.errors import TableError, UsageError
from actiondiff.video.decode import iter_video
from actiondiff.video.probe import SUFFIXES

__all__ = ["BACKGROUND", "read_deepethogram"]

BACKGROUND = "background"
_ENDING = "_labels"


def read_deepethogram(path: str | Path, *, fps: float | None = None) -> list[CodedBout]:
    """Bouts of a label file, or of all `*_labels.csv` below a folder; runs of `background` are bouts, too.

    Args:
        path: The file or folder.
        fps: Frames a second; None for the times of the video's own frames, which is found beside its labels.

    Raises:
        UsageError: If there is no label file, or no video to take times from.
        TableError: If a file is no such matrix, or does not fit its video.
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
            file, ["it must hold a row a frame, and 1, 0 or -1 in every cell below the behaviours' names"]
        )
    name = file.stem.removesuffix(_ENDING)
    video = next((p for p in sorted(file.parent.iterdir()) if _is_video(p, name)), None)
    if video is None and fps is None:
        raise UsageError(
            f"there is no video {name} beside {file} to take times from; give the frames a second."
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
    """(count + 1,) when each frame begins, and when the last ends."""
    chunks = [chunk.seconds for chunk in iter_video(video, stride=1)]
    times = np.concatenate([chunk for chunk in chunks if chunk is not None] or [np.zeros(0)])
    if len(times) != count:
        raise TableError(file, [f"it has {count} rows; {video.name} has {len(times)} frames with times"])
    step = float(np.median(np.diff(times))) if count > 1 else 1.0
    return np.append(times, times[-1] + step)


def _is_video(path: Path, stem: str) -> bool:
    return path.stem == stem and path.suffix.lower() in SUFFIXES
