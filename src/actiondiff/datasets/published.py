"""Published datasets: what they consist of, where they are to be had, and finding their files on a disk."""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from actiondiff.datasets import DATASETS
from actiondiff.datasets.base import Table
from actiondiff.errors import TableError, UnknownNameError, UsageError
from actiondiff.video.probe import find_videos

__all__ = [
    "AnnotationFile",
    "DatasetProtocol",
    "PublishedDataset",
    "VideoIndex",
    "find_annotations",
    "read_dataset",
]

Reader: TypeAlias = Callable[..., Table]
_DEPTH = 4  # folders below the one given that are searched for annotation files


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file that a dataset needs.

    Attributes:
        pattern: Regular expression of its name, in lower case.
        example: Its name, for people.
        purpose: What it says.
        count: How many such files there are.
        needed: Whether reading fails without it.
    """

    pattern: str
    example: str
    purpose: str
    count: int = 1
    needed: bool = True


@dataclass(frozen=True)
class DatasetProtocol:
    """A way to divide a dataset.

    Attributes:
        description: What trains and what tests, in a sentence.
        sizes: Side (`train`, `val`, `test`), or value of `domain`, -> clips it has in the literature, or by
            our rule where the protocol is ours.
        metric: What its numbers are in the literature.
        domain: Column whose values are the domains, where the protocol marks no split.
    """

    description: str
    sizes: Mapping[str, int]
    metric: str
    domain: str = ""


@dataclass(frozen=True)
class PublishedDataset:
    """A dataset that others published.

    Attributes:
        name: In commands, for example `animal-kingdom`.
        title: For people.
        home: Its official page.
        licence: Terms, as far as known, in a sentence.
        steps: How to get it, step by step.
        layout: Where its videos lie in the official packaging, for people.
        files: Its annotation files.
        protocols: Name -> protocol; the first is the default.
        reader: Called with (annotations, videos, protocol=name), gives the table.
    """

    name: str
    title: str
    home: str
    licence: str
    steps: tuple[str, ...]
    layout: str
    files: tuple[AnnotationFile, ...]
    protocols: Mapping[str, DatasetProtocol]
    reader: Reader = field(repr=False)

    def protocol(self, name: str) -> DatasetProtocol:
        """A protocol by name.

        Raises:
            UnknownNameError: If there is none of that name.
        """
        if name not in self.protocols:
            raise UnknownNameError(f"protocol of {self.name}", name, self.protocols)
        return self.protocols[name]


class VideoIndex:
    """The videos below a folder, found by their names whatever the folders and suffixes.

    Args:
        root: The folder; one that does not exist has no videos.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        found = find_videos([root]) if root.is_dir() else []
        self._exact: dict[str, list[str]] = {}
        self._plain: dict[str, list[str]] = {}
        for path in sorted(found, key=lambda path: (len(path.parts), path.as_posix())):
            name = path.relative_to(root).as_posix()
            self._exact.setdefault(path.stem, []).append(name)
            self._plain.setdefault(_plain(path.stem), []).append(name)
        self.num_videos = len(found)

    def find(self, stem: str) -> str | None:
        """Path of a video relative to the root, by its name without suffix; None if it is not there.

        The very name goes first; else one that differs in case and in characters other than letters and
        digits (unpackers drop brackets and the like), if there is one only. Of several places, the one in
        the fewest folders.
        """
        exact = self._exact.get(stem)
        if exact:
            return exact[0]
        alike = self._plain.get(_plain(stem), [])
        return alike[0] if len({PurePosixPath(name).stem for name in alike}) == 1 else None

    def place(self, official: str) -> str:
        """Where a video is; if it is not on disk, the path it has in the official packaging."""
        return self.find(PurePosixPath(official).stem) or official

    def repeated(self) -> dict[str, list[str]]:
        """Names that are in several places: name without suffix -> paths."""
        return {stem: names for stem, names in self._exact.items() if len(names) > 1}


def find_annotations(
    folder: str | os.PathLike[str], files: Sequence[AnnotationFile], *, dataset: str
) -> dict[str, Path]:
    """Annotation files by name, wherever they lie up to four folders below the one given.

    Args:
        folder: The folder, or one of the files in it.
        files: What to look for.
        dataset: For messages.

    Returns:
        Name in lower case -> path. Of several files of one name, the one in the fewest folders.

    Raises:
        UsageError: If the folder does not exist.
    """
    folder = Path(folder)
    folder = folder.parent if folder.is_file() else folder
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {folder}; give the one that holds {dataset}. "
            f"How to get it: actiondiff datasets check {dataset} --data FOLDER."
        )
    patterns = [re.compile(file.pattern) for file in files]
    found: dict[str, Path] = {}
    level = [folder]
    for _ in range(_DEPTH + 1):
        below: list[Path] = []
        for here in level:
            for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                name = entry.name.lower()
                if any(pattern.fullmatch(name) for pattern in patterns) and entry.is_file():
                    found.setdefault(name, Path(entry.path))
                elif entry.is_dir():
                    below.append(Path(entry.path))
        level = below
    return found


def require(found: Mapping[str, Path], file: AnnotationFile, folder: object, dataset: str) -> list[Path]:
    """The found files of a kind.

    Raises:
        TableError: If there is none.
    """
    paths = [path for name, path in sorted(found.items()) if re.fullmatch(file.pattern, name)]
    if not paths:
        what = f"{file.example} ({file.purpose}) is not there, nor in its folders"
        advice = f"how to get it: actiondiff datasets check {dataset} --data {folder}"
        raise TableError(folder, [f"{what}; {advice}"])
    return paths


def read_dataset(
    name: str,
    data: str | os.PathLike[str],
    *,
    protocol: str | None = None,
    annotations: str | os.PathLike[str] | None = None,
) -> Table:
    """A published dataset as a table, by name.

    Args:
        name: Of `DATASETS`.
        data: Folder with the videos, and with the annotation files if these are not elsewhere.
        protocol: One of the dataset's; its first if not given.
        annotations: Folder with the annotation files.

    Raises:
        UnknownNameError: If the dataset or the protocol is unknown.
        UsageError: If a folder does not exist.
        TableError: If an annotation file is missing or not as published.
    """
    dataset: PublishedDataset = DATASETS[name]
    protocol = next(iter(dataset.protocols)) if protocol is None else protocol
    dataset.protocol(protocol)
    return dataset.reader(data if annotations is None else annotations, data, protocol=protocol)


def count_sides(table: Table, protocol: DatasetProtocol) -> dict[str, int]:
    """Clips a side (train, val, test), or a domain where the protocol marks no split."""
    counts: Counter[str] = table.counts(protocol.domain or "split")
    order = [*protocol.sizes, *sorted(set(counts) - set(protocol.sizes))]
    return {name: counts[name] for name in order if counts[name] or name in protocol.sizes}


def _plain(stem: str) -> str:
    return re.sub(r"[^a-z0-9]", "", stem.lower())
