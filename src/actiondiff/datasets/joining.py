"""Joining several tables of labels, and writing examples as a table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actiondiff.datasets.base import Table, value_of
from actiondiff.datasets.bouts import write_rows
from actiondiff.types import Example

__all__ = ["JoinedExamples", "join_tables", "write_examples"]

_DROPPED = ("suggestion", "probability", "certainty")  # a model's suggestions in a queue are not labels


@dataclass(frozen=True)
class JoinedExamples:
    """Examples of several tables.

    Attributes:
        examples: The examples, in the order in which their clips first occur.
        num_replaced: Number of rows that a later row of the same clip replaced.
        num_without_label: Number of rows that were left out because they have no label.
    """

    examples: tuple[Example, ...]
    num_replaced: int
    num_without_label: int


def join_tables(tables: Sequence[Table], *, root: str | os.PathLike[str]) -> JoinedExamples:
    """Join tables; of several rows about the same span of the same file and individual, the last one counts.

    Values that a later row leaves empty (`split`, `group`, further columns) are taken from the earlier row.

    Args:
        tables: The tables; later ones override earlier ones.
        root: Folder that the examples' paths will be relative to.
    """
    base = Path(root).resolve()
    joined: dict[tuple[str, str, float | None, float | None], Example] = {}
    replaced = without = 0
    for table in tables:
        for example in table.examples:
            if not example.labels:
                without += 1
                continue
            video = Path(os.path.relpath((table.root / example.video).resolve(), base)).as_posix()
            own = {name: value for name, value in example.columns.items() if name not in _DROPPED}
            moved = replace(example, video=video, columns=own)
            individual = value_of(moved, "individual")
            key = (moved.video, individual, moved.start_seconds, moved.end_seconds)
            if key in joined:
                replaced += 1
                moved = _over(joined[key], moved)
            joined[key] = moved
    return JoinedExamples(tuple(joined.values()), replaced, without)


def write_examples(
    path: str | os.PathLike[str], examples: Sequence[Example], *, root: str | os.PathLike[str]
) -> None:
    """Write examples as a table.

    Args:
        path: File to write; its paths are relative to its folder.
        examples: The rows of the table.
        root: Folder that the examples' paths are relative to.
    """
    base = Path(path).resolve().parent
    write_rows(path, [_row(example, Path(root).resolve(), base) for example in examples])


def _over(old: Example, new: Example) -> Example:
    older = {name: value for name, value in old.columns.items() if not new.columns.get(name)}
    return replace(
        new, split=new.split or old.split, group=new.group or old.group, columns={**new.columns, **older}
    )


def _row(example: Example, root: Path, base: Path) -> dict[str, str]:
    times = ("" if t is None else f"{t:.3f}" for t in (example.start_seconds, example.end_seconds))
    start, end = times
    return {
        "video": Path(os.path.relpath(root / example.video, base)).as_posix(),
        "label": ";".join(example.labels),
        "start_seconds": start,
        "end_seconds": end,
        "split": example.split,
        "group": example.group,
        **example.columns,
    }
