"""Reading the tables that people and their programs write: encodings, separators, headers, side files."""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actiondiff.datasets.workbooks import read_workbook_lines
from actiondiff.errors import TableError, warn_once
from actiondiff.provenance import text_of_cell
from actiondiff.video.search import is_system_name

__all__ = [
    "TABLE_SUFFIXES",
    "Sheet",
    "decode_text",
    "find_files",
    "read_lines",
    "read_sheet",
    "read_text",
    "repeated_columns",
]

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx", ".ods")
"""Suffixes of files that may be tables of labels."""

_DELIMITERS = ",;\t"
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # byte order mark -> encoding; UTF-32's first, as it begins like UTF-16's
_ZIP = b"PK\x03\x04"
_ARCHIVES = (_ZIP, b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"%PDF")
_LARGEST_BYTES = 512 << 20


@dataclass(frozen=True)
class Sheet:
    """The content of a CSV or TSV file, or of the only sheet of a workbook.

    Attributes:
        header: Names of the columns, stripped.
        rows: Row number in the file (the header's is usually 1) and cells, stripped; as many cells as there
            are columns. Empty rows are left out.
        delimiter: What separates cells; empty in a workbook.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    delimiter: str

    def records(self) -> list[tuple[int, dict[str, str]]]:
        """The rows as (row number, column -> cell)."""
        return [(number, dict(zip(self.header, cells, strict=True))) for number, cells in self.rows]


def find_files(path: Path, pattern: str) -> list[Path]:
    """The file itself, or the files below a folder that match a pattern, sorted.

    Side files of editors and operating systems (`._x.csv`, `~$x.csv`), and all that lies in folders of file
    servers, are left out.
    """
    if not path.is_dir():
        return [path]
    files = (file for file in path.rglob(pattern) if file.is_file())
    return sorted(file for file in files if not any(map(is_system_name, file.relative_to(path).parts)))


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or UTF-16 or UTF-32 with a byte order mark; else in Windows-1252.

    The latter is a guess, and is logged as a warning.

    Raises:
        TableError: If the file cannot be read, is empty, or is no text.
    """
    return decode_text(path, _read_bytes(path))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise TableError(path, [f"the file is larger than {_LARGEST_BYTES >> 20} MiB; split it"])
        return path.read_bytes()
    except OSError as error:
        raise TableError(path, [f"the file cannot be read ({error.strerror})"]) from None


def decode_text(path: Path, data: bytes) -> str:
    """Decode what `read_text` read from a path."""
    if data.startswith(_ARCHIVES):
        raise TableError(path, ["an old workbook or an archive, and not a text file; save it as CSV UTF-8"])
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise TableError(path, [f"the file is cut short or not {encoding}; save it as UTF-8"]) from None
        text = _decode_legacy(path, data)
    if "\0" in text:
        raise TableError(path, ["not a text file: it holds zero bytes; save it as CSV UTF-8"])
    if not text.strip():
        raise TableError(path, ["the file is empty"])
    return text


def _decode_legacy(path: Path, data: bytes) -> str:
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if not text or "\0" in text:
        raise TableError(path, ["not a text file in UTF-8 or Windows-1252; save it as CSV UTF-8"])
    words = re.findall(r"\w+", text) + text.split()
    sample = next((f" ({word[:40]!r} is one of its words)" for word in words if not word.isascii()), "")
    warn_once(
        f"{path}: not in UTF-8; it was read as Windows-1252{sample}. Save it as UTF-8 if this is wrong."
    )
    return text


def read_sheet(path: Path) -> Sheet:
    """Read a CSV or TSV file, or the only sheet of a workbook (.xlsx, .ods), with a header.

    Args:
        path: The file.

    Raises:
        TableError: If it is not a valid CSV file, has columns of the same name, or rows with more cells than
            columns; the error lists all problems.
    """
    lines, delimiter = read_lines(path)
    header = [text_of_cell(name) for name in lines[0][1]] if lines else []
    while header and not header[-1] and not any(len(cells) >= len(header) and cells[len(header) - 1]
                                                for _, cells in lines):  # fmt: skip
        header.pop()  # separators at the end of every line
    problems = repeated_columns(header)
    rows: list[tuple[int, tuple[str, ...]]] = []
    for number, cells in lines[1:]:
        if any(cells[len(header) :]):
            problems.append(
                f"row {number}: {len(cells)} cells for {len(header)} columns; "
                + (f"quote cells that contain {delimiter!r}" if delimiter else "name every column")
            )
        padded = [*cells, *[""] * len(header)][: len(header)]
        rows.append((number, tuple(text_of_cell(cell) for cell in padded)))
    if problems:
        raise TableError(path, problems)
    return Sheet(tuple(header), tuple(rows), delimiter)


def read_lines(path: Path) -> tuple[list[tuple[int, list[str]]], str]:
    """Row numbers and stripped cells of all rows that are not empty; and what separates cells.

    The latter is the separator that the first line has most of, and empty for a workbook.

    Raises:
        TableError: If the file is neither text nor a workbook, is empty, or is not valid CSV.
    """
    data = _read_bytes(path)
    if data.startswith(_ZIP):
        lines = read_workbook_lines(path, data)
        if not lines:
            raise TableError(path, ["the workbook is empty"])
        return lines, ""
    text = decode_text(path, data)
    first = next(line for line in text.splitlines() if line.strip())
    delimiter = max(_DELIMITERS, key=first.count)
    return _parse_lines(path, text, delimiter), delimiter


def _parse_lines(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=delimiter != "\t"
    )
    lines: list[tuple[int, list[str]]] = []
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append((number, stripped))
    except csv.Error as error:
        what = f"row {number + 1}: not valid CSV ({error}); check the quoting in this row"
        raise TableError(path, [what]) from None
    return lines


def repeated_columns(header: Sequence[str]) -> list[str]:
    """Problems of columns that have the same name."""
    return [
        f"the column {name} occurs {header.count(name)} times"
        for name in sorted({name for name in header if name and header.count(name) > 1})
    ]
