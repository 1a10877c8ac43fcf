"""BORIS exports and projects of all ages, as they come from people's disks."""

import gzip
import json

import pytest

from actiondiff.datasets.boris import read_boris
from actiondiff.datasets.bouts import tabulate
from actiondiff.datasets.files import MediaFinder
from actiondiff.errors import TableError, UnknownNameError

AGGREGATED_7 = (
    "Observation id,Observation date,Description,Media file,Total length,FPS,site,Subject,Behavior,"
    "Behavioral category,Modifiers,Behavior type,Start (s),Stop (s),Duration (s),Comment start,Comment stop\n"
)


def read(tmp_path, text, name="events.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_boris(path)


def spans(bouts):
    return [(b.media, b.label, round(b.start_seconds, 3), round(b.end_seconds, 3)) for b in bouts]


def problems(tmp_path, text, name="events.csv"):
    with pytest.raises(TableError) as caught:
        read(tmp_path, text, name)
    assert "\n" not in str(caught.value)
    return caught.value.problems


def project(**observations):
    types = {"walk": "State event", "bark": "Point event"}
    return {
        "behaviors_conf": {
            str(i): {"code": code, "type": kind} for i, (code, kind) in enumerate(types.items())
        },
        "observations": observations,
    }


def observation(*events, files=("a.mp4",), kind="MEDIA", offset=0.0):
    info = {"length": dict.fromkeys(files, 10.0)}
    return {
        "type": kind,
        "file": {"1": list(files)},
        "time offset": offset,
        "media_info": info,
        "events": list(events),
    }


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("media", ["videos/a.mp4", "player #1:videos/a.mp4", "player #1: videos/a.mp4"])
def test_aggregated_events_of_version_7(tmp_path, separator, media):
    rows = f"o,2020-01-01,,{media},10.0,25,den,fox,walk,,None|x,STATE,1.0,2.5,1.5,,\n"
    rows += f"o,2020-01-01,,{media},10.0,25,den,fox,bark,,,POINT,3.0,,NA,,\n"
    found = read(tmp_path, (AGGREGATED_7 + rows).replace(",", separator))
    assert spans(found) == [("videos/a.mp4", "walk", 1, 2.5), ("videos/a.mp4", "bark", 3, 3)]
    assert found[0].columns == {"site": "den"}


def test_aggregated_events_of_several_files_in_a_row(tmp_path):
    text = (
        AGGREGATED_7
        + "o,d,,player #1:a.mp4;b.mp4|player #2:c.mp4,10.0;8.0|18.0,25,,x,walk,,,STATE,9,12,3,,\n"
    )
    assert spans(read(tmp_path, text)) == [("a.mp4", "walk", 9, 10), ("b.mp4", "walk", 0, 2)]


def test_a_file_whose_name_has_a_semicolon(tmp_path):
    text = AGGREGATED_7 + "o,d,,player #1:a;b.mp4;c.mp4,10.0;9.0,25,,x,walk,,,STATE,1,11,1,,\n"
    assert spans(read(tmp_path, text)) == [("a;b.mp4", "walk", 1, 10), ("c.mp4", "walk", 0, 1)]


def test_a_decimal_comma_of_a_spreadsheet(tmp_path):
    text = AGGREGATED_7.replace(",", ";") + "o;d;;a.mp4;10,0;25;;x;walk;;;STATE;1,5;2,5;1;;\n"
    assert spans(read(tmp_path, text)) == [("a.mp4", "walk", 1.5, 2.5)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("o,d,,a.mp4,10,25,,x,walk,,,STATE,2,1,1,,\n", "row 2: Start '2' and Stop '1' are no span"),
        ("o,d,,a.mp4,10,25,,x,walk,,,STATE,2,,1,,\n", "row 2: Start '2' and Stop ''"),
        ("o,d,,a.mp4,10,25,,x,,,,STATE,1,2,1,,\n", "row 2: the behaviour is empty"),
        ("o,d,,,10,25,,x,walk,,,STATE,1,2,1,,\n", "row 2: the observation 'o' names no media file"),
        ("o,d,,a.mp4,10,25,,x,walk,,,STATE,1,2,1,,,lost\n", "row 2: 18 cells for 17 columns"),
        ("", "a header and no events"),
    ],
)
def test_rows_that_cannot_be_read_are_named(tmp_path, row, message):
    assert message in "; ".join(problems(tmp_path, AGGREGATED_7 + row))


def test_columns_of_one_name_and_no_media_column(tmp_path):
    assert "column Subject occurs 2 times" in problems(tmp_path, AGGREGATED_7.replace("site", "Subject"))[0]
    assert "no column names the media file" in problems(tmp_path, AGGREGATED_7.replace("Media file", "M"))[0]
    assert "column Behavior is missing" in problems(tmp_path, AGGREGATED_7.replace("Behavior,", "B,"))[0]


def test_live_observations_are_left_out_and_told(tmp_path, caplog):
    text = AGGREGATED_7 + "o,d,,LIVE,NA,NA,,x,walk,,,STATE,1,2,1,,\np,d,,a.mp4,9,25,,x,walk,,,STATE,1,2,1,,\n"
    assert spans(read(tmp_path, text)) == [("a.mp4", "walk", 1, 2)]
    assert "'o' is of no video" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path, encoding):
    text = AGGREGATED_7 + "o,d,,a.mp4,10,25,,x,gähnen,,,STATE,1,2,1,,\n"
    assert spans(read(tmp_path, text.encode(encoding))) == [("a.mp4", "gähnen", 1, 2)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-12], "not a BORIS project"),
        (b"\x1f\x8bnothing", "not a BORIS project"),
        (gzip.compress(b'{"observations": ' + b"[" * 200_000, mtime=0), "not a BORIS project"),
    ],
)
def test_damaged_projects_are_one_line(tmp_path, data, message):
    assert message in problems(tmp_path, data, "p.boris.gz")[0]


def test_what_a_project_cannot_mean_is_refused(tmp_path):
    wrong = project(
        one=observation([1, "", "walk", ""]),
        two=observation([1, "", "hop", ""]),
        three=observation(["NA", "", "walk", ""]),
        four=observation([1, "", "bark", ""], files=()),
    )
    shifted = observation([1, "", "bark", ""])
    shifted["media_info"]["offset"] = {"1": 2.5}
    wrong["observations"]["five"] = shifted
    said = problems(tmp_path, json.dumps(wrong), "p.boris")
    assert [line.split(";")[0] for line in said] == [
        "two, event 1: the behaviour 'hop' is not in the project's ethogram, so that starts and stops cannot "
        "be told from points",
        "three, event 1: the time is 'NA'",
        "the observation 'four' names no media file",
        "five: its video has an offset of 2.5 s against the observation, which cannot be read",
        "one, event 1: walk starts and never stops",
    ]
    twice = json.dumps(project(one=observation())).replace(
        '"observations": {', '"observations": {"one": {}, '
    )
    assert "'one' occurs twice" in problems(tmp_path, twice, "p.boris")[0]


def test_offset_files_in_a_row_and_other_players(tmp_path, caplog):
    item = observation(
        [109, "x", "walk", "a"], [109.5, "x", "walk", "b"], [112, "x", "walk", "a"], [113, "x", "walk", "b"],
        [115, "", "bark", ""], files=("a.mp4", "b.mp4"), offset=100,
    )  # fmt: skip
    item["file"]["2"] = ["side.mp4"]
    item["file"]["3"] = []
    found = read(tmp_path, json.dumps(project(o=item)), "p.boris")
    assert spans(found) == [
        ("a.mp4", "walk", 9, 10), ("b.mp4", "walk", 0, 2), ("a.mp4", "walk", 9.5, 10),
        ("b.mp4", "walk", 0, 3), ("b.mp4", "bark", 5, 5),
    ]  # fmt: skip
    assert "labels were taken for those of player 1 (a.mp4, b.mp4)" in caplog.text


def two_coders(tmp_path):
    walks = [[1, "", "walk", ""], [2, "", "walk", ""]]
    barks = [[1, "", "bark", ""]]
    plan = project(
        anna=observation(*walks), ben=observation(*barks, files=(str(tmp_path / "a.mp4"),)), cat=observation()
    )
    (tmp_path / "a.mp4").touch()
    return read(tmp_path, json.dumps(plan), "p.boris")


def test_several_observations_of_one_video_are_a_choice(tmp_path):
    bouts, files = two_coders(tmp_path), MediaFinder(tmp_path)
    options = {"out": tmp_path / "t.csv", "source": "p.boris", "point_seconds": 1.0}
    with pytest.raises(TableError, match=r"a\.mp4 was coded in 2 observations: 'anna', 'ben'; choose"):
        tabulate(bouts, files, **options)
    assert [row["label"] for row in tabulate(bouts, files, observations=["ben"], **options).rows] == ["bark"]
    both = tabulate(bouts, files, observations=["ben", "anna"], **options).rows
    assert [row["label"] for row in both] == ["bark", "walk"]
    with pytest.raises(UnknownNameError, match="Did you mean 'anna'"):
        tabulate(bouts, files, observations=["ana"], **options)


def test_a_behaviour_that_a_table_cannot_hold(tmp_path):
    text = AGGREGATED_7 + "o,d,,a.mp4,10,25,,x,eat;drink,,,STATE,1,2,1,,\n"
    with pytest.raises(TableError, match="the label 'eat;drink' contains ;"):
        tabulate(read(tmp_path, text), MediaFinder(tmp_path), out=tmp_path / "t.csv", source="x")


def test_the_shared_project_of_two_coders(shared_dir, tmp_path):
    folder = shared_dir / "cases/boris_two_coders"
    bouts = read_boris(folder / "irr.boris")
    with pytest.raises(TableError, match="'a coder 1', 'a coder 2'"):
        tabulate(bouts, MediaFinder(folder), out=tmp_path / "t.csv", source="irr.boris")
    rows = tabulate(
        bouts, MediaFinder(folder), out=tmp_path / "t.csv", source="x", observations=["a coder 2"]
    ).rows
    assert [(row["label"], row["start_seconds"], row["end_seconds"]) for row in rows] == [
        ("walk", "0.100", "0.500"), ("eat", "0.600", "0.900"),
    ]  # fmt: skip
