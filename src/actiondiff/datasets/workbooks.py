"""The cells of a workbook, as text: Excel's .xlsx, read by openpyxl, and OpenDocument's .ods.

Readers of OpenDocument are either not kept up or end the whole process where a file claims a million empty
columns, so that its few rules are here.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element

from actiondiff.datasets.xml import parse_xml
from actiondiff.errors import TableError

__all__ = ["read_workbook_lines"]

_LARGEST_BYTES = 512 << 20
_MOST_CELLS = 5_000_000
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_CALC_TYPE = "{urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0}value-type"
_EXPORT = "save the table as CSV UTF-8"
_Line: TypeAlias = tuple[int, list[str]]


def read_workbook_lines(path: Path, data: bytes) -> list[_Line]:
    """Row numbers and stripped cells of all rows that are not empty, of the only sheet that has any.

    Numbers are written in the shortest way (5, 2.5), dates and times as in ISO 8601, durations as h:mm:ss.

    Args:
        path: The file, for messages.
        data: Its content, which begins like a zip archive.

    Raises:
        TableError: If it is no workbook, is too large, has several sheets with cells, or has cells that hold
            an error or a formula without a value.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        names = {item.filename: item for item in archive.infolist()}
        if sum(item.file_size for item in names.values()) > _LARGEST_BYTES:
            raise TableError(
                path, [f"the workbook unpacks to more than {_LARGEST_BYTES >> 20} MiB; split it"]
            )
        if "content.xml" in names:
            sheets = _opendocument(path, archive.read("content.xml"))
        elif "xl/workbook.xml" in names:
            sheets = _excel(path, data)
        else:
            raise TableError(path, [f"an archive, and neither a table nor a workbook; {_EXPORT}"])
    except TableError:
        raise
    except Exception as error:  # openpyxl raises whatever its zip and XML readers do
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TableError(path, [f"the workbook cannot be read ({reason}); {_EXPORT}"]) from None
    filled = {name: lines for name, lines in sheets.items() if lines}
    if len(filled) > 1:
        listed = ", ".join(map(repr, filled))
        raise TableError(path, [f"several sheets have cells ({listed}); save the one to read on its own"])
    return next(iter(filled.values()), [])


def _excel(path: Path, data: bytes) -> dict[str, list[_Line]]:
    formulas, has_formulas = _excel_sheets(path, data, with_values=False)
    if not has_formulas:
        return formulas
    sheets, _ = _excel_sheets(path, data, with_values=True)
    _require_values(path, formulas, sheets)
    return sheets


def _excel_sheets(path: Path, data: bytes, *, with_values: bool) -> tuple[dict[str, list[_Line]], bool]:
    """Sheet -> lines, with formulas or the values that were last computed; and whether there are formulas."""
    import openpyxl  # only where there is a workbook: it takes a while to import

    has_formulas = False

    def values(sheet: Any) -> Iterator[Sequence[object]]:
        nonlocal has_formulas
        sheet.reset_dimensions()  # else every row is filled up to the last column that the file claims
        for row in sheet.iter_rows():
            has_formulas = has_formulas or any(cell.data_type == "f" for cell in row)
            yield [
                "=..." if cell.data_type == "f" and not isinstance(cell.value, str) else cell.value
                for cell in row  # formulas of arrays are objects
            ]

    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=with_values)
    sheets = {sheet.title: _lines(path, values(sheet)) for sheet in book.worksheets}
    book.close()
    return sheets, has_formulas


def _require_values(path: Path, formulas: dict[str, list[_Line]], sheets: dict[str, list[_Line]]) -> None:
    """Refuse formulas that no program has computed yet: their cells would be read as empty."""
    problems = []
    for name, lines in formulas.items():
        values = dict(sheets[name])
        for number, cells in lines:
            computed = values.get(number, [])
            for at, cell in enumerate(cells):
                if cell.startswith("=") and not "".join(computed[at : at + 1]):
                    problems.append(
                        f"row {number}: a cell holds the formula {cell[:40]!r} and no value; open the "
                        "workbook in a spreadsheet program and save it"
                    )
    if problems:
        raise TableError(path, problems)


def _opendocument(path: Path, content: bytes) -> dict[str, list[_Line]]:
    root = parse_xml(
        content, lambda reason: TableError(path, [f"not a workbook: {reason}; {_EXPORT}"]), namespaces=True
    )
    return {
        table.get(f"{_TABLE}name", ""): _lines(path, _opendocument_rows(path, table))
        for table in root.iter(f"{_TABLE}table")
    }


def _opendocument_rows(path: Path, table: Element) -> Iterator[Sequence[object]]:
    for row in table.iter(f"{_TABLE}table-row"):
        cells: list[object] = []
        blank = 0
        for cell in row:
            if cell.tag not in (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
                continue
            repeats = int(cell.get(f"{_TABLE}number-columns-repeated", "1"))
            value = _opendocument_value(cell)
            if value == "":
                blank += repeats
            elif blank + repeats + len(cells) > _MOST_CELLS:
                raise TableError(path, [f"a row has more than {_MOST_CELLS:,} cells; {_EXPORT}"])
            else:
                cells += [""] * blank + [value] * repeats
                blank = 0
        repeats = int(row.get(f"{_TABLE}number-rows-repeated", "1"))
        if cells:
            yield from (cells for _ in range(repeats))
        else:
            yield from (() for _ in range(min(repeats, _MOST_CELLS)))


def _opendocument_value(cell: Element) -> object:
    kind = cell.get(f"{_OFFICE}value-type", "")
    if kind in ("float", "percentage", "currency"):
        return float(cell.get(f"{_OFFICE}value", "nan"))
    if kind == "boolean":
        return cell.get(f"{_OFFICE}boolean-value") == "true"
    if kind == "date":
        return datetime.fromisoformat(cell.get(f"{_OFFICE}date-value", ""))
    if kind == "time":
        return _duration(cell.get(f"{_OFFICE}time-value", ""))
    text = "\n".join(map(_paragraph, cell.findall(f"{_TEXT}p")))
    if cell.get(_CALC_TYPE) == "error":
        return f"#{text.removeprefix('#')}"
    return text


def _paragraph(element: Element) -> str:
    """Text of a paragraph, in which blanks and tabs are elements. Notes of the author are not part of it."""
    parts = [element.text or ""]
    for child in element:
        if child.tag == f"{_TEXT}s":
            parts.append(" " * min(int(child.get(f"{_TEXT}c", "1")), 1000))
        elif child.tag in (f"{_TEXT}tab", f"{_TEXT}line-break"):
            parts.append("\t" if child.tag.endswith("tab") else "\n")
        elif not child.tag.startswith(_OFFICE):
            parts.append(_paragraph(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _duration(text: str) -> timedelta:
    """The duration that a text like `PT01H02M03.5S` names."""
    hours, _, rest = text.removeprefix("PT").partition("H")
    minutes, _, seconds = rest.partition("M")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds.removesuffix("S") or 0))


def _lines(path: Path, rows: Iterable[Sequence[object]]) -> list[_Line]:
    lines: list[_Line] = []
    problems: list[str] = []
    num_cells = 0
    for number, row in enumerate(rows, start=1):
        cells = [_text(value).strip() for value in row]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        num_cells += len(cells)
        if num_cells > _MOST_CELLS:
            raise TableError(path, [f"the sheet has more than {_MOST_CELLS:,} cells; {_EXPORT}"])
        errors = [cell for cell in cells if cell in _ERRORS]
        problems += [f"row {number}: a cell holds the error {cell}; mend its formula" for cell in errors[:1]]
        lines.append((number, cells))
    if problems:
        raise TableError(path, problems[:20])
    return lines


_ERRORS = ("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        minutes, seconds = divmod(value.total_seconds(), 60)
        return f"{int(minutes // 60)}:{int(minutes % 60):02}:{seconds:06.3f}"
    return str(value)
