"""Labels from BORIS, in the layouts that it has had: what its own export function wrote, and its traps."""

import json

import pytest

from actiondiff.datasets.boris import read_boris
from actiondiff.datasets.bouts import CodedBout, locate_in_files, tabulate
from actiondiff.datasets.deepethogram import read_deepethogram
from actiondiff.datasets.files import MediaFinder
from actiondiff.errors import TableError, UsageError

SOURCE = "player #1:videos/cam3_0412.mp4"
HEADER = (
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,"
    "Time offset (s),Media duration (s),FPS,site,Subject,Behavior,Behavioral category,Modifier #1,"
    "Behavior type,Time,Media file name,Image index,Image file path,Comment"
)


def tabular(*marks, offset="0.0", source=SOURCE, length="20.040", separator=",") -> str:
    """`subject, behaviour, modifier, type, time` a mark, as BORIS 9.12 lays them out."""
    lines = [HEADER.replace(",", separator)]
    for subject, behaviour, modifier, kind, time in marks:
        cells = [
            "cam3-0412", "2026-04-12 05:31:07", '"den, dusk; ""second"" cub, far"', "9.200", "Media file(s)",
            source, offset, length, "25.000", "den 3", subject, behaviour, "", modifier, kind, time,
            "videos/cam3_0412.mp4", "50", "NA", "",
        ]  # fmt: skip
        lines.append(separator.join(cells))
    return "\r\n".join(lines) + "\r\n"


MARKS = (
    ("fox-1", "walking", "", "START", "2.000"),
    ("fox-2", "grooming", "", "START", "4.500"),
    ("fox-1", "walking", "", "STOP", "6.240"),
    ("fox-1", "vocalising", "bark", "POINT", "7.000"),
    ("fox-2", "grooming", "", "STOP", "9.480"),
    ("", "vocalising", "None", "POINT", "11.200"),
)


def read(tmp_path, text, name="events.csv") -> list[CodedBout]:
    path = tmp_path / name
    path.write_text(text, "utf-8", newline="")
    return read_boris(path)


def spans(bouts):
    return sorted(
        (b.media, b.label, round(b.start_seconds, 6), round(b.end_seconds, 6), b.subject) for b in bouts
    )


@pytest.mark.parametrize("separator", [",", "\t"])
def test_tabular_events(tmp_path, separator):
    found = read(tmp_path, tabular(*MARKS, separator=separator))
    media = "videos/cam3_0412.mp4"
    assert spans(found) == [
        (media, "grooming", 4.5, 9.48, "fox-2"),
        (media, "vocalising", 7.0, 7.0, "fox-1"),
        (media, "vocalising", 11.2, 11.2, ""),
        (media, "walking", 2.0, 6.24, "fox-1"),
    ]
    assert {bout.columns["site"] for bout in found} == {"den 3"}


def test_time_offset_and_several_files_run_on(tmp_path):
    """Ten seconds of offset; the first file is 5 s long, so a bout from 12 to 18 is in both."""
    marks = (("", "walking", "", "START", "12.0"), ("", "walking", "", "STOP", "18.0"))
    text = tabular(
        *marks, offset="10.0", source="player #1:a.mp4;b.mp4|player #2:c.mp4", length="5.0;20.0|9.0"
    )
    assert spans(read(tmp_path, text)) == [("a.mp4", "walking", 2, 5, ""), ("b.mp4", "walking", 0, 3, "")]


def test_unpaired_marks_are_listed_by_row(tmp_path):
    marks = (("", "a", "", "STOP", "1"), ("", "b", "", "START", "2"), ("", "b", "x", "STOP", "3"))
    with pytest.raises(TableError) as caught:
        read(tmp_path, tabular(*marks))
    assert [problem[:6] for problem in caught.value.problems] == ["row 2:", "row 4:", "row 3:"]


def test_the_old_layout_and_its_shifted_row(tmp_path):
    """Without a length, a row has one cell too few before Subject."""
    lines = [
        "Observation id,cam3-0412,,,,,,,,", ",,,,,,,,,", "Media file(s),,,,,,,,,",
        "Player #1,videos/cam3_0412.mp4,,,,,,,,", "Observation date,2026-04-12 05:31:07,,,,,,,,",
        "Time offset (s),0.0,,,,,,,,", "independent variables,,,,,,,,,", "variable,value,,,,,,,,",
        "site,den 3,,,,,,,,", ",,,,,,,,,",
        "Time,Media file path,Total length,FPS,Subject,Behavior,Behavioral category,Modifier 1,Comment,"
        "Status",
        "2.000,videos/cam3_0412.mp4,20.040,25.0,fox-1,walking,,,,START",
        "6.240,videos/cam3_0412.mp4,25.0,fox-1,walking,,,,STOP",
    ]  # fmt: skip
    (found,) = read(tmp_path, "\n".join(lines) + "\n")
    assert spans([found]) == [("videos/cam3_0412.mp4", "walking", 2.0, 6.24, "fox-1")]
    assert found.columns == {"site": "den 3"}


def test_a_project_alternates_and_knows_points(tmp_path):
    project = {
        "behaviors_conf": {
            "0": {"code": "walking", "type": "State event"},
            "1": {"code": "bark", "type": "Point event"},
        },
        "observations": {
            "one": {
                "type": "MEDIA",
                "file": {"1": ["a.mp4"]},
                "time offset": 1.0,
                "media_info": {"length": {"a.mp4": 20}},
                "events": [
                    [9.0, "", "walking", "", "", 1], [2.0, "", "walking", "", "", 1],
                    [3.0, "fox", "bark", "", "", 1], [4.0, "", "walking", "", "", 1],
                    [7.0, "", "walking", "", "", 1],
                ],
                "independent_variables": {},
            },
            "live": {"type": "LIVE", "events": [[1.0, "", "walking", "", ""]]},
        },
    }  # fmt: skip
    found = read(tmp_path, json.dumps(project), "p.boris")
    assert spans(found) == [
        ("a.mp4", "bark", 2, 2, "fox"), ("a.mp4", "walking", 1, 3, ""), ("a.mp4", "walking", 6, 8, ""),
    ]  # fmt: skip
    project["observations"]["one"]["events"].pop()
    with pytest.raises(TableError, match="one, event 1: walking starts and never stops"):
        read(tmp_path, json.dumps(project), "p.boris")


def test_what_is_none_of_these_is_said(tmp_path):
    with pytest.raises(TableError, match="neither tabular nor aggregated"):
        read(tmp_path, "video,label\na.mp4,walk\n")
    with pytest.raises(TableError, match="not a BORIS project"):
        read(tmp_path, "[]", "p.boris")
    with pytest.raises(UsageError, match="there is no file"):
        read_boris(tmp_path / "gone.boris")


def test_a_time_beyond_the_last_known_file():
    media = [("a.mp4", 5.0), ("b.mp4", None)]
    assert locate_in_files(media, 4, 6) == [("a.mp4", 4, 5), ("b.mp4", 0, 1)]
    assert locate_in_files(media, 5, 5) == [("b.mp4", 0, 0)]
    with pytest.raises(ValueError, match="lies in none"):
        locate_in_files(media, -1, 2)
    with pytest.raises(ValueError, match=r"length of b\.mp4 is unknown"):
        locate_in_files([*media, ("c.mp4", 1.0)], 9, 10)


def test_tabulate(tmp_path):
    """Overlapping bouts of two animals are one; what shares a span shares a row; points need a duration."""
    (tmp_path / "v").mkdir()
    (tmp_path / "v/a.mp4").touch()
    bouts = [
        CodedBout("C:\\data\\a.mp4", "walk", 1, 3, "o", "fox-1", {"site": "x", "label": "y"}),
        CodedBout("C:\\data\\a.mp4", "walk", 2, 5, "o", "fox-2"),
        CodedBout("C:\\data\\a.mp4", "eat", 1, 5, "o"),
        CodedBout("C:\\data\\a.mp4", "bark", 0.2, 0.2, "o"),
    ]
    files = MediaFinder(tmp_path, tmp_path / "v")
    found = tabulate(bouts, files, out=tmp_path / "t/t.csv", source="s")
    (row,) = found.rows
    assert row == {
        "video": "../v/a.mp4", "label": "walk;eat", "start_seconds": "1.000", "end_seconds": "5.000",
        "group": "o", "subject": "fox-1;fox-2", "site": "x", "coded_label": "y",
    }  # fmt: skip
    assert (found.num_points, found.absent) == (1, ())
    rows = tabulate(bouts, files, out=tmp_path / "t/t.csv", source="s", point_seconds=1.0).rows
    assert (rows[0]["label"], rows[0]["start_seconds"], rows[0]["end_seconds"]) == ("bark", "0.000", "1.000")
    with pytest.raises(TableError, match=r"b\.mp4: no file in"):
        tabulate([CodedBout("x/b.mp4", "walk", 0, 1)], files, out=tmp_path / "t.csv", source="s")


def test_deepethogram_says_what_does_not_fit(tmp_path):
    path = tmp_path / "v_labels.csv"
    path.write_text(",background,run\n0,1,0\n1,0,1\n2,-1,-1\n")
    with pytest.raises(UsageError, match="no video v beside"):
        read_deepethogram(path)
    found = read_deepethogram(path, fps=10)
    assert spans(found) == [
        (str(tmp_path / "v"), "background", 0, 0.1, ""),
        (str(tmp_path / "v"), "run", 0.1, 0.2, ""),
    ]
    path.write_text(",background,run\n0,1,0.5\n")
    with pytest.raises(TableError, match="1, 0 or -1"):
        read_deepethogram(path, fps=10)
