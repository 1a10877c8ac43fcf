"""Labels of whole videos as zamba reads them: a CSV with `filepath` and `label`, one row per label.

Several rows of one file are several labels of it. `split` is train, val or holdout; `site` is kept whole.
"""

from pathlib import Path

from actiondiff.datasets.bouts import CodedBout
from actiondiff.datasets.columns import name_columns
from actiondiff.datasets.sheets import read_sheet
from actiondiff.errors import TableError, UsageError

__all__ = ["read_zamba"]

_SPLITS = {"": "", "train": "train", "val": "val", "holdout": "test"}
_OWN = ("filepath", "label", "split", "site")


def read_zamba(path: str | Path) -> list[CodedBout]:
    """Read the labels of a file.

    Args:
        path: The CSV.

    Raises:
        UsageError: If there is no such file.
        TableError: If it is no table of labels, or rows contradict each other; the error lists all problems.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give a CSV with the columns filepath and label.")
    sheet = read_sheet(path)
    problems = [f"the column {name} is missing" for name in ("filepath", "label") if name not in sheet.header]
    if problems and "filepath" in sheet.header:
        problems.append("predictions of zamba (one column per species) are no labels")
    names, unclear = ([], []) if problems else name_columns(path, sheet.header)
    if unclear or {"start_seconds", "end_seconds"} & {*names}:
        problems.append(
            "the file has times, but labels of zamba are about whole videos; use it as a table of labels"
        )
    if problems:
        raise TableError(path, problems)
    if not sheet.rows:
        raise TableError(path, ["the file has a header and no rows"])
    bouts: list[CodedBout] = []
    first: dict[str, tuple[int, dict[str, str]]] = {}
    for number, row in sheet.records():
        problems += [f"row {number}: {name} is empty" for name in ("filepath", "label") if not row[name]]
        split = _SPLITS.get(row.get("split", "").lower())
        if split is None:
            problems.append(
                f"row {number}: split is {row['split']!r}; it must be train, val, holdout or empty"
            )
        before, other = first.setdefault(row["filepath"], (number, row))
        problems += [
            f"rows {before} and {number} contradict each other: {name} of {row['filepath']} is "
            f"{other[name]!r} and {row[name]!r}"
            for name in ("split", "site")
            if row.get(name, "") != other.get(name, "")
        ]
        columns = {name: value for name, value in row.items() if name and name not in _OWN}
        bout = CodedBout(
            row["filepath"], row["label"], None, None, row.get("site", ""), columns=columns, split=split or ""
        )
        bouts.append(bout)
    if problems:
        raise TableError(path, problems)
    return bouts
