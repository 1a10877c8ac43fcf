"""`actiondiff table`: labels from other programs, spans, tables together."""

import json

import numpy as np
import pytest

from actiondiff.cli.main import run
from actiondiff.datasets.table import read_table
from actiondiff.video.write import write_video

EVENTS = (
    "Observation id,Source,Time offset (s),Media duration (s),FPS,Subject,Behavior,Behavior type,Time\n"
    "o,player #1:elsewhere/a.mp4,0.0,4.0,10,,walk,START,0.5\n"
    "o,player #1:elsewhere/a.mp4,0.0,4.0,10,,bark,POINT,1.0\n"
    "o,player #1:elsewhere/a.mp4,0.0,4.0,10,,walk,STOP,2.5\n"
)


@pytest.fixture
def folder(tmp_path):
    write_video(tmp_path / "videos/a.mp4", np.zeros((40, 16, 16, 3), np.uint8), fps=10)
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def table(*arguments) -> int:
    return run(["table", *map(str, arguments)])


def test_import_boris(folder, capsys):
    assert (
        table("import", "boris", folder / "events.csv", "-o", folder / "t.csv", "--videos", folder / "videos")
        == 0
    )
    said = capsys.readouterr().out
    assert "1 row written to" in said
    assert "1 point event was left out" in said
    (example,) = read_table(folder / "t.csv", check_files=True).examples
    assert (example.video, example.labels, example.start_seconds, example.end_seconds, example.group) == (
        "videos/a.mp4", ("walk",), 0.5, 2.5, "o",
    )  # fmt: skip
    assert (
        table(
            "import", "boris", folder / "events.csv", "-o", folder / "t.csv", "--point-seconds", 1, "--json"
        )
        == 0
    )
    summary = json.loads(capsys.readouterr().out)
    assert (summary["rows"], summary["points_left_out"], summary["videos_absent"]) == (
        2,
        0,
        ["elsewhere/a.mp4"],
    )


def test_import_deepethogram(folder, capsys):
    matrix = ["", *(f"{i},{int(i < 20)},{int(i >= 20)}" for i in range(40))]
    (folder / "videos/a_labels.csv").write_text("\n".join([",background,run", *matrix[1:]]) + "\n")
    assert table("import", "deepethogram", folder / "videos", "-o", folder / "t.csv") == 0
    found = read_table(folder / "t.csv").examples
    assert [(e.video, e.labels[0], e.start_seconds, e.end_seconds) for e in found] == [
        ("videos/a.mp4", "background", 0, 2), ("videos/a.mp4", "run", 2, 4),
    ]  # fmt: skip


def test_our_own_export_to_deepethogram_is_read_where_it_lies(folder):
    """The videos lie elsewhere: --videos finds them, and their own frames give the times."""
    rows = [f"{i},{int(i < 20)},{int(i >= 20)}" for i in range(40)]
    path = folder / "out/deepethogram/a/a_labels.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([",background,run", *rows]) + "\n")
    command = ["import", "deepethogram", folder / "out/deepethogram", "-o", folder / "t.csv"]
    assert table(*command) == 1
    assert table(*command, "--videos", folder / "videos") == 0
    assert [e.video for e in read_table(folder / "t.csv", check_files=True).examples] == ["videos/a.mp4"] * 2


def test_spans_and_add(folder, capsys):
    (folder / "t.csv").write_text("video,label,start_seconds,end_seconds\nvideos/a.mp4,walk,0,2\n")
    assert table("spans", folder / "t.csv", "-o", folder / "s/spans.csv", "--seconds", 1) == 0
    assert "4 spans written to" in capsys.readouterr().out
    spans = read_table(folder / "s/spans.csv", check_files=True).examples
    assert [e.labels[0] for e in spans] == ["walk", "walk", "background", "background"]
    queue = "video,label,start_seconds,end_seconds\nvideos/a.mp4,run,0,1\nvideos/a.mp4,,1,2\n"
    (folder / "queue.csv").write_text(queue)
    assert table("add", folder / "s/spans.csv", folder / "queue.csv", "-o", folder / "all.csv") == 0
    said = capsys.readouterr().out
    assert "4 rows written to" in said
    assert "1 took the place of earlier rows of the same clip, 1 without a label" in said
    assert read_table(folder / "all.csv", check_files=True).examples[0].labels == ("run",)


def test_what_cannot_be_done_is_said(folder, capsys):
    for arguments, said in (
        (["import", "borris", folder / "events.csv", "-o", folder / "t.csv"], "Known: boris, deepethogram"),
        (["import", "boris", folder / "gone.csv", "-o", folder / "t.csv"], "there is no file"),
        (["spans", folder / "gone.csv", "-o", folder / "t.csv"], "there is no table"),
        (["import", "boris", folder / "events.csv", "-o", folder / "t.csv", "--videos", folder / "s"], "s"),
    ):
        assert table(*arguments) == 1
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (folder / "t.csv").exists()
