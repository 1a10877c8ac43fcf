"""Check of a published dataset on disk: which files and videos exist, and which are missing."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from actiondiff.datasets import DATASETS
from actiondiff.datasets.base import Table
from actiondiff.datasets.files import AnnotationFile, VideoIndex, find_annotations, is_stand_in
from actiondiff.datasets.published import PublishedDataset, count_sides
from actiondiff.errors import TableError, UsageError

__all__ = ["DatasetCheck", "FileCheck", "ProtocolCheck", "check_dataset"]


@dataclass(frozen=True)
class FileCheck:
    """Annotation files of one kind.

    Attributes:
        file: The kind of file.
        paths: The files on disk.
    """

    file: AnnotationFile
    paths: tuple[Path, ...]

    @property
    def complete(self) -> bool:
        """Whether all files of this kind exist."""
        return len(self.paths) >= self.file.count


@dataclass(frozen=True)
class ProtocolCheck:
    """One protocol, as read from the files on disk.

    Attributes:
        counts: Side (or domain) -> number of clips.
        sizes: The numbers that are expected.
        num_videos: Number of videos that it needs.
        missing: Videos that are not on disk, as paths of the official packaging.
    """

    counts: Mapping[str, int]
    sizes: Mapping[str, int]
    num_videos: int
    missing: tuple[str, ...]

    @property
    def as_published(self) -> bool:
        """Whether every side has the expected number of clips."""
        return dict(self.counts) == dict(self.sizes)


@dataclass(frozen=True)
class DatasetCheck:
    """State of a dataset on disk.

    Attributes:
        dataset: The dataset.
        root: Folder of the videos.
        files: Its annotation files.
        problem: Why the annotations cannot be read; empty if they can.
        protocols: Name -> check of the protocol; empty if the annotations cannot be read.
        num_videos: Number of videos below the root, of this dataset or not.
        repeated: Paths of each video that exists several times; the first path is used.
        is_stand_in: Whether its videos are drawn stand-ins.
    """

    dataset: PublishedDataset
    root: Path
    files: tuple[FileCheck, ...]
    problem: str
    protocols: Mapping[str, ProtocolCheck]
    num_videos: int
    repeated: tuple[tuple[str, ...], ...]
    is_stand_in: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """Videos that any protocol needs and that are not on disk."""
        return tuple(sorted({name for check in self.protocols.values() for name in check.missing}))

    @property
    def complete(self) -> bool:
        """Whether the annotations can be read and all videos of the first protocol are there."""
        return not self.problem and not next(iter(self.protocols.values())).missing


def check_dataset(
    name: str, data: str | os.PathLike[str], *, annotations: str | os.PathLike[str] | None = None
) -> DatasetCheck:
    """Check a folder for the files of a published dataset; nothing is changed.

    Args:
        name: Name of the dataset in `DATASETS`.
        data: Folder with the videos.
        annotations: Folder with the annotation files; by default `data`.

    Raises:
        UnknownNameError: If the dataset is unknown.
        UsageError: If a folder does not exist.
    """
    dataset: PublishedDataset = DATASETS[name]
    root = Path(data)
    if not root.is_dir():
        raise UsageError(f"there is no folder {root} with {name}. Get it from {dataset.home}.")
    folder = root if annotations is None else Path(annotations)
    paths = find_annotations(folder, dataset.files, dataset=name)
    files = tuple(
        FileCheck(file, tuple(path for key, path in sorted(paths.items()) if re.fullmatch(file.pattern, key)))
        for file in dataset.files
    )
    index = VideoIndex(root)
    try:
        tables = {key: dataset.reader(folder, root, protocol=key) for key in dataset.protocols}
    except TableError as error:
        return DatasetCheck(dataset, root, files, str(error), {}, index.num_videos, (), is_stand_in(root))
    used = {example.video for table in tables.values() for example in table.examples}
    repeated = tuple(tuple(names) for names in index.repeated().values() if used.intersection(names))
    protocols = {key: _protocol(dataset, key, table) for key, table in tables.items()}
    return DatasetCheck(dataset, root, files, "", protocols, index.num_videos, repeated, is_stand_in(root))


def _protocol(dataset: PublishedDataset, name: str, table: Table) -> ProtocolCheck:
    protocol = dataset.protocols[name]
    videos = sorted({example.video for example in table.examples})
    missing = tuple(video for video in videos if not (table.root / video).is_file())
    return ProtocolCheck(count_sides(table, protocol), protocol.sizes, len(videos), missing)
