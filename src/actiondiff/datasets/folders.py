"""Labels as folders: one sub-folder of videos per class."""

import os
import unicodedata
from pathlib import Path, PurePosixPath

from actiondiff.datasets.base import Table
from actiondiff.datasets.columns import warn_of_similar_labels
from actiondiff.errors import TableError
from actiondiff.provenance import utf8_name
from actiondiff.types import Example
from actiondiff.video.search import find_videos, is_system_name

__all__ = ["read_folder"]


def read_folder(folder: str | os.PathLike[str]) -> Table:
    """Read a folder with one sub-folder per class, whose name is the label.

    Args:
        folder: The folder; videos may lie at any depth in the sub-folders.

    Raises:
        TableError: If a sub-folder holds no video or its name cannot be a label, there is no sub-folder, or
            videos lie beside them.
    """
    folder = Path(folder)
    names = [PurePosixPath(video.relative_to(folder).as_posix()) for video in find_videos([folder])]
    classes = {item.name for item in folder.iterdir() if item.is_dir() and not is_system_name(item.name)}
    problems = [
        f"{name} lies in no sub-folder of a class; move it into one, or use a CSV"
        for name in names
        if len(name.parts) == 1
    ]
    problems += [
        f"the sub-folder {name} holds no video; remove it, or use a CSV"
        for name in sorted(classes - {name.parts[0] for name in names})
    ]
    problems += [
        f"the sub-folder {name!r} cannot be a label: rename it, without ; (which separates labels in tables) "
        "and without blanks at its ends"
        for name in sorted(classes)
        if ";" in name or name != name.strip()
    ]
    if not names:
        problems.append("there are no videos in sub-folders; make one sub-folder per class, or use a CSV")
    if problems:
        raise TableError(folder, problems)
    examples = tuple(Example(str(name), (_label(name.parts[0]),)) for name in names)
    warn_of_similar_labels(folder, examples)
    return Table(folder, folder, examples)


def _label(name: str) -> str:
    return unicodedata.normalize("NFC", utf8_name(name))  # one letter may be encoded in two ways
