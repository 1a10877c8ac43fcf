"""Published datasets: what they consist of, where to get them, and reading one as a table."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from actiondiff.datasets import DATASETS
from actiondiff.datasets.base import Table
from actiondiff.datasets.files import AnnotationFile
from actiondiff.errors import UnknownNameError

__all__ = [
    "DatasetProtocol",
    "PublishedDataset",
    "count_sides",
    "read_dataset",
]

Reader: TypeAlias = Callable[..., Table]


@dataclass(frozen=True)
class DatasetProtocol:
    """A way to divide a dataset.

    Attributes:
        description: Which clips train and which test, in a sentence.
        sizes: Side (`train`, `val`, `test`) or value of `domain` -> number of its clips in the literature,
            or by our rule where the protocol is ours.
        metric: Metric that the literature reports.
        domain: Column whose values are the domains, where the protocol marks no split.
    """

    description: str
    sizes: Mapping[str, int]
    metric: str
    domain: str = ""


@dataclass(frozen=True)
class PublishedDataset:
    """A dataset that others have published.

    Attributes:
        name: Name in commands, for example `animal-kingdom`.
        title: Name for people.
        home: Address of its official page.
        licence: Terms of use, as far as known, in a sentence.
        steps: How to get it, step by step.
        layout: Example of a video's path in the official packaging.
        files: Its annotation files.
        protocols: Name -> protocol; the first is the default.
        reader: Function that is called with (annotations, videos, protocol=name) and returns the table.
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
        """Look up a protocol by its name.

        Raises:
            UnknownNameError: If there is no protocol of that name.
        """
        if name not in self.protocols:
            raise UnknownNameError(f"protocol of {self.name}", name, self.protocols)
        return self.protocols[name]


def read_dataset(
    name: str,
    data: str | os.PathLike[str],
    *,
    protocol: str | None = None,
    annotations: str | os.PathLike[str] | None = None,
) -> Table:
    """Read a published dataset as a table.

    Args:
        name: Name of the dataset in `DATASETS`.
        data: Folder with the videos.
        protocol: Name of a protocol; by default the dataset's first.
        annotations: Folder with the annotation files; by default `data`.

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
    """Number of clips per side (train, val, test), or per domain where the protocol marks no split."""
    counts: Counter[str] = table.counts(protocol.domain or "split")
    order = [*protocol.sizes, *sorted(set(counts) - set(protocol.sizes))]
    return {name: counts[name] for name in order if counts[name] or name in protocol.sizes}
