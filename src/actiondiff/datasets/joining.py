"""Several tables of labels as one, and examples as a table on disk."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actiondiff.datasets.base import Table
from actiondiff.datasets.bouts import write_rows
from actiondiff.types import Example

__all__ = ["JoinedExamples", "join_tables", "write_examples"]

_NOT_KEPT = ("suggestion", "probability", "certainty")  # a model's words in a queue, which are no labels


@dataclass(frozen=True)
class JoinedExamples:
    """Examples of several tables.

    Attributes:
        examples: In the order in which their clips are first met.
        num_replaced: How many gave way to a later row of the same clip.
        num_without_label: How many were left out because nobody had labelled them.
    """

    examples: tuple[Example, ...]
    num_replaced: int
    num_without_label: int


def join_tables(tables: Sequence[Table], *, root: str | os.PathLike[str]) -> JoinedExamples:
    """Put tables together; of rows about the same span of the same file the last counts.

    What a later row leaves empty (`split`, `group`, further columns) stays as the earlier one has it.

    Args:
        tables: The later ones win.
        root: Folder that paths are to be relative to.
    """
    base = Path(root).resolve()
    joined: dict[tuple[str, float | None, float | None], Example] = {}
    replaced = without = 0
    for table in tables:
        for example in table.examples:
            if not example.labels:
                without += 1
                continue
            video = Path(os.path.relpath((table.root / example.video).resolve(), base)).as_posix()
            own = {name: value for name, value in example.columns.items() if name not in _NOT_KEPT}
            moved = replace(example, video=video, columns=own)
            key = (moved.video, moved.start_seconds, moved.end_seconds)
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
        path: The table; its paths will be relative to its folder.
        examples: The rows.
        root: Folder that the examples' paths are relative to.
    """
    base = Path(path).resolve().parent
    write_rows(path, [_row(example, Path(root).resolve(), base) for example in examples])


def _over(old: Example, new: Example) -> Example:
    kept = {name: value for name, value in old.columns.items() if not new.columns.get(name)}
    return replace(
        new, split=new.split or old.split, group=new.group or old.group, columns={**new.columns, **kept}
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
