"""Which column names the cameras, and which camera took videos without labels."""

from pathlib import Path

import pytest
from tests.conftest import read_rows

from actiondiff.datasets.base import Table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.start.cameras import cameras_of_new_videos, propose_camera
from actiondiff.types import Example


def table(*rows, root="/videos"):
    examples = [Example(video, (label,) if label else (), columns=columns) for video, label, columns in rows]
    return Table(Path(root) / "t.csv", Path(root), tuple(examples))


def clips(column, *names):
    return table(*((f"{n}.mp4", "ab"[n % 2], {column: name}) for n, name in enumerate(names)))


@pytest.mark.parametrize(
    "column", ["camera", "Camera_ID", "site", "deploymentID", "station", "Location name"]
)
def test_a_column_is_taken_for_the_camera_by_its_name(column):
    proposal = propose_camera(clips(column, "x", "x", "y", "y"))
    assert (proposal.column, proposal.reason) == (column, f"the column {column}")


def test_the_surest_name_counts_first_and_columns_of_no_use_are_passed_over():
    rows = [
        (f"{n}.mp4", "a", {"site": "s" if n < 2 else "t", "camera": "xxyy"[n], "cam": "c"}) for n in range(4)
    ]
    assert propose_camera(table(*rows)).column == "camera"
    one = [(video, label, {**columns, "camera": "x"}) for video, label, columns in rows]
    assert propose_camera(table(*one)).column == "site"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("x", "", "y", "y"), "1 labelled clip of 4 have none"),
        (("x", "x", "x", "x"), r"all labelled clips have the same one \(x\)"),
        (("w", "x", "y", "z"), "each video has one of its own"),
    ],
)
def test_a_column_that_cannot_be_used_is_left_aside_and_refused_if_asked_for(names, problem):
    proposal = propose_camera(clips("site", *names))
    assert proposal.column is None
    assert proposal.reason.startswith("the column site is not taken for the camera: ")
    with pytest.raises(UsageError, match=rf"site cannot be taken for the camera: {problem}\. Correct"):
        propose_camera(clips("site", *names), "site")


def test_a_column_can_be_asked_for_or_left_out():
    assert propose_camera(clips("where", "x", "x", "y", "y")).column is None
    assert propose_camera(clips("where", "x", "x", "y", "y"), "where").column == "where"
    assert propose_camera(clips("camera", "x", "x", "y", "y"), "none") == propose_camera(
        clips("weather", "x", "x", "y", "y")
    )
    with pytest.raises(UnknownNameError, match="column of cameras"):
        propose_camera(clips("camera", "x", "y"), "kamera")


def test_new_videos_have_the_camera_of_the_table_or_of_the_labelled_videos_beside_them(tmp_path):
    whole = table(
        ("a/1.mp4", "x", {"site": "north"}),
        ("a/2.mp4", "", {"site": "north"}),
        ("b/1.mp4", "x", {"site": "south"}),
        ("b/2.mp4", "x", {"site": "west"}),
        root=tmp_path,
    )
    videos = [tmp_path / name for name in ("a/2.mp4", "a/3.mp4", "b/3.mp4", "c/1.mp4")]
    path, sentence = cameras_of_new_videos(videos, whole, "site", tmp_path / "out" / "cameras.csv")
    assert read_rows(path) == [
        {"video": "../a/2.mp4", "site": "north"},
        {"video": "../a/3.mp4", "site": "north"},
        {"video": "../b/3.mp4", "site": str(tmp_path / "b")},
        {"video": "../c/1.mp4", "site": str(tmp_path / "c")},
    ]
    assert "1 from the table, 1 from the labelled videos beside them, 2 from their folders" in sentence
