"""Published datasets: what they consist of, where they are to be had, and finding their files on a disk."""

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
