"""Tables of labels: a CSV with one row per clip, or a folder with one sub-folder per class."""

import math
import os
import posixpath
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from actiondiff.datasets.base import Table, value_of
from actiondiff.datasets.columns import name_columns, warn_of_similar_labels
from actiondiff.datasets.folders import read_folder
from actiondiff.datasets.sheets import read_sheet
from actiondiff.errors import TableError, UsageError, warn_once
from actiondiff.types import Example
from actiondiff.video.names import locate

__all__ = ["SPLITS", "read_rows", "read_table"]

SPLITS = ("train", "val", "test")
_TIMES = ("start_seconds", "end_seconds")
_CLOCK = re.compile(r"(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>[0-5]?\d(?:[.,]\d+)?)")
_MINUTES = re.compile(r"\d+:[0-5]?\d(?:[.,]\d+)?")
_OWN_COLUMNS = ("video", "label", "start_seconds", "end_seconds", "split", "group")


def read_table(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, check_files: bool = False
) -> Table:
    """Read a table of clips; a folder is read as one sub-folder per class.

    The CSV has a header with `video` (relative to the table) and, optionally, `label` (several separated by
    `;`), `start_seconds`, `end_seconds`, `split` (train, val, test), `group` and any further columns. The
    separator is the comma, semicolon or tab that the header uses most. Empty rows are skipped. Times are
    seconds, or `00:01:03.5`. A file that is not in UTF-8 is read as Windows-1252, and a column such as `file`
    or `Start` is taken for `video` or `start_seconds` if there is only one that may be meant; both are logged
    as warnings, as are labels that differ in one letter. Labels that differ only in case or blanks are
    errors.

    Args:
        path: The CSV or folder.
        root: Folder that the CSV's paths are relative to, if it is not the CSV's own.
        check_files: Whether to report rows whose video is not on disk as well.

    Raises:
        UsageError: If the path does not exist.
        TableError: If anything is wrong; the error lists all problems by row (the header is row 1).
    """
    path = Path(path)
    if path.is_dir():
        return read_folder(path)
    if not path.is_file():
        raise UsageError(
            f"there is no table at {path}; give a CSV with the columns video and label, or a folder."
        )
    base = path.parent if root is None else Path(root)
    rows = read_rows(path)
    problems: list[str] = []
    examples = [_example(number, row, base, problems) for number, row in rows]
    problems += _repeated(examples, [number for number, _ in rows])
    problems += _alike({label for example in examples for label in example.labels})
    if not examples:
        problems.append("the table has no rows")
    if check_files:
        problems += [
            f"row {number}: {example.video} does not exist"
            for (number, _), example in zip(rows, examples, strict=True)
            if example.video and not (base / example.video).is_file()
        ]
    if problems:
        raise TableError(path, problems)
    warn_of_similar_labels(path, examples)
    if any(_MINUTES.fullmatch(row.get(name, "")) for _, row in rows for name in _TIMES):
        warn_once(f"{path}: times with one colon, such as 01:03, were read as minutes and seconds.")
    return Table(path, base, tuple(examples))


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV about videos as (row number, column -> cell).

    Cells are stripped, and empty rows are left out. Columns have the names that `read_table` expects.

    Args:
        path: The CSV.

    Raises:
        TableError: If the file is not a valid CSV, or lacks the column `video`; the error lists all problems.
    """
    sheet = read_sheet(path)
    names, problems = name_columns(path, sheet.header)
    if "video" not in names and not any(problem.endswith("to video") for problem in problems):
        problems.append(
            f"the column video is missing; the header has: {', '.join(sheet.header) or 'nothing'}"
        )
    if problems:
        raise TableError(path, problems)
    return [(number, dict(zip(names, cells, strict=True))) for number, cells in sheet.rows]


def _example(number: int, row: Mapping[str, str], base: Path, problems: list[str]) -> Example:
    """Example of a row; its problems are added to the list."""
    video = row["video"]
    if video:
        video = posixpath.normpath(locate(base, video))  # "./a.mp4" is the clip a.mp4
    else:
        problems.append(f"row {number}: video is empty")
    start, end = (
        _seconds(number, name, row.get(name, ""), problems) for name in ("start_seconds", "end_seconds")
    )
    if start is not None and end is not None and end <= start:
        problems.append(f"row {number}: end_seconds {end:g} is not after start_seconds {start:g}")
    split = {"validation": "val"}.get(row.get("split", "").lower(), row.get("split", "").lower())
    if split and split not in SPLITS:
        problems.append(f"row {number}: split is {split!r}; it must be {', '.join(SPLITS)} or empty")
    text = unicodedata.normalize("NFC", row.get("label", ""))  # one letter may be encoded in two ways
    labels = [label.strip() for label in text.split(";")]
    return Example(
        video=video,
        labels=tuple(dict.fromkeys(label for label in labels if label)),
        start_seconds=start,
        end_seconds=end,
        split=split,
        group=row.get("group", ""),
        columns={name: value for name, value in row.items() if name not in _OWN_COLUMNS and name},
    )


def _seconds(number: int, name: str, text: str, problems: list[str]) -> float | None:
    if not text:
        return None
    clock = _CLOCK.fullmatch(text)
    try:
        value = float((clock["seconds"] if clock else text).replace(",", "."))
    except ValueError:
        value = math.nan
    if clock:
        value += 60 * int(clock["minutes"]) + 3600 * int(clock["hours"] or 0)
        if clock["hours"] and int(clock["minutes"]) >= 60:
            value = math.nan
    if not math.isfinite(value) or value < 0:
        problems.append(
            f"row {number}: {name} is {text!r}; it must be a number of seconds, 0 or more, or like 00:01:03.5"
        )
        return None
    return value


def _repeated(examples: Sequence[Example], numbers: Sequence[int]) -> list[str]:
    """Problems of rows that name the same span of the same video (and individual) as an earlier row."""
    seen: dict[tuple[object, ...], int] = {}
    problems = []
    for number, example in zip(numbers, examples, strict=True):
        individual = value_of(example, "individual")
        key = (example.video, individual, example.start_seconds, example.end_seconds)
        if example.video and key in seen:
            problems.append(
                f"row {number}: the same clip as row {seen[key]} ({example.video}); remove one of them, or "
                "put their labels in one row, separated by ;"
            )
        seen.setdefault(key, number)
    return problems


def _alike(labels: set[str]) -> list[str]:
    """Problems of labels that differ only in case or blanks."""
    seen: dict[str, str] = {}
    problems = []
    for label in sorted(labels):
        plain = " ".join(label.casefold().split())
        if plain in seen:
            problems.append(
                f"the labels {seen[plain]!r} and {label!r} differ only in case or blanks; write them alike"
            )
        seen.setdefault(plain, label)
    return problems
