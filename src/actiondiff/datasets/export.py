"""Writing a table of clips as a CSV that `read_table` reads."""

import os
from pathlib import Path

from actiondiff.datasets.base import Table
from actiondiff.errors import TableError, UsageError
from actiondiff.provenance import write_csv

__all__ = ["write_table"]


def write_table(table: Table, path: str | os.PathLike[str]) -> None:
    """Write a CSV with one row per clip; videos are relative to the CSV's folder.

    Columns without any value are left out. A CSV cannot say that labels are complete: clips without labels
    are read back as clips whose labels are unknown.

    Args:
        table: The clips.
        path: File to write, with the suffix .csv.

    Raises:
        UsageError: If the path has another suffix.
        TableError: If a label holds `;`, which separates labels.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise UsageError(f"a table is written as .csv; got {path}.")
    wrong = [name for name in table.label_names if ";" in name or name != name.strip()]
    if wrong:
        raise TableError(
            path, [f"the label {name!r} contains ; or begins or ends with a blank" for name in wrong]
        )
    rows = [
        {
            "video": Path(os.path.relpath(table.root / example.video, path.parent)).as_posix(),
            "label": ";".join(example.labels),
            "start_seconds": _seconds(example.start_seconds),
            "end_seconds": _seconds(example.end_seconds),
            "split": example.split,
            "group": example.group,
            **example.columns,
        }
        for example in table.examples
    ]
    names = [
        name
        for name in dict.fromkeys(key for row in rows for key in row)
        if any(row.get(name) for row in rows)
    ]
    columns = list(dict.fromkeys(["video", "label", *names]))
    write_csv(path, columns, rows)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
