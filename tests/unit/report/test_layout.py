"""Where the parts of a page stand on a wide screen."""

import numpy as np

from actiondiff.report.figures import heatmap
from actiondiff.report.items import Notes, Provenance, Text
from actiondiff.report.layout import arrange
from actiondiff.report.tables import ReportTable

NARROW = ReportTable(("quantity", "value"), (("videos", "3"),), "Videos")
WIDE = ReportTable(tuple(f"a long word{n}" for n in range(9)), (("12345678",) * 9,), "Many columns")


def figure(columns: int):
    names = [str(n) for n in range(columns)]
    return heatmap(np.zeros((1, columns)), rows=["a"], columns=names, title="x")


def places(*sections):
    return [(place.section, place.items) for place in arrange(sections)]


def test_two_short_sections_share_the_width():
    short = (NARROW, Text("x"))
    half = ("half", ("full", "full"))
    assert places(short, short, short) == [half, half, ("full", ("half", "half"))]
    assert places((WIDE,), short, short) == [("full", ("full",)), half, half]


def test_narrow_items_in_a_row_share_the_width():
    items = (figure(3), NARROW, NARROW, WIDE, figure(20), Provenance({}), Provenance({}), figure(3))
    assert places(items) == [("full", ("half", "half", "alone", "full", "full", "half", "half", "alone"))]


def test_a_table_without_rows_and_a_warning():
    empty = ReportTable(("a", "b"), (), "Nothing")
    assert places((Notes(("x",), "warning"), empty)) == [("full", ("full", "alone"))]
