"""Tables of labels: a CSV with one row per clip, or a folder with one sub-folder per class."""

import csv
import io
import math
import os
import posixpath
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from actiondiff.datasets.base import Table
from actiondiff.datasets.folders import read_folder
from actiondiff.errors import TableError, UsageError
from actiondiff.types import Example

__all__ = ["SPLITS", "read_rows", "read_table"]

SPLITS = ("train", "val", "test")
_OWN_COLUMNS = ("video", "label", "start_seconds", "end_seconds", "split", "group")
_DELIMITERS = ",;\t"
_ALIKE = {
    "label": "label labels behavior behaviors behaviour behaviours action actions class classes",
    "start_seconds": "start starts startsec startsecond startseconds starttime starttimes onset",
    "end_seconds": "end ends endsec endsecond endseconds endtime endtimes stop stops stoptime offset",
    "split": "split",
    "group": "group",
}  # column -> names that are used for it by mistake (letters only, in lower case)


def read_table(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, check_files: bool = False
) -> Table:
    """Read a table of clips; a folder is read as one sub-folder per class.

    The CSV has a header with `video` (relative to the table) and, optionally, `label` (several separated by
    `;`), `start_seconds`, `end_seconds`, `split` (train, val, test), `group` and any further columns. It is
    encoded in UTF-8; the separator is the comma, semicolon or tab that the header uses most. Empty rows are
    skipped. Labels that differ only in case or blanks are reported as misspelt, and so are columns such as
    `start` or `Label` if there is no `start_seconds` or `label`.

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
    examples = [_example(number, row, problems) for number, row in rows]
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
    return Table(path, base, tuple(examples))


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV about videos as (row number, column -> cell).

    Cells are stripped, and empty rows are left out.

    Args:
        path: The CSV.

    Raises:
        TableError: If the file is not a valid CSV, or lacks the column `video`; the error lists all problems.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise TableError(path, [f"not a text file in UTF-8 ({error}); save it as CSV UTF-8"]) from None
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    records: list[list[str]] = []
    try:
        for cells in reader:
            records.append([cell.strip() for cell in cells])
    except csv.Error as error:
        what = f"row {len(records) + 1}: not valid CSV ({error}); check the quoting in this row"
        raise TableError(path, [what]) from None
    lines = [(number, cells) for number, cells in enumerate(records, start=1) if any(cells)]
    names = lines[0][1] if lines else []
    problems = [
        f"the column {name} occurs {names.count(name)} times"
        for name in sorted({name for name in names if name and names.count(name) > 1})
    ]
    for name, others in _ALIKE.items():
        meant = [other for other in names if re.sub("[^a-z]", "", other.lower()) in others.split()]
        if name not in names and meant:
            problems.append(
                f"there is a column {meant[0]!r}, but no column {name}; rename it to {name}, or to something "
                "else if it means something else"
            )
    if "video" not in names:
        header_names = ", ".join(names) or "nothing"
        problems.append(f"the column video is missing; the header has: {header_names}")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) > len(names) and any(cells[len(names) :]):
            problems.append(
                f"row {number}: {len(cells)} cells for {len(names)} columns; quote cells that contain "
                f"{delimiter!r}"
            )
        rows.append((number, dict(zip(names, [*cells, *[""] * len(names)], strict=False))))
    if problems:
        raise TableError(path, problems)
    return rows


def _example(number: int, row: Mapping[str, str], problems: list[str]) -> Example:
    """Example of a row; its problems are added to the list."""
    video = row["video"].replace("\\", "/")
    if video:
        video = posixpath.normpath(video)  # "./a.mp4" is the clip a.mp4
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
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        problems.append(f"row {number}: {name} is {text!r}; it must be a number of seconds, 0 or more")
        return None
    return value


def _repeated(examples: Sequence[Example], numbers: Sequence[int]) -> list[str]:
    """Problems of rows that name the same span of the same video as an earlier row."""
    seen: dict[tuple[object, ...], int] = {}
    problems = []
    for number, example in zip(numbers, examples, strict=True):
        key = (example.video, example.start_seconds, example.end_seconds)
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
