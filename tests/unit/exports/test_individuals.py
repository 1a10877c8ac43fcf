"""Two individuals of one video: kept apart in every file, and apart when the file is read back."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from tests.conftest import read_rows

from actiondiff.datasets.bouts import tabulate, write_rows
from actiondiff.datasets.files import MediaFinder
from actiondiff.datasets.importing import read_labels
from actiondiff.datasets.joining import join_tables, write_examples
from actiondiff.datasets.spans import cut_spans
from actiondiff.datasets.table import read_table
from actiondiff.exports.bouts import read_bouts
from actiondiff.exports.queue import clip_queue, stretch_queue, write_queue
from actiondiff.exports.tables import write_predictions
from actiondiff.exports.timelines import write_timelines
from actiondiff.inference.options import TimelineOptions
from actiondiff.inference.timeline import Timeline
from actiondiff.types import Bout, DecodeReport, DomainCheck, Prediction
from actiondiff.video.write import write_video

MADE = datetime(2026, 11, 20, 14, 3, 22, tzinfo=UTC)
BOUTS = {  # both eat at the same time, one of them longer: merged, one of the two would be lost
    "fox": (Bout("eat", 0.4, 1.2, 0.9), Bout("run", 1.2, 2.0, 0.8)),
    "ha/re 2": (Bout("eat", 0.4, 1.6, 0.7),),
}
FORMATS = {
    "boris": ("boris/project.boris", "boris/aggregated.csv", "boris/tabular/a.csv"),
    "camtrap-dp": ("camtrap-dp",),
    "deepethogram": ("deepethogram",),
}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "videos/a.mp4"
    write_video(path, np.zeros((25, 16, 16, 3), np.uint8), fps=10)
    return path


def timelines(source) -> list[Timeline]:
    index = np.arange(0, 25, 4)
    return [
        Timeline(
            video=str(source), labels=("background", "eat", "run"), seconds=index / 10, frame_index=index,
            end_seconds=2.5, probabilities=np.full((len(index), 3), 1 / 3, np.float32), bouts=bouts,
            activation="softmax", thresholds={}, options=TimelineOptions(span_seconds=0.8),
            report=DecodeReport("ok", num_frames_decoded=25, num_frames_expected=25), individual=individual,
        )
        for individual, bouts in BOUTS.items()
    ]  # fmt: skip


@pytest.fixture
def written(tmp_path, source):
    about = tmp_path / "about.csv"
    about.write_text(
        "video,deploymentID,latitude,longitude,deploymentStart,deploymentEnd,timestamp\n"
        "videos/a.mp4,d1,1,2,2026-04-01T00:00:00Z,2026-05-01T00:00:00Z,2026-04-12T05:31:07Z\n"
    )
    (tmp_path / "project.yaml").write_text("title: t\ncontact: c\nsampling_design: targeted\n")
    write_timelines(
        tmp_path / "out", timelines(source), ["csv", "json", *FORMATS], model="m", made=MADE, about=about,
        project=tmp_path / "project.yaml",
    )  # fmt: skip
    return tmp_path / "out"


def imported(tmp_path, program, path, **options) -> list[dict[str, str]]:
    bouts = read_labels(program, path)
    labels = tabulate(
        bouts, MediaFinder(path if path.is_dir() else path.parent), out=tmp_path / "t.csv", source=path,
        **options,
    )  # fmt: skip
    write_rows(tmp_path / "t.csv", labels.rows)
    return [row for row in read_rows(tmp_path / "t.csv") if row["label"] != "background"]


@pytest.mark.parametrize(("program", "file"), [(name, file) for name in FORMATS for file in FORMATS[name]])
def test_individuals_come_back_from_other_programs_formats(tmp_path, written, program, file):
    rows = imported(tmp_path, program, written / file)
    assert sorted(
        (
            row["video"],
            row["individual"],
            row["label"],
            float(row["start_seconds"]),
            float(row["end_seconds"]),
        )
        for row in rows
    ) == [
        ("videos/a.mp4", name, b.label, b.start_seconds, b.end_seconds) for name in BOUTS for b in BOUTS[name]
    ]
    assert "subject" not in rows[0]
    assert "individuals" not in rows[0]
    assert len({row["group"] for row in rows}) == 1  # one recording stays on one side of a split
    merged = imported(tmp_path, program, written / file, by_individual=False)
    assert [(row["label"], row["subject"], row["end_seconds"]) for row in merged] == [
        ("eat", "fox;ha/re 2", "1.600"),
        ("run", "fox", "2.000"),
    ]


def test_the_files_of_other_programs_name_the_individual(written):
    project = json.loads((written / "boris/project.boris").read_text("ascii"))
    assert [entry["name"] for entry in project["subjects_conf"].values()] == list(BOUTS)
    assert [entry["label"] for entry in project["independent_variables"].values()] == ["individuals"]
    (observation,) = project["observations"].values()  # one video is one observation
    assert observation["file"] == {"1": ["../../videos/a.mp4"]}
    assert [event[:3] for event in observation["events"]] == [
        [0.4, "fox", "eat"], [0.4, "ha/re 2", "eat"], [1.2, "fox", "eat"], [1.2, "fox", "run"],
        [1.6, "ha/re 2", "eat"], [2.0, "fox", "run"],
    ]  # fmt: skip
    rows = read_rows(written / "boris/aggregated.csv")
    assert [(row["Subject"], row["Observation duration by subject by observation"]) for row in rows] == [
        ("fox", "1.600"), ("fox", "1.600"), ("ha/re 2", "1.200"),
    ]  # fmt: skip
    assert {row["Coding duration"] for row in rows} == {"1.600"}
    assert len(read_rows(written / "camtrap-dp/media.csv")) == 1
    observations = read_rows(written / "camtrap-dp/observations.csv")
    assert [row["individualID"] for row in observations] == ["fox", "fox", "ha/re 2"]
    assert {row["mediaID"] for row in observations} == {"a"}
    assert len({row["observationID"] for row in observations}) == 3
    assert len(list((written / "deepethogram").glob("*/*_labels.csv"))) == 2
    assert (written / "deepethogram/a_ha-re-2/a_ha-re-2_labels.csv").is_file()


def test_deepethogram_finds_a_video_that_moved_by_the_name_of_the_source(tmp_path, written, source):
    (tmp_path / "elsewhere").mkdir()
    source.rename(tmp_path / "elsewhere/a.mp4")
    bouts = read_labels("deepethogram", written / "deepethogram", videos=tmp_path / "elsewhere")
    assert {bout.subject for bout in bouts} == {*BOUTS}
    assert {bout.media for bout in bouts} == {str(tmp_path / "elsewhere/a.mp4")}


def test_tables_have_the_individual_only_where_there_are_crops(tmp_path, written, source):
    assert list(read_rows(written / "bouts.csv")[0])[:3] == ["video", "individual", "label"]
    assert {row["individual"] for row in read_rows(written / "scores.csv")} == {*BOUTS}
    assert [item["individual"] for item in json.loads((written / "timelines.json").read_text())] == [*BOUTS]
    assert [*read_bouts(written / "bouts.csv")] == [f"../videos/a.mp4 · {name}" for name in BOUTS]
    whole = [replace(timelines(source)[0], individual="")]
    write_timelines(tmp_path / "whole", whole, ["csv", "json", "boris"], model="m", made=MADE)
    assert "individual" not in read_rows(tmp_path / "whole/bouts.csv")[0]
    assert "individual" not in json.loads((tmp_path / "whole/timelines.json").read_text())[0]
    assert "individuals" not in read_rows(tmp_path / "whole/boris/aggregated.csv")[0]
    project = json.loads((tmp_path / "whole/boris/project.boris").read_text("ascii"))
    assert project["subjects_conf"] == project["independent_variables"] == {}


def test_predictions_of_clips(tmp_path):
    fox, hare = (
        Prediction("a.mp4", {"eat": p, "run": 1 - p}, "softmax", individual=name)
        for name, p in (("fox", 0.9), ("hare", 0.4))
    )
    write_predictions(tmp_path, [fox, hare], ["csv", "json"])
    rows = read_rows(tmp_path / "predictions.csv")
    assert [(row["video"], row["individual"], row["status"], row["label"]) for row in rows] == [
        ("a.mp4", "fox", "ok", "eat"), ("a.mp4", "hare", "ok", "run"),
    ]  # fmt: skip
    assert list(rows[0])[:3] == ["video", "individual", "status"]
    assert [item["individual"] for item in json.loads((tmp_path / "predictions.json").read_text())] == [
        "fox", "hare",
    ]  # fmt: skip
    assert repr(fox) == "Prediction('a.mp4 · fox': eat 0.90, run 0.10)"


def test_a_queue_names_the_individual_and_is_joined_by_it(tmp_path, source):
    clips = [
        Prediction(str(source), {"eat": p, "run": 1 - p}, "softmax", individual=name)
        for name, p in (("fox", 0.9), ("hare", 0.6))
    ]
    write_queue(tmp_path / "queue.csv", clip_queue(clips, most=9))
    rows = read_rows(tmp_path / "queue.csv")
    assert [(row["video"], row["individual"]) for row in rows] == [
        ("videos/a.mp4", "hare"), ("videos/a.mp4", "fox"),
    ]  # fmt: skip
    with open(tmp_path / "filled.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "label": label} for row, label in zip(rows, ("eat", "run"), strict=True))
    (tmp_path / "own.csv").write_text("video,individual,label\nvideos/a.mp4,fox,eat\n")
    tables = [read_table(tmp_path / name) for name in ("own.csv", "filled.csv")]
    joined = join_tables(tables, root=tmp_path)
    write_examples(tmp_path / "joined.csv", joined.examples, root=tmp_path)
    assert [(row["individual"], row["label"]) for row in read_rows(tmp_path / "joined.csv")] == [
        ("fox", "run"), ("hare", "eat"),
    ]  # fmt: skip


def test_an_individual_outside_comes_first_and_the_other_one_does_not(source):
    fox, hare = timelines(source)
    far = replace(hare, domain=DomainCheck({"light": 9.0}, ("dark",)))
    rows = stretch_queue([fox, far], most=9)
    assert [row["individual"] for row in rows[:3]] == ["ha/re 2"] * 3


def test_spans_are_cut_for_each_individual(tmp_path, source):
    (tmp_path / "t.csv").write_text(
        "video,individual,label,start_seconds,end_seconds\n"
        "videos/a.mp4,fox,eat,0,1\nvideos/a.mp4,hare,run,0,2.5\n"
    )
    spans = cut_spans(read_table(tmp_path / "t.csv"), span_seconds=1.0)
    assert [(s.columns["individual"], s.labels[0], s.start_seconds) for s in spans[:4]] == [
        ("fox", "eat", 0.0), ("fox", "background", 1.0), ("hare", "run", 0.0), ("hare", "run", 1.0),
    ]  # fmt: skip
