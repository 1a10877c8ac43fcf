"""Labels of videos, joined with the crops of these videos whose features are stored."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from actiondiff.datasets.base import Table
from actiondiff.errors import TableError, VideoError
from actiondiff.features.store import FeatureStore
from actiondiff.types import Example
from actiondiff.video.crop_file import individual_of, is_crop

__all__ = ["INDIVIDUAL", "table_of_crops"]

INDIVIDUAL = "individual"
"""Column of a table that says which of a video's individuals a row is about."""


def table_of_crops(table: Table, store: FeatureStore, root: str | os.PathLike[str]) -> Table:
    """A table about videos, turned into one about the crops of these videos that a store holds.

    A row that names an individual is about that one; any other row is about the only one that there is. Two
    individuals of one video stay on the same side of a split: they are in the group of the row, or else in
    one of the video.

    Args:
        table: Clips and their labels. Rows about crops, or about videos without crops, stay as they are.
        store: The features.
        root: Folder that the table's paths are relative to.

    Raises:
        TableError: If a row does not say which of several individuals it is about.
    """
    crops: dict[Path, dict[str, Path]] = {}
    for name in {*store.videos(), *store.failures}:
        if is_crop(name):
            path = store.root / name
            with suppress(VideoError):  # crops that were removed since are not needed
                source, individual = individual_of(path) or (path, "")
                crops.setdefault(source, {})[individual] = path
    if not crops:
        return table
    problems: list[str] = []
    examples = tuple(_about_crops(table, crops, Path(root), problems))
    if problems:
        raise TableError(table.source, problems)
    return replace(table, examples=examples)


def _about_crops(
    table: Table, crops: dict[Path, dict[str, Path]], root: Path, problems: list[str]
) -> Iterator[Example]:
    for example in table.examples:
        own = crops.get(Path(os.path.abspath(root / example.video)), {})
        name = example.columns.get(INDIVIDUAL, "")
        if len(own) > 1 and not name:
            problem = (
                f"{example.video} has the individuals {', '.join(sorted(own)[:5])}; add a column "
                f"{INDIVIDUAL} that says which of them each row describes"
            )
            problems += [] if problem in problems else [problem]
        crop = own.get(name) if name else next(iter(own.values()), None)
        if crop is None:
            yield example
            continue
        individual = name or next(iter(own))
        yield replace(
            example,
            video=Path(os.path.relpath(crop, os.path.abspath(root))).as_posix(),
            group=example.group or example.video,
            columns={**example.columns, INDIVIDUAL: individual},
        )
