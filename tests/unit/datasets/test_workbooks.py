"""Tables in workbooks, .xlsx and .ods: the same as in a text file, or refused in one line."""

import csv
import io
import json
import zipfile
from datetime import date, datetime, time, timedelta
from xml.sax.saxutils import escape

import numpy as np
import openpyxl
import pytest
from openpyxl.worksheet.formula import ArrayFormula

from actiondiff.cli.main import run
from actiondiff.datasets.importing import read_labels
from actiondiff.datasets.sheets import read_sheet
from actiondiff.datasets.table import read_table
from actiondiff.errors import TableError
from actiondiff.start.labels import find_labels
from actiondiff.video.write import write_video

NAMESPACES = "".join(
    f' xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{prefix}:1.0"'
    for prefix in ("office", "table", "text")
) + ' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'  # fmt: skip


def ods_cell(value):
    if value is None:
        return "<table:table-cell/>"
    kind, attributes = "string", ""
    if isinstance(value, bool):
        kind, attributes = "boolean", f'office:boolean-value="{str(value).lower()}"'
    elif isinstance(value, int | float):
        kind, attributes = "float", f'office:value="{value}"'
    elif isinstance(value, timedelta):
        seconds = value.total_seconds()
        hours, minutes = int(seconds // 3600), int(seconds % 3600 // 60)
        kind = "time"
        attributes = f'office:time-value="PT{hours:02}H{minutes:02}M{seconds % 60:.9f}S"'
    elif isinstance(value, date):
        kind, attributes = "date", f'office:date-value="{value.isoformat()}"'
    text = "".join(f"<text:p>{escape(line)}</text:p>" for line in str(value).split("\n"))
    return f'<table:table-cell office:value-type="{kind}" {attributes}>{text}</table:table-cell>'


def ods(rows, *, more="", start=""):
    """A workbook as LibreOffice writes it: with blank cells to the last row and column."""
    blank = '<table:table-cell table:number-columns-repeated="16300"/>'
    inner = "".join(
        f"<table:table-row>{''.join(map(ods_cell, row))}{blank}</table:table-row>" for row in rows
    )
    inner += f'<table:table-row table:number-rows-repeated="1048000">{blank}</table:table-row>{more}'
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?>{start}<office:document-content{NAMESPACES}><office:body>'
        f'<office:spreadsheet><table:table table:name="Sheet1">{inner}</table:table>'
        '<table:table table:name="Sheet2"><table:table-row/></table:table></office:spreadsheet>'
        "</office:body></office:document-content>"
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
    return buffer.getvalue()


def xlsx(rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.create_sheet("empty")
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


FORMATS = {"xlsx": xlsx, "ods": ods}


@pytest.fixture(params=FORMATS)
def write(request, tmp_path):
    """Writes rows as a workbook, and returns its path."""

    def put(rows, name="t"):
        path = tmp_path / f"{name}.{request.param}"
        path.write_bytes(FORMATS[request.param](rows))
        return path

    return put


def refused(path) -> str:
    with pytest.raises(TableError) as caught:
        read_sheet(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


TABULAR = [
    ["Observation id", "Observation date", "Description", "Source", "Time offset (s)", "Media duration (s)",
     "FPS", "site", "Subject", "Behavior", "Modifier #1", "Behavior type", "Time", "Media file name",
     "Comment"],
    ["cam3", datetime(2026, 4, 12, 5, 31, 7), 'den, "dusk"', "player #1:v/a.mp4", 0.0, 20.04, 25.0, "den 3",
     "fox-1", "walking", None, "START", 2.0, "v/a.mp4", None],
    ["cam3", datetime(2026, 4, 12, 5, 31, 7), 'den, "dusk"', "player #1:v/a.mp4", 0.0, 20.04, 25.0, "den 3",
     "fox-1", "walking", None, "STOP", 6.24, "v/a.mp4", "p=0.91"],
    ["cam3", datetime(2026, 4, 12, 5, 31, 7), 'den, "dusk"', "player #1:v/a.mp4", 0.0, 20.04, 25.0, "den 3",
     None, "vocalising", "None", "POINT", 7.0, "v/a.mp4", None],
]  # fmt: skip
AGGREGATED = [
    ["Observation id", "Source", "Time offset (s)", "Media duration (s)", "FPS (frame/s)", "Subject",
     "Behavior",
     "Behavior type", "Start (s)", "Stop (s)", "Duration (s)", "Media file name"],
    ["cam3", "player #1:v/a.mp4", 0.0, 20.04, 25, "fox-1", "walking", "STATE", 2, 6.24, 4.24, "v/a.mp4"],
    ["cam3", "player #1:v/a.mp4", 0.0, 20.04, 25, "No focal subject", "grätschen", "POINT", 7, 7, "NA",
     "v/a.mp4"],
]  # fmt: skip


@pytest.mark.parametrize("rows", [TABULAR, AGGREGATED], ids=["tabular", "aggregated"])
@pytest.mark.parametrize("as_text", [False, True])
def test_events_of_boris(write, tmp_path, rows, as_text):
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    with open(tmp_path / "events.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(texts)
    bouts = read_labels("boris", write(texts if as_text else rows, "events"))
    assert bouts == read_labels("boris", tmp_path / "events.csv")
    spans = [(b.media, b.label, b.start_seconds, b.end_seconds, b.subject) for b in bouts]
    assert spans[0] == ("v/a.mp4", "walking", 2.0, 6.24, "fox-1")
    assert len(spans) == 2


def test_a_table_of_labels(write):
    rows = [
        ["video", "label", "start_seconds", "end_seconds", "checked", "cage"],
        [],
        ["a.mp4", "eat;drink", 1, 2.5, True, 7],
        [" b.mp4 ", "grätschen\n", timedelta(minutes=1, seconds=3.5), timedelta(hours=30), False, 7.0],
    ]
    one, other = read_table(write(rows)).examples
    assert (one.labels, one.start_seconds, one.end_seconds) == (("eat", "drink"), 1, 2.5)
    assert one.columns == {"checked": "true", "cage": "7"}
    assert (other.video, other.labels) == ("b.mp4", ("grätschen",))
    assert (other.start_seconds, other.end_seconds) == (63.5, 108_000)


def test_rows_have_the_numbers_that_the_program_shows(write):
    sheet = read_sheet(
        write([["video", "label"], [], [None, None], ["a.mp4", 5], ["b.mp4", date(2026, 4, 12)]])
    )
    assert [(number, cells[1][:10]) for number, cells in sheet.rows] == [(4, "5"), (5, "2026-04-12")]


def test_what_is_refused(write):
    assert "the workbook is empty" in refused(write([]))
    assert "the column label occurs 2 times" in refused(write([["video", "label", "label"], ["a", "b", "c"]]))
    assert "row 2: 3 cells for 2 columns; name every column" in refused(
        write([["video", "label"], ["a", "b", "c"]])
    )
    assert "row 2: a cell holds the error #N/A" in refused(write([["video", "label"], ["a.mp4", "#N/A"]]))


def test_labels_of_zamba(write):
    bouts = read_labels("zamba", write([["filepath", "label"], ["a.mp4", "fox"], ["b.mp4", 3]]))
    assert [(bout.media, bout.label) for bout in bouts] == [("a.mp4", "fox"), ("b.mp4", "3")]


def test_formulas_have_the_values_that_were_saved(tmp_path):
    path = tmp_path / "t.xlsx"
    path.write_bytes(xlsx([["video", "start_seconds"], ["a.mp4", "=1+1"]]))
    assert "row 2: a cell holds the formula '=1+1' and no value; open the workbook" in refused(path)
    data = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(data, "w") as computed:
        for name in archive.namelist():
            text = archive.read(name)
            computed.writestr(name, text.replace(b"<f>1+1</f><v></v>", b"<f>1+1</f><v>2</v>")
                              .replace(b"<f>1+1</f><v />", b"<f>1+1</f><v>2</v>"))  # fmt: skip
    path.write_bytes(data.getvalue())
    assert read_table(path).examples[0].start_seconds == 2


def test_a_formula_of_an_array_without_a_value(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["video", "label"])
    book.active["A2"] = "a.mp4"
    book.active["B2"] = ArrayFormula("B2:B2", "=1+1")
    book.save(tmp_path / "t.xlsx")
    assert "row 2: a cell holds the formula '=...' and no value" in refused(tmp_path / "t.xlsx")


def test_time_cells_of_excel(tmp_path):
    path = tmp_path / "t.xlsx"
    path.write_bytes(xlsx([["video", "start_seconds"], ["a.mp4", time(0, 1, 3, 500_000)]]))
    assert read_table(path).examples[0].start_seconds == 63.5


def test_several_sheets_with_cells_are_a_choice(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["video"])
    book.create_sheet("more").append(["video"])
    book.save(tmp_path / "t.xlsx")
    assert "several sheets have cells ('Sheet', 'more')" in refused(tmp_path / "t.xlsx")


def test_cells_and_rows_that_are_repeated(tmp_path):
    more = '<table:table-row table:number-rows-repeated="2">' + ods_cell("a.mp4")
    more += '<table:table-cell table:number-columns-repeated="2" office:value-type="string"><text:p>x<text:s '
    more += 'text:c="3"/>y<text:tab/>z</text:p><office:annotation><text:p>a note</text:p></office:annotation>'
    more += "</table:table-cell></table:table-row>"
    path = tmp_path / "t.ods"
    path.write_bytes(ods([["video", "one", "two"]], more=more))
    rows = read_sheet(path).rows
    assert [cells for _, cells in rows] == [("a.mp4", "x   y\tz", "x   y\tz")] * 2
    assert [number for number, _ in rows] == [1_048_002, 1_048_003]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04\x81\x00\x8d", "the workbook cannot be read"),
        (xlsx([["video"]])[:-40], "the workbook cannot be read"),
        (ods([["video"]])[:-40], "the workbook cannot be read"),
        (ods([["video"]], start='<!DOCTYPE x [<!ENTITY a "ha">]>'), "document type definition"),
        (ods([["video"]], more="<a>" * 60 + "</a>" * 60), "nested too deeply"),
        (ods([["video"]], more='<table:table-row table:number-rows-repeated="9"><table:table-cell '
             'office:value-type="float" office:value="x"/></table:table-row>'), "cannot be read"),
        (ods([["video"]], more='<table:table-row table:number-rows-repeated="1048576"><table:table-cell '
             'office:value-type="string" table:number-columns-repeated="16384"><text:p>x</text:p>'
             '</table:table-cell></table:table-row>'), "more than 5,000,000 cells"),
        (ods([["video"]], more='<table:table-row><table:table-cell office:value-type="string" '
             'table:number-columns-repeated="99999999"><text:p>x</text:p></table:table-cell></table:table-row>'),
         "more than 5,000,000 cells"),
        (b"\xd0\xcf\x11\xe0 and so on", "an old workbook or an archive"),
    ],
)  # fmt: skip
def test_damaged_and_hostile_workbooks_are_one_line(tmp_path, data, message):
    path = tmp_path / "t.ods"
    path.write_bytes(data)
    assert message in refused(path)


def test_an_archive_that_is_no_workbook(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        archive.writestr("a.txt", "video,label\n")
    assert "an archive, and neither a table nor a workbook" in refused(tmp_path / "t.xlsx")


def test_a_cell_at_the_far_end_of_a_sheet(tmp_path):
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "video", "x"
    book.save(tmp_path / "t.xlsx")
    assert "16384 cells for 1 columns" in refused(tmp_path / "t.xlsx")


def test_commands_take_a_workbook_for_a_table(write, tmp_path, capsys):
    """The videos of the table are what is extracted, and the workbook itself is not taken for a video."""
    write_video(tmp_path / "a.mp4", np.zeros((8, 32, 32, 3), np.uint8), fps=10)
    path = write([["video", "label"], ["a.mp4", "eat"]], "labels")
    (tmp_path / f"._{path.name}").write_bytes(b"\0\5\x16\7")  # a side file
    command = [
        "extract",
        str(path),
        "-o",
        str(tmp_path / "s"),
        "--backbone",
        "pixels",
        "--dry-run",
        "--no-time",
    ]
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 1
    assert run(["datasets", "check", str(path)]) == 0
    assert find_labels(tmp_path, None).path == path
    assert find_labels(tmp_path, path).kind == "table"
