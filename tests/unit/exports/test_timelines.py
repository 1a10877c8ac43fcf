"""Bouts in the formats of other programs: read back by us, by pandas, and by frictionless."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import frictionless
import numpy as np
import pandas as pd
import pytest
from tests.conftest import read_rows

from actiondiff.datasets.boris import read_boris
from actiondiff.datasets.bouts import tabulate, write_rows
from actiondiff.datasets.deepethogram import read_deepethogram
from actiondiff.datasets.files import MediaFinder
from actiondiff.datasets.importing import read_labels
from actiondiff.datasets.table import read_table
from actiondiff.errors import TableError, UnknownNameError, UsageError
from actiondiff.exports.bouts import read_bouts
from actiondiff.exports.timelines import TIMELINE_FORMATS, check_formats, write_timelines
from actiondiff.inference.options import TimelineOptions
from actiondiff.inference.timeline import Timeline
from actiondiff.types import Bout, DecodeReport
from actiondiff.video.write import write_video

MADE = datetime(2026, 11, 20, 14, 3, 22, tzinfo=UTC)
LABELS = ("background", "eat, drink", "run")
BOUTS = (
    Bout("eat, drink", 0.4, 1.2, 0.91),
    Bout("run", 0.8, 2.0, 0.75),
    Bout("eat, drink", 1.2, 1.6, 0.5),  # begins where the first ends
)


def timeline(video: str, bouts=BOUTS, *, frames=25, fps=10.0) -> Timeline:
    """Every fourth frame of a video, sampled."""
    index = np.arange(0, frames, 4)
    return Timeline(
        video=video,
        labels=LABELS,
        seconds=index / fps,
        frame_index=index,
        end_seconds=frames / fps,
        probabilities=np.full((len(index), 3), 1 / 3, np.float32),
        bouts=tuple(bouts),
        activation="sigmoid",
        thresholds=dict.fromkeys(LABELS, 0.5),
        options=TimelineOptions(span_seconds=0.8),
        padding_share=0.125,
        report=DecodeReport("partial", "stopped", num_frames_decoded=frames, num_frames_expected=2 * frames),
    )


@pytest.fixture
def videos(tmp_path) -> list[Path]:
    """Two files of one name, the first's folder with a letter that is no ASCII."""
    paths = [tmp_path / "søuth" / "cam 1.mp4", tmp_path / "north" / "cam 1.mp4"]
    for path in paths:
        write_video(path, np.zeros((25, 16, 16, 3), np.uint8), fps=10)
    return paths


def written(tmp_path, timelines, *formats, **more) -> Path:
    write_timelines(tmp_path / "out", timelines, formats, model='m "1", x', made=MADE, **more)
    return tmp_path / "out"


def coded(bouts) -> list[tuple[str, str, float, float]]:
    return [
        (Path(b.media).parent.name, b.label, round(b.start_seconds, 6), round(b.end_seconds, 6))
        for b in bouts
    ]


def expected(*folders) -> list[tuple[str, str, float, float]]:
    return [(folder, b.label, b.start_seconds, b.end_seconds) for folder in folders for b in BOUTS]


@pytest.mark.parametrize("file", ["project.boris", "aggregated.csv", "tabular"])
def test_what_is_written_for_boris_is_read_back(tmp_path, videos, file):
    out = written(tmp_path, [timeline(str(path)) for path in videos], "boris") / "boris"
    files = sorted((out / file).iterdir()) if file == "tabular" else [out / file]
    found = [bout for path in files for bout in read_boris(path)]
    assert sorted(coded(found)) == sorted(expected("søuth", "north"))
    assert {bout.group for bout in found} == {"cam 1", "north_cam 1"}


def test_a_boris_project_is_what_boris_writes(tmp_path, videos):
    path = written(tmp_path, [timeline(str(videos[0]))], "boris") / "boris/project.boris"
    project = json.loads(path.read_bytes().decode("ascii"))
    codes = [entry["code"] for entry in project["behaviors_conf"].values()]
    assert codes == ["eat, drink", "run"]
    keys = [entry["key"] for entry in project["behaviors_conf"].values()]
    assert len(set(keys)) == 2
    (observation,) = project["observations"].values()
    assert [event[:3] for event in observation["events"]] == [
        [0.4, "", "eat, drink"], [0.8, "", "run"], [1.2, "", "eat, drink"], [1.2, "", "eat, drink"],
        [1.6, "", "eat, drink"], [2.0, "", "run"],
    ]  # fmt: skip
    assert observation["events"][0][4] == "p=0.91"
    assert observation["events"][0][5] == 4  # the frame at 0.4 s
    assert observation["media_info"]["fps"] == {"../../søuth/cam 1.mp4": 10.0}
    assert "50.0% of the video decoded" in observation["description"]


def test_a_boris_project_leads_to_its_videos(tmp_path, videos, monkeypatch):
    """BORIS looks for media in its project's folder; paths given from elsewhere would not be found."""
    monkeypatch.chdir(videos[0].parent)
    out = written(tmp_path, [timeline("cam 1.mp4"), timeline("no file")], "boris", "csv", "json")
    project = json.loads((out / "boris/project.boris").read_text("ascii"))
    first, second = (entry["file"]["1"] for entry in project["observations"].values())
    assert (out / "boris" / first[0]).resolve() == videos[0]
    assert not Path(first[0]).is_absolute()
    assert second == ["no file"]
    table = pd.read_csv(out / "boris/tabular/cam 1.csv")
    (name,) = table["Media file name"].unique()
    assert (out / "boris/tabular" / name).resolve() == videos[0]
    assert not Path(name).is_absolute()
    assert set(pd.read_csv(out / "scores.csv")["video"]) == {"../søuth/cam 1.mp4", "no file"}
    assert json.loads((out / "timelines.json").read_text())[0]["video"] == "cam 1.mp4"


def test_names_that_are_no_paths_stay_names(tmp_path, monkeypatch):
    """A file that happens to be called alike, where the program runs, is not what was meant."""
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").touch()
    out = written(tmp_path, [timeline("clip.mp4")], "csv", "boris", root=None)
    for file in ("bouts.csv", "scores.csv", "boris/project.boris"):
        text = (out / file).read_text("utf-8")
        assert "clip.mp4" in text
        assert "../" not in text


def test_a_damaged_workbook_is_refused_in_one_line(tmp_path):
    path = tmp_path / "events.xlsx"
    path.write_bytes(b"PK\x03\x04\xc7\x00")
    with pytest.raises(TableError, match=r"the workbook cannot be read .*; save the table as CSV UTF-8"):
        read_boris(path)


def test_text_exports_for_boris_have_its_columns(tmp_path, videos):
    out = written(tmp_path, [timeline(str(videos[0]))], "boris") / "boris"
    text = (out / "tabular/cam 1.csv").read_bytes()
    assert text.count(b"\r\n") == 7
    frame = pd.read_csv(out / "tabular/cam 1.csv", dtype=str, keep_default_na=False)
    assert frame["Behavior type"].tolist() == ["START", "START", "STOP", "START", "STOP", "STOP"]
    assert frame["Time"].tolist() == ["0.400", "0.800", "1.200", "1.200", "1.600", "2.000"]
    assert frame["Observation duration"].unique().tolist() == ["1.600"]
    whole = pd.read_csv(out / "aggregated.csv", dtype=str, keep_default_na=False)
    assert whole["Duration (s)"].tolist() == ["0.800", "1.200", "0.400"]
    assert whole["Subject"].unique().tolist() == ["No focal subject"]


def test_bouts_are_a_table_of_labels(tmp_path, videos):
    out = written(tmp_path, [timeline(str(path)) for path in videos], "csv")
    table = read_table(out / "bouts.csv", check_files=True)
    assert [(e.labels, e.start_seconds, e.end_seconds) for e in table.examples[:3]] == [
        ((b.label,), b.start_seconds, b.end_seconds) for b in BOUTS
    ]
    assert table.examples[0].columns["padding_share"] == "0.1250"
    assert table.examples[0].columns["coverage"] == "0.5000"
    assert read_bouts(out / "bouts.csv")["../north/cam 1.mp4"] == list(BOUTS)
    scores = pd.read_csv(out / "scores.csv")
    assert list(scores.columns) == ["video", "frame_index", "seconds", *[f"p({label})" for label in LABELS]]
    assert len(scores) == 14


def test_json_holds_everything(tmp_path):
    out = written(tmp_path, [timeline("a.mp4")], "json")
    (item,) = json.loads((out / "timelines.json").read_text())
    assert item["bouts"][1] == {"label": "run", "start_seconds": 0.8, "end_seconds": 2.0, "probability": 0.75}
    assert (item["coverage"], item["padding_share"], item["options"]["span_seconds"]) == (0.5, 0.125, 0.8)
    assert np.array(item["probabilities"]).shape == (7, 3)


def test_deepethogram(tmp_path, videos):
    """Read as the program reads it, and back to the same bouts by the times of the video's own frames."""
    out = written(tmp_path, [timeline(str(videos[0]))], "deepethogram") / "deepethogram"
    matrix = pd.read_csv(out / "cam 1/cam 1_labels.csv", index_col=0)
    assert matrix.columns.tolist() == ["background", "eat, drink", "run"]
    assert matrix.index.tolist() == list(range(25))
    assert (matrix["background"] == (matrix.drop(columns="background").sum(axis=1) == 0)).all()
    assert np.flatnonzero(matrix["run"]).tolist() == list(range(8, 20))
    videos[0].rename(out / "cam 1/cam 1.mp4")
    found = [bout for bout in read_deepethogram(out) if bout.label != "background"]
    merged = [("cam 1", "eat, drink", 0.4, 1.6), ("cam 1", "run", 0.8, 2.0)]  # one run of 1 is one bout
    assert coded(found) == merged
    faster = read_deepethogram(out / "cam 1/cam 1_labels.csv", fps=20)
    assert ("cam 1", "eat, drink", 0.2, 0.8) in coded(faster)


def field(name, kind, **constraints):
    more = {"format": "%Y-%m-%dT%H:%M:%S%z"} if kind == "datetime" else {}
    return {"name": name, "type": kind, "constraints": constraints, **more}


def camtrap_schema(table: str) -> dict[str, object]:
    """What the standard asks of the columns that we fill; all others are optional text."""
    asked = {
        "deployments": [
            field("deploymentID", "string", required=True, unique=True),
            field("latitude", "number", required=True, minimum=-90, maximum=90),
            field("longitude", "number", required=True, minimum=-180, maximum=180),
            field("deploymentStart", "datetime", required=True),
            field("deploymentEnd", "datetime", required=True),
        ],
        "media": [
            field("mediaID", "string", required=True, unique=True),
            field("deploymentID", "string", required=True),
            field("captureMethod", "string", enum=["activityDetection", "timeLapse"]),
            field("timestamp", "datetime", required=True),
            field("filePath", "string", required=True, pattern=r"^(?=^[^./~])(^((?!\.{2}).)*$).*$"),
            field("filePublic", "boolean", required=True),
            field("fileMediatype", "string", required=True, pattern=r"^(image|video|audio)/.*$"),
        ],
        "observations": [
            field("observationID", "string", required=True, unique=True),
            field("deploymentID", "string", required=True),
            field("mediaID", "string"),
            field("eventStart", "datetime", required=True),
            field("eventEnd", "datetime", required=True),
            field("observationLevel", "string", required=True, enum=["media", "event"]),
            field("observationType", "string", required=True,
                  enum=["animal", "human", "vehicle", "blank", "unknown", "unclassified"]),
            field("classificationMethod", "string", enum=["human", "machine"]),
            field("classificationTimestamp", "datetime"),
            field("classificationProbability", "number", minimum=0, maximum=1),
        ],
    }[table]  # fmt: skip
    deployment, medium = (
        {"fields": name, "reference": {"resource": table, "fields": name}}
        for name, table in (("deploymentID", "deployments"), ("mediaID", "media"))
    )
    keys = {"deployments": [], "media": [deployment], "observations": [deployment, medium]}[table]
    return {"fields": asked, "foreignKeys": keys, "fieldsMatch": "superset"}


def about(folder: Path, videos, **changes) -> dict[str, Path]:
    rows = [
        {
            "video": str(path.relative_to(folder)),
            "deploymentID": f"den-{number}",
            "latitude": "52.70442",
            "longitude": "23.84995",
            "deploymentStart": "2026-04-10T12:00:00Z",
            "deploymentEnd": "2026-04-20T12:00:00Z",
            "timestamp": "2026-04-12T05:31:07.400+02:00",
            "scientificName": "Vulpes vulpes",
            **changes,
        }
        for number, path in enumerate(videos)
    ]
    write_rows(folder / "about.csv", rows)
    (folder / "project.yaml").write_text(
        "title: Den cameras\ncontact: A. Keeper\nsampling_design: targeted\n"
    )
    return {"about": folder / "about.csv", "project": folder / "project.yaml"}


def test_camtrap_dp(tmp_path, videos):
    """frictionless finds nothing amiss: types, enums, unique names, and rows that refer to each other."""
    given = about(tmp_path, videos)
    out = written(tmp_path, [timeline(str(path)) for path in videos], "camtrap-dp", **given) / "camtrap-dp"
    descriptor = json.loads((out / "datapackage.json").read_text("utf-8"))
    *standard, own = descriptor["resources"]
    assert [resource["name"] for resource in standard] == ["deployments", "media", "observations"]
    assert own["name"] == "videos"  # with a schema of its own, and rows that refer to the media
    for resource in standard:
        assert resource["schema"].endswith(f"/1.0.2/{resource['name']}-table-schema.json")
        with open(out / resource["path"], encoding="utf-8", newline="") as file:
            names = next(csv.reader(file))
        schema = camtrap_schema(resource["name"])
        known = {item["name"]: item for item in schema["fields"]}
        fields = [known.get(name, {"name": name, "type": "string"}) for name in names]
        resource |= {"schema": {**schema, "fields": fields}}
        resource.pop("profile")
    own.pop("profile")
    descriptor.pop("profile")
    (out / "local.json").write_text(json.dumps(descriptor))
    package = frictionless.Package(str(out / "local.json"))
    report = package.validate()
    assert report.valid, report.flatten(["rowNumber", "fieldName", "note"])
    rows = package.get_resource("observations").read_rows()
    assert len(rows) == 6
    first = rows[0]
    assert (first["behavior"], float(first["classificationProbability"])) == ("eat, drink", 0.91)
    assert first["eventStart"].isoformat() == "2026-04-12T05:31:07+02:00"  # 7.4 + 0.4 s, down
    assert first["eventEnd"].isoformat() == "2026-04-12T05:31:09+02:00"  # 7.4 + 1.2 s, up
    assert first["observationTags"] == "startSeconds:0.400 | endSeconds:1.200"
    assert descriptor["taxonomic"] == [{"scientificName": "Vulpes vulpes"}]


@pytest.mark.parametrize(
    ("name", "program", "file"),
    [
        ("boris", "boris", "boris/project.boris"),
        ("boris", "boris", "boris/aggregated.csv"),
        ("boris", "boris", "boris/tabular"),
        ("deepethogram", "deepethogram", "deepethogram"),
        ("camtrap-dp", "camtrap-dp", "camtrap-dp"),
    ],
)
def test_our_own_exports_are_read_from_where_they_lie(tmp_path, videos, name, program, file, monkeypatch):
    """No video has to be searched for, from any folder, although two have one name."""
    bouts = [bout for bout in BOUTS if bout.label == "run"]
    files = about(tmp_path, videos) if name == "camtrap-dp" else {}
    out = written(tmp_path, [timeline(str(path), bouts) for path in videos], name, root=tmp_path, **files)
    monkeypatch.chdir(tmp_path / "north")
    sources = sorted((out / file).iterdir()) if file == "boris/tabular" else [out / file]
    spans = []
    for source in sources:
        near = MediaFinder(source if source.is_dir() else source.parent)
        rows = tabulate(read_labels(program, source), near, out=tmp_path / "t.csv", source=source)
        assert rows.absent == ()
        spans += [
            (r["video"], r["start_seconds"], r["end_seconds"]) for r in rows.rows if r["label"] == "run"
        ]
    spans.sort()
    assert [Path(video).parent.name for video, _, _ in spans] == ["north", "søuth"]
    assert {span[1:] for span in spans} == {("0.800", "2.000")}


def test_camtrap_dp_neighbours_do_not_overlap_in_whole_seconds(tmp_path, videos):
    """With one behaviour at a time, a bout begins at the second at which the one before it ends."""
    made = timeline(str(videos[0]))
    bouts = [Bout("eat, drink", 0.0, 1.3, 0.9), Bout("run", 1.3, 1.7, 0.8), Bout("eat, drink", 1.7, 4.2, 0.9)]
    labels = tuple(dict.fromkeys([*made.labels, *(bout.label for bout in bouts)]))
    made = replace(made, bouts=tuple(bouts), labels=labels, activation="softmax")
    out = written(tmp_path, [made], "camtrap-dp", **about(tmp_path, videos)) / "camtrap-dp"
    rows = read_rows(out / "observations.csv")
    times = [(datetime.fromisoformat(r["eventStart"]), datetime.fromisoformat(r["eventEnd"])) for r in rows]
    assert all(start <= end for start, end in times)
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(times))
    assert [row["observationTags"] for row in rows][1] == "startSeconds:1.300 | endSeconds:1.700"
    assert all(row["observationType"] for row in rows)


def test_camtrap_dp_says_what_it_lacks(tmp_path, videos):
    with pytest.raises(UsageError, match="--about"):
        check_formats(["camtrap-dp"])
    given = about(tmp_path, videos[:1], timestamp="2026-04-12 05:31", latitude="")
    with pytest.raises(TableError) as caught:
        check_formats(["camtrap-dp"], videos=videos, **given)
    said = str(caught.value)
    assert "row 2: latitude is empty" in said
    assert "row 2: timestamp is '2026-04-12 05:31'; it must be like" in said
    assert f"no row is about {videos[1]}" in said
    given = about(tmp_path, videos, deploymentEnd="2026-04-01T12:00:00Z")
    with pytest.raises(TableError, match=r"row 2: deploymentEnd, 2026-04-01T12.*before deploymentStart"):
        check_formats(["camtrap-dp"], videos=videos, **given)
    given = about(tmp_path, videos)
    given["project"].write_text("title: Den cameras\n")
    with pytest.raises(UsageError, match=r"contact: Field required.*Its fields are: title"):
        check_formats(["camtrap-dp"], videos=videos, **given)


def test_a_table_for_camtrap_dp_as_spreadsheets_write_it(tmp_path, videos):
    """Semicolons and decimal commas are read; a place that is none is told before anything is computed."""
    given = about(tmp_path, videos[:1])
    text = given["about"].read_text("utf-8").replace(",", ";").replace("52.70442", " 52,70442")
    given["about"].write_text(text, "utf-8-sig")
    out = written(tmp_path, [timeline(str(videos[0]))], "camtrap-dp", **given) / "camtrap-dp"
    assert pd.read_csv(out / "deployments.csv")["latitude"].tolist() == [52.70442]
    for latitude in ("north", "152.7", "nan"):
        given = about(tmp_path, videos[:1], latitude=latitude)
        with pytest.raises(TableError, match=r"row 2: latitude is .*degrees, -90 to 90"):
            check_formats(["camtrap-dp"], videos=videos[:1], **given)


def change(path: Path, row: int, column: str, value: str) -> None:
    rows = read_rows(path)
    rows[row][column] = value
    write_rows(path, rows)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "latitude",
            "10.5",
            "rows 2 and 3 contradict each other: latitude of the deployment den is 52.70442 and 10.5",
        ),
        ("longitude", "-23.84995", "longitude of the deployment den is 23.84995 and -23.84995"),
        ("deploymentEnd", "2026-04-21T12:00:00Z", "rows 2 and 3 contradict each other: deploymentEnd"),
        (
            "timestamp",
            "2026-04-21T12:00:00Z",
            "row 3: the timestamp, 2026-04-21T12:00:00Z, is outside the deployment",
        ),
        ("timestamp", "2026-04-10T13:59:59+02:00", "row 3: the timestamp"),
        ("video", "", "row 3: video is empty"),
    ],
)
def test_rows_of_a_deployment_that_contradict_each_other(tmp_path, videos, column, value, message):
    given = about(tmp_path, videos, deploymentID="den")
    check_formats(["camtrap-dp"], videos=videos, **given)
    change(given["about"], 1, column, value)
    with pytest.raises(TableError) as caught:
        check_formats(["camtrap-dp"], videos=videos, **given)
    assert message in str(caught.value)


def test_the_same_in_other_words_is_no_contradiction(tmp_path, videos):
    given = about(tmp_path, videos, deploymentID="den")
    change(given["about"], 1, "latitude", "52.704420")
    change(given["about"], 1, "deploymentStart", "2026-04-10T14:00:00+02:00")
    check_formats(["camtrap-dp"], videos=videos, **given)
    change(given["about"], 1, "video", read_rows(given["about"])[0]["video"])
    with pytest.raises(TableError, match="rows 2 and 3 are both about"):
        check_formats(["camtrap-dp"], videos=videos[:1], **given)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("title: Höhlen\ncontact: A. Käfer\nsampling_design: targeted\n".encode("latin-1"), ""),
        (b"\xff\xfe\x00", "cut short or not utf-16"),
        (b"", "the file is empty"),
        (b"title: 2026-99-99\n", "not valid YAML"),
        (b"[" * 5000, "not valid YAML"),
        (b"- a\n", "project.yaml"),
    ],
)
def test_project_files_of_any_kind_are_read_or_refused_in_one_line(tmp_path, videos, data, message):
    given = about(tmp_path, videos)
    given["project"].write_bytes(data)
    if not message:
        check_formats(["camtrap-dp"], videos=videos, **given)
        return
    with pytest.raises(UsageError) as caught:
        check_formats(["camtrap-dp"], videos=videos, **given)
    assert message in str(caught.value)


def test_formats_that_do_not_exist():
    with pytest.raises(UnknownNameError, match=r"unknown format 'boriss'\. Did you mean 'boris'"):
        check_formats(["csv", "boriss"])


@pytest.mark.parametrize("name", [name for name in TIMELINE_FORMATS if name != "camtrap-dp"])
def test_a_video_without_bouts_is_written_too(tmp_path, name):
    out = written(tmp_path, [timeline("a.mp4", bouts=())], name)
    assert any(path.is_file() for path in out.rglob("*"))
    if name == "boris":
        assert read_boris(out / "boris/project.boris") == []


def test_exported_bouts_become_a_table_again(tmp_path, videos):
    out = written(tmp_path, [timeline(str(path)) for path in videos], "boris")
    found = tabulate(
        read_boris(out / "boris/project.boris"),
        MediaFinder(out / "boris"),
        out=tmp_path / "t.csv",
        source="x",
    )
    write_rows(tmp_path / "t.csv", found.rows)
    table = read_table(tmp_path / "t.csv", check_files=True)
    assert [(e.video, e.labels[0], e.start_seconds) for e in table.examples][:3] == [
        ("north/cam 1.mp4", "eat, drink", 0.4), ("north/cam 1.mp4", "run", 0.8),
        ("north/cam 1.mp4", "eat, drink", 1.2),
    ]  # fmt: skip
    assert found.absent == ()
    assert replace(table.examples[0]).group == "north_cam 1"
