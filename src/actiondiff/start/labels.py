"""Which labels a folder of videos comes with: a table, a folder per class, BORIS or DeepEthogram."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from actiondiff.datasets.base import Table
from actiondiff.datasets.boris import read_boris
from actiondiff.datasets.sheets import TABLE_SUFFIXES, find_files
from actiondiff.datasets.table import read_table
from actiondiff.errors import TableError, UsageError
from actiondiff.video.search import is_system_name, search_videos

__all__ = ["LabelSource", "find_labels", "span_seconds"]

LabelKind: TypeAlias = Literal["table", "folders", "boris", "deepethogram"]
_BORIS = (".boris", ".boris.gz")
_MATRICES = "*_labels.csv"
_SHORTEST, _LONGEST = 0.5, 4.0
_KINDS = "a CSV with video and label, a folder per class, a BORIS project, or DeepEthogram's *_labels.csv"


@dataclass(frozen=True)
class LabelSource:
    """Where the labels are.

    Attributes:
        kind: The form that they have.
        path: File or folder.
    """

    kind: LabelKind
    path: Path

    def describe(self) -> str:
        """The source in words."""
        words = {
            "table": "a table",
            "folders": "the names of its sub-folders",
            "boris": "coded in BORIS",
            "deepethogram": "labelled in DeepEthogram",
        }
        return f"{self.path} ({words[self.kind]})"


def find_labels(folder: Path, labels: Path | None) -> LabelSource:
    """Find the labels of videos.

    Args:
        folder: Folder of the videos.
        labels: File or folder of the labels; None to look for them in the folder of the videos.

    Raises:
        UsageError: If there are none, or several to choose from.
        TableError: If a file is neither a table nor one of BORIS.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give the folder that holds the videos.")
    if labels is not None:
        if not labels.exists():
            raise UsageError(f"there are no labels at {labels}; give {_KINDS}.")
        return _of_path(labels)
    sources = [LabelSource("boris", path) for path in sorted(folder.iterdir()) if _is_boris(path)]
    matrices = find_files(folder, _MATRICES)
    if matrices:
        sources.append(LabelSource("deepethogram", folder))
    others = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in TABLE_SUFFIXES and p not in matrices]
    others = [path for path in others if path.is_file() and not is_system_name(path.name)]
    sources += [source for path in others if (source := _of_table(path)) is not None]
    if not sources and _is_folder_per_class(folder):
        sources.append(LabelSource("folders", folder))
    if len(sources) != 1:
        listed = "; ".join(source.describe() for source in sources) or "none"
        raise UsageError(
            f"the labels of {folder} must be named, because it has {listed}. Give them after the folder: "
            f"{_KINDS}."
        )
    return sources[0]


def span_seconds(table: Table) -> float | None:
    """Length of the spans to cut a table of bouts into; None for a table about whole videos.

    It is the length that three quarters of the bouts reach, within 0.5 to 4 s.
    """
    lengths = [
        example.end_seconds - (example.start_seconds or 0.0)
        for example in table.examples
        if example.end_seconds is not None and example.labels
    ]
    if not lengths:
        return None
    return round(float(np.clip(np.quantile(lengths, 0.25), _SHORTEST, _LONGEST)), 1)


def _of_path(path: Path) -> LabelSource:
    if path.is_dir():
        kind: LabelKind = "deepethogram" if find_files(path, _MATRICES) else "folders"
        return LabelSource(kind, path)
    if _is_boris(path):
        return LabelSource("boris", path)
    if path.name.endswith("_labels.csv"):
        return LabelSource("deepethogram", path)
    source = _of_table(path)
    if source is None:
        read_table(path)  # raises an error that lists what is wrong with it as a table
        raise UsageError(f"{path} holds no labels; give {_KINDS}.")
    return source


def _of_table(path: Path) -> LabelSource | None:
    """A table with labels, or events exported from BORIS; None if it is neither."""
    try:
        return LabelSource("table", path) if read_table(path).label_names else None
    except TableError:
        pass
    try:
        return LabelSource("boris", path) if read_boris(path) else None
    except (TableError, UsageError):
        return None


def _is_boris(path: Path) -> bool:
    return path.name.lower().endswith(_BORIS)


def _is_folder_per_class(folder: Path) -> bool:
    names = [video.relative_to(folder).parts for video in search_videos([folder]).videos]
    return len({parts[0] for parts in names}) > 1 and all(len(parts) > 1 for parts in names)
