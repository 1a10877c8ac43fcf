"""Labels as folders: one sub-folder of videos per class."""

import os
from pathlib import Path, PurePosixPath

from actiondiff.datasets.base import Table
from actiondiff.errors import TableError
from actiondiff.types import Example
from actiondiff.video.probe import find_videos

__all__ = ["read_folder"]


def read_folder(folder: str | os.PathLike[str]) -> Table:
    """Read a folder with one sub-folder per class, whose name is the label.

    Args:
        folder: The folder; videos may lie at any depth in the sub-folders.

    Raises:
        TableError: If a sub-folder holds no video, there is no sub-folder, or videos lie beside them.
    """
    folder = Path(folder)
    names = [PurePosixPath(video.relative_to(folder).as_posix()) for video in find_videos([folder])]
    classes = {item.name for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")}
    problems = [
        f"{name} lies in no sub-folder of a class; move it into one, or use a CSV"
        for name in names
        if len(name.parts) == 1
    ]
    problems += [
        f"the sub-folder {name} holds no video; remove it, or use a CSV"
        for name in sorted(classes - {name.parts[0] for name in names})
    ]
    if not names:
        problems.append("there are no videos in sub-folders; make one sub-folder per class, or use a CSV")
    if problems:
        raise TableError(folder, problems)
    return Table(folder, folder, tuple(Example(str(name), (name.parts[0],)) for name in names))
