"""Clips without animals as the background of a new camera, in every command that takes them."""

import json

import numpy as np
import pytest
from tests.conftest import read_rows, write_rows

from actiondiff.cli.main import run
from actiondiff.video.write import write_video

FAST = ["--set", "head.name=mean-linear", "--set", "head.project=null", "--set", "training.epochs=40",
        "--set", "training.learning_rate=0.05", "--set", "head.input=minus-background"]  # fmt: skip
LEVELS = {"a": 40, "b": 80, "c": 120, "d": 160, "new": 20}


def clip(path, level, seed):
    pixels = level + np.random.default_rng(seed).integers(-6, 6, (8, 32, 32, 3))
    write_video(path, pixels.astype(np.uint8), fps=10)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model of four cameras, and clips of a fifth one; an action is darker or brighter than its place."""
    folder = tmp_path_factory.mktemp("backgrounds")
    rows, empty = [], []
    for place, (camera, level) in enumerate(LEVELS.items()):
        for turn in range(4):
            name, change = f"clips/{camera}{turn}.mp4", (-12, 12)[turn % 2]
            clip(folder / name, level + change, 100 * place + turn)
            label = "darker" if change < 0 else "brighter"
            rows.append({"video": name, "label": label, "camera": camera})
        clip(folder / f"empty/{camera}.mp4", level, 100 * place + 50)
        empty.append({"video": f"{camera}.mp4", "camera": camera})
    write_rows(folder / "table.csv", rows)
    write_rows(folder / "empty/empty.csv", empty)
    write_rows(folder / "empty/new.csv", empty[-1:])
    store, table = str(folder / "features"), str(folder / "table.csv")
    assert run(["extract", table, "-o", store, "--backbone", "pixels"]) == 0
    domain = ["--domain", "camera", "--source", "a,b,c,d", "--target", "new"]
    assert run(["train", store, table, "-o", str(folder / "run"), *domain, *FAST]) == 0
    return folder


def test_predictions_of_one_clip_alone_are_right_with_clips_without_animals(world, tmp_path, capsys):
    # Brighter clips of a dark camera: by themselves they are their own place, which is dark.
    videos = [str(world / "clips/new1.mp4"), str(world / "clips/new3.mp4")]
    arguments = ["predict", str(world / "run"), *videos, "--features", str(tmp_path / "f")]
    probabilities = {}
    for name, options in {
        "own": [],
        "empty": ["--background-clips", str(world / "empty/new.csv")],
    }.items():
        capsys.readouterr()
        assert run([*arguments, "-o", str(tmp_path / name), "--format", "csv,json", *options]) == 0
        printed = capsys.readouterr().out
        rows = read_rows(tmp_path / name / "predictions.csv")
        probabilities[name] = [float(row["p(brighter)"]) for row in rows]
        if name == "empty":
            assert (
                "The backgrounds of 1 new camera were estimated from clips without animals (1 clip" in printed
            )
            assert "depend on" not in printed
            assert "Each folder" not in printed
        else:
            assert "from their own new footage (2 clips" in printed
    assert min(probabilities["empty"]) > 0.8 > 0.5 > max(probabilities["own"])

    # Which camera took which video has to be clear.
    several = ["--background-clips", str(world / "empty/empty.csv")]
    assert run([*arguments, "-o", str(tmp_path / "x"), *several]) == 1
    assert "Name the camera of each video with --cameras" in capsys.readouterr().err
    write_rows(tmp_path / "cameras.csv", [{"video": video, "camera": "new"} for video in videos])
    assert (
        run([*arguments, "-o", str(tmp_path / "y"), *several, "--cameras", str(tmp_path / "cameras.csv")])
        == 0
    )
    rows = read_rows(tmp_path / "y/predictions.csv")
    assert [float(row["p(brighter)"]) for row in rows] == probabilities["empty"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"video": "absent.mp4", "camera": "new"}], "row 2: absent.mp4 does not exist"),
        ([{"video": "new.mp4", "camera": ""}], "row 2: camera is empty or missing"),
        ([{"video": "new.mp4", "camera": "x", "start_seconds": "1"}], "only whole clips are taken"),
    ],
)
def test_a_wrong_table_is_one_line_before_any_video_is_read(world, tmp_path, capsys, rows, message):
    path = world / "empty" / "wrong.csv"
    write_rows(path, rows)
    video = str(world / "clips/new1.mp4")
    arguments = ["predict", str(world / "run"), video, "-o", str(tmp_path / "out")]
    assert run([*arguments, "--background-clips", str(path)]) == 1
    assert message in capsys.readouterr().err


def test_a_place_in_the_picture_is_searched_without_the_background(world, tmp_path, capsys):
    arguments = [
        "localize",
        str(world / "run"),
        str(world / "clips/new1.mp4"),
        "--action",
        "brighter",
        "--json",
        "--method",
        "crops",
    ]
    highest = {}
    for name, options in {
        "own": [],
        "empty": ["--background-clips", str(world / "empty/new.csv")],
        "named": ["--background-clips", str(world / "empty/empty.csv"), "--camera", "new"],
        "other": ["--camera", "a"],
    }.items():
        capsys.readouterr()
        assert run([*arguments, "-o", str(tmp_path / f"{name}.mp4"), *options]) == 0
        highest[name] = json.loads(capsys.readouterr().out)["highest"]["probability"]
    assert highest["empty"] == highest["named"]
    assert max(highest["own"], highest["other"]) < highest["empty"]
    several = ["--background-clips", str(world / "empty/empty.csv")]
    for options, message in (
        (several, "say with --camera which one took the video"),
        (["--camera", "new"], "new is none of the training cameras (a, b, c, d)"),
    ):
        assert run([*arguments, "-o", str(tmp_path / "x.mp4"), *options]) == 1
        assert message in capsys.readouterr().err


def test_timelines_are_scored_with_clips_without_animals(world, tmp_path, capsys):
    new = [row for row in read_rows(world / "table.csv") if row["camera"] == "new"][1::2]
    rows = [{**row, "start_seconds": "0", "end_seconds": "0.8"} for row in new]
    write_rows(world / "bouts.csv", rows)
    arguments = [
        "evaluate",
        str(world / "run"),
        str(world / "features"),
        str(world / "bouts.csv"),
        "--timeline",
    ]
    write_rows(world / "footage.csv", [{"video": "empty/new.mp4", "camera": "new"}])
    assert (
        run(["extract", str(world / "footage.csv"), "-o", str(world / "features"), "--backbone", "pixels"])
        == 0
    )
    scores = {}
    for name, options in {"own": [], "empty": ["--background-clips", str(world / "footage.csv")]}.items():
        capsys.readouterr()
        assert run([*arguments, "--json", *options]) == 0
        scores[name] = json.loads(capsys.readouterr().out)
    assert scores["empty"]["frames"]["macro_ap"] >= scores["own"]["frames"]["macro_ap"]
    assert scores["empty"]["frames"]["macro_f1"] > scores["own"]["frames"]["macro_f1"]
    assert any("without animals (1 clip" in text for text in scores["empty"]["cautions"])
    assert any("own new footage (2 clips" in text for text in scores["own"]["cautions"])
