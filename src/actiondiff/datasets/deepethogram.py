"""Bouts from the frame-by-frame labels of DeepEthogram.

A file has one row per frame and one column per behaviour: 1 present, 0 absent, -1 not labelled. It holds no
times; they are those of the frames of the video, which is beside it, or where a table of our own export says.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actiondiff.datasets.bouts import CodedBout
from actiondiff.datasets.files import VideoIndex
from actiondiff.datasets.sheets import Sheet, find_files, read_sheet
from actiondiff.errors import TableError, UsageError
from actiondiff.video.decode import iter_video
from actiondiff.video.names import same_name
from actiondiff.video.search import SUFFIXES, is_system_name

__all__ = ["BACKGROUND", "LOCATIONS", "read_deepethogram"]

BACKGROUND = "background"
LOCATIONS = "videos.csv"
"""Name of a table of our own export that says where the videos lie: `labels` and `video`."""
_ENDING = "_labels"
_VALUES = {"1": 1, "0": 0, "-1": -1, "1.0": 1, "0.0": 0, "-1.0": -1, "true": 1, "false": 0}
_INDEX_NAMES = ("", "index", "frame", "frames", "frame_index", "unnamed: 0")
_MOST_PROBLEMS = 5
_Bounds = tuple[NDArray[np.int64], NDArray[np.int64]]


def read_deepethogram(
    path: str | Path, *, fps: float | None = None, videos: Path | None = None
) -> list[CodedBout]:
    """Read the bouts of a label file or a folder; runs of `background` are bouts as well.

    If a file has no column `background`, frames without any behaviour are background, as in DeepEthogram
    itself.

    Args:
        path: A label file, or a folder that is searched for `*_labels.csv`.
        fps: Frames per second; None for the times of the frames of the video beside each label file.
        videos: Folder that is searched for a video of the same name where none is beside a label file.

    Raises:
        UsageError: If there is no label file, or no video to take times from.
        TableError: If a file is not such a matrix, or does not fit its video.
    """
    if fps is not None and not 0 < fps < float("inf"):
        raise UsageError(f"--fps must be a number of frames per second above 0; got {fps:g}.")
    files = find_files(Path(path), f"*{_ENDING}.csv")
    if not files or not files[0].is_file():
        raise UsageError(
            f"there are no labels at {path}; give a *{_ENDING}.csv, or a folder that holds some."
        )
    index = VideoIndex(videos) if videos is not None else None
    return [bout for file in files for bout in _bouts(file, fps, index)]


def _bouts(file: Path, fps: float | None, index: VideoIndex | None) -> list[CodedBout]:
    labels = _matrix(file, read_sheet(file))
    count = len(next(iter(labels.values())))
    name = file.stem.removesuffix(_ENDING)
    videos = [p for p in sorted(file.parent.iterdir()) if _is_video(p, name)]
    located, individual = _located(file)
    searched = located.stem if located is not None and individual else name
    if not videos and index is not None and (elsewhere := index.find(searched)):
        videos = [index.root / elsewhere]
    if not videos and located is not None and located.is_file():
        videos = [located]
    if len(videos) > 1:
        listed = ", ".join(video.name for video in videos)
        raise TableError(file, [f"several videos beside it have its name ({listed}); leave the right one"])
    if not videos and fps is None:
        raise UsageError(
            f"there is no video {name} beside {file} to take times from; name the folder that holds it "
            "(--videos), or give the frames per second (--fps)."
        )
    media = str((videos[0] if videos else file.with_name(searched)).resolve())
    edges = np.arange(count + 1) / fps if fps is not None else _edges(videos[0], count, file)
    return [
        CodedBout(
            media, label, float(edges[a]), float(edges[b]),
            group=searched, subject=individual, is_apart=bool(individual),
        )
        for label, values in labels.items()
        for a, b in zip(*_runs(values), strict=True)
    ]  # fmt: skip


def _located(file: Path) -> tuple[Path | None, str]:
    """The video of a label file and the individual that it is about, as the table in a folder above says."""
    for folder in (file.parent, file.parent.parent):
        path = folder / LOCATIONS
        sheet = read_sheet(path) if path.is_file() else None
        for _, row in sheet.records() if sheet and {"labels", "video"} <= {*sheet.header} else ():
            video = folder / row["video"]
            if (folder / row["labels"]).resolve() == file.resolve():
                return video, row.get("individual", "")
    return None, ""


def _matrix(file: Path, sheet: Sheet) -> dict[str, NDArray[np.int64]]:
    """Behaviour -> (frames,) values -1, 0 and 1."""
    names, columns = list(sheet.header), list(zip(*(cells for _, cells in sheet.rows), strict=True))
    if names and {*names[1:]} <= {*_VALUES}:
        raise TableError(file, ["the first row is no header; it must name the behaviours"])
    if not sheet.rows:
        raise TableError(file, ["the file has a header and no rows; it needs one row per frame"])
    if names[0].lower() in _INDEX_NAMES or not {*map(str.lower, columns[0])} <= {*_VALUES}:
        problem = _index_problem(columns[0], [number for number, _ in sheet.rows])
        if problem:
            raise TableError(file, [problem])
        names, columns = names[1:], columns[1:]
    names = [BACKGROUND if name == "none" else name for name in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [f"the column {name} occurs twice" for name in twice]
    if not names or not all(names):
        problems.append("a column has no name; every column after the frames' numbers is a behaviour")
    labels: dict[str, NDArray[np.int64]] = {}
    for name, cells in zip(names, columns, strict=True):
        values = [_VALUES.get(cell.lower()) for cell in cells]
        problems += [
            f"row {number}: {name} is {cell!r}; it must be 1, 0 or -1"
            for (number, _), cell, value in zip(sheet.rows, cells, values, strict=True)
            if value is None
        ]
        labels[name] = np.array([0 if value is None else value for value in values], dtype=np.int64)
    if problems:
        more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise TableError(file, problems[:_MOST_PROBLEMS] + more)
    if BACKGROUND not in labels:
        all_values = np.stack([*labels.values()])
        labels[BACKGROUND] = (all_values == 0).all(axis=0).astype(np.int64)
    return labels


def _index_problem(cells: Sequence[str], numbers: Sequence[int]) -> str:
    """Why the first column does not number the frames from 0 without gaps; empty if it does.

    Without this check, a file from which rows were deleted would be read with all later times shifted.
    """
    for expected, (cell, number) in enumerate(zip(cells, numbers, strict=True)):
        if cell not in (str(expected), f"{expected}.0"):
            return (
                f"row {number}: the first column is {cell!r}; it must number the frames, {expected} here, or "
                "be a behaviour with 1, 0 or -1"
            )
    return ""


def _runs(values: NDArray[np.int64]) -> _Bounds:
    """First frames, and frames after the last, of the runs of 1."""
    change = np.diff((values == 1).astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


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
    return path.suffix.lower() in SUFFIXES and same_name(path.stem, stem) and not is_system_name(path.name)
