"""What is written beside results: values as JSON can hold them."""

import csv
import io
import json
import math

import numpy as np
import pytest

from actiondiff.provenance import cell_text, csv_text, json_values, text_of_cell, write_csv


def test_json_values_replaces_nan_and_numpy_numbers_at_any_depth():
    value = {"a": math.nan, 3: (np.float64("nan"), np.int64(2)), "b": [{"c": np.float32("nan"), "d": "x"}]}
    plain = json_values(value)
    assert plain == {"a": None, "3": [None, 2], "b": [{"c": None, "d": "x"}]}
    assert json.dumps(plain, allow_nan=False) == '{"a": null, "3": [null, 2], "b": [{"c": null, "d": "x"}]}'


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (["a", "b"], [["x,y", 'a "quoted" word'], ["two\nlines", "a\r"], [" spaces ", "漢 é"], ["'", "\\"]]),
        (["a", "b"], [[1, None], ["", 2.5], [True, 0.1 + 0.2], [np.int64(7), 10**20], ["nan", "None"]]),
        (["", "p(a,b)"], [[0, "1.000"], [1, "0.250"]]),
        (["a"], [[""], [None], ["x"]]),
        (["a", "b"], []),
    ],
)
def test_csv_is_what_the_standard_library_writes(tmp_path, columns, rows, line_end):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=line_end).writerows([columns, *rows])
    assert csv_text(columns, rows, line_end=line_end) == buffer.getvalue()
    write_csv(tmp_path / "new folder" / "table.csv", columns, rows, line_end=line_end)
    assert (tmp_path / "new folder" / "table.csv").read_bytes() == buffer.getvalue().encode()
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["table.csv"]


def test_rows_by_name_may_lack_cells_and_have_further_ones():
    assert csv_text(["a", "b"], [{"b": 1, "c": 2}, {"a": "x"}]) == "a,b\n,1\nx,\n"


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    write_csv(tmp_path / "table.csv", ["a"], [["old"]])
    with pytest.raises(UnicodeEncodeError):
        write_csv(tmp_path / "table.csv", ["a"], [["new"], ["\ud800"]])
    assert (tmp_path / "table.csv").read_text() == "a\nold\n"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    "text", ["=1+1", "+x", "-x", "@x", "\t=x", "\r", "'=x", "''@x", "caf\udce9", "%E9", "%25E9"]
)
def test_cells_that_a_spreadsheet_would_run_are_neutral_and_come_back(text):
    cell = cell_text(text)
    assert cell[0] not in "=+-@\t\r"
    assert cell.encode("utf-8")
    assert cell != text
    assert text_of_cell(cell) == text


@pytest.mark.parametrize("text", ["", "-1.5", "+3", "-1e-3", "'t Hooft", "a=b", "é", "100%", "a%20b", "x-y"])
def test_other_cells_do_not_change(text):
    assert cell_text(text) == text == text_of_cell(text)
