"""A user's labels: a CSV with a row a clip, or a folder with a sub-folder a class."""

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
_KNOWN = ("video", "label", "start_seconds", "end_seconds", "split", "group")
_DELIMITERS = ",;\t"
_ALIKE = {
    "label": "label labels behavior behaviors behaviour behaviours action actions class classes",
    "start_seconds": "start starts startsec startsecond startseconds starttime starttimes onset",
    "end_seconds": "end ends endsec endsecond endseconds endtime endtimes stop stops stoptime offset",
    "split": "split",
    "group": "group",
}  # what a column is called by mistake: its letters alone, in lower case


def read_table(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, check_files: bool = False
) -> Table:
    """Read a table of clips; a folder is taken as a folder per class.

    The CSV has a header with `video` (relative to the table) and, as wanted, `label` (several separated by
    `;`), `start_seconds`, `end_seconds`, `split` (train, val, test), `group`, and any further columns. It is
    UTF-8; the separator is the comma, semicolon or tab that the header uses most. Empty rows are skipped.
    Labels that differ in case or blanks only count as misspelt, and so do columns such as `start` or `Label`
    where there is no `start_seconds` or `label`.

    Args:
        path: The table or folder.
        root: Folder that a CSV's paths are relative to, if not its own.
        check_files: Also list rows whose video is not on disk.

    Raises:
        UsageError: If the path does not exist.
        TableError: If anything is wrong; it lists all problems, by row (the header is row 1).
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
        problems.append("it has no rows")
    if check_files:
        problems += [
            f"row {number}: {example.video} is not there"
            for (number, _), example in zip(rows, examples, strict=True)
            if example.video and not (base / example.video).is_file()
        ]
    if problems:
        raise TableError(path, problems)
    return Table(path, base, tuple(examples))


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Row numbers and cells of a CSV about videos, cells stripped, empty rows left out.

    Raises:
        TableError: If it is no such CSV, or lacks the column `video`; it lists all problems.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise TableError(path, [f"it cannot be read as UTF-8 text ({error}); save it as CSV UTF-8"]) from None
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
        what = f"row {len(records) + 1}: it is no CSV: {error}; look at its quotes"
        raise TableError(path, [what]) from None
    lines = [(number, cells) for number, cells in enumerate(records, start=1) if any(cells)]
    names = lines[0][1] if lines else []
    problems = [
        f"the column {name} stands {names.count(name)} times"
        for name in sorted({name for name in names if name and names.count(name) > 1})
    ]
    for name, others in _ALIKE.items():
        meant = [other for other in names if re.sub("[^a-z]", "", other.lower()) in others.split()]
        if name not in names and meant:
            problems.append(
                f"there is no column {name}, but {meant[0]!r}: call it {name}, or name it otherwise if it "
                "means something else"
            )
    if "video" not in names:
        found = ", ".join(names) or "nothing"
        problems.append(f"the column video is missing; the header has: {found}")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) > len(names) and any(cells[len(names) :]):
            problems.append(
                f"row {number}: {len(cells)} cells, {len(names)} columns; quote cells with a {delimiter!r}"
            )
        rows.append((number, dict(zip(names, [*cells, *[""] * len(names)], strict=False))))
    if problems:
        raise TableError(path, problems)
    return rows


def _example(number: int, row: Mapping[str, str], problems: list[str]) -> Example:
    """A row's clip; what is wrong with it is added to the problems."""
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
        problems.append(f"row {number}: split is {split!r}; it may be {', '.join(SPLITS)} or empty")
    text = unicodedata.normalize("NFC", row.get("label", ""))  # one letter may be written in two ways
    labels = [label.strip() for label in text.split(";")]
    return Example(
        video=video,
        labels=tuple(dict.fromkeys(label for label in labels if label)),
        start_seconds=start,
        end_seconds=end,
        split=split,
        group=row.get("group", ""),
        columns={name: value for name, value in row.items() if name not in _KNOWN and name},
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
    """Rows that name the same span of the same video as an earlier one."""
    seen: dict[tuple[object, ...], int] = {}
    problems = []
    for number, example in zip(numbers, examples, strict=True):
        key = (example.video, example.start_seconds, example.end_seconds)
        if example.video and key in seen:
            problems.append(
                f"row {number}: the same clip as row {seen[key]} ({example.video}); leave one out, or put "
                "their labels in one row, separated by ;"
            )
        seen.setdefault(key, number)
    return problems


def _alike(labels: set[str]) -> list[str]:
    """Labels that differ in case or blanks only."""
    seen: dict[str, str] = {}
    problems = []
    for label in sorted(labels):
        plain = " ".join(label.casefold().split())
        if plain in seen:
            problems.append(
                f"the labels {seen[plain]!r} and {label!r} differ in case or blanks only; write them alike"
            )
        seen.setdefault(plain, label)
    return problems
