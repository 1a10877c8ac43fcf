"""`actiondiff start`: one command from videos and labels to a verdict, and again from where it ended."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import read_rows, write_rows

from actiondiff.cli.main import run
from actiondiff.start import road
from actiondiff.video.write import write_video


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve cameras with a dark and a bright clip each, and two further clips that nobody labelled."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = []
    for number in range(26):
        kind = ("dark", "bright")[number % 2]
        pixels = random.integers(0, 90, (8, 32, 32, 3), dtype=np.uint8) + np.uint8(150 * (kind == "bright"))
        name = f"cam{number // 2}_{number % 2}.mp4"
        write_video(tmp_path / "videos" / name, pixels, fps=10)
        rows += [{"video": name, "label": kind}] if number < 24 else []
    write_rows(tmp_path / "videos/labels.csv", rows)
    return tmp_path


@pytest.mark.timeout(900)
def test_from_a_folder_to_a_verdict_and_again(folder, quick, capsys):
    assert run(["start", "videos", "--backbone", "pixels", "-o", "out", *quick]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("VERDICT: works with simple colours alone.")
    assert "guessing has 50 % (24 clips, 12 groups)" in lines[-1]
    assert "groups: 12, from the names of the videos up to their first number" in "\n".join(lines)
    verdict = json.loads(Path("out/verdict.json").read_text())
    assert (verdict["outcome"], verdict["recommended"]) == ("works", "pixels")
    for name in ("model/model.safetensors", "model/report.html", "ethogram/report.html", "labels.csv"):
        assert (Path("out") / name).is_file(), name
    predicted = read_rows(Path("out/ethogram/predictions.csv"))
    assert [(Path(row["video"]).name, row["label"]) for row in predicted] == [
        ("cam12_0.mp4", "dark"),
        ("cam12_1.mp4", "bright"),
    ]
    folds = {}
    for row in read_rows(Path("out/labels.csv")):
        folds.setdefault(row["group"], set()).add(row["fold"])
    assert all(len(own) == 1 for own in folds.values())

    # Each printed command can be repeated, and a second run does none of the training again.
    commands = [line.removeprefix("$ actiondiff ") for line in lines if line.startswith("$ ")]
    assert commands[0] == "videos check videos"
    assert run(next(line for line in commands if line.startswith("report")).split()) == 0
    trained = Path("out/runs/motion/fold-1/model.safetensors")
    written = trained.stat().st_mtime_ns
    assert run(["start", "videos", "--backbone", "pixels", "-o", "out", *quick]) == 0
    assert trained.stat().st_mtime_ns == written
    assert capsys.readouterr().out.splitlines()[-1] == lines[-1]
    assert run(["start", "videos", "--backbone", "motion", "-o", "out"]) == 1
    assert "was started with other videos or options" in capsys.readouterr().err


def test_a_class_of_one_recording_cannot_be_tested(folder, capsys):
    rows = read_rows(folder / "videos/labels.csv")
    write_rows(folder / "videos/labels.csv", [rows[0], *rows[1::2]])
    assert run(["start", "videos", "-o", "out"]) == 0
    printed = capsys.readouterr().out
    assert "dark is left out: it occurs in one group only" in printed
    assert "VERDICT: too few recordings to tell" in printed.splitlines()[-1]
    assert "3 of dark" in printed.splitlines()[-1]
    assert not (folder / "out/model").exists()


def test_wrong_arguments_are_one_line_before_any_work(folder, capsys):
    for arguments, message in (
        (["gone"], "is not a folder"),
        (["videos", "gone.csv"], "there are no labels at gone.csv"),
        (["videos", "--backbone", "lit0"], "lit0"),
    ):
        assert run(["start", *arguments, "-o", "out"]) == 1
        printed = capsys.readouterr()
        assert message in printed.err
        assert printed.out == ""
    assert not Path("out").exists()
    Path("out").mkdir()
    Path("out/mine.txt").write_text("")
    assert run(["start", "videos", "-o", "out"]) == 1
    assert "out" in capsys.readouterr().err


def test_clips_that_cannot_be_read_are_left_out_before_groups_are_counted(folder, quick, capsys):
    """Of two recordings of a class one is broken, so that the class cannot be tested."""
    rows = read_rows(folder / "videos/labels.csv")
    for row in rows:
        row["label"] = "rare" if row["video"] in ("cam0_0.mp4", "cam1_0.mp4") else row["label"]
    write_rows(folder / "videos/labels.csv", rows)
    (folder / "videos/cam1_0.mp4").write_bytes(b"no video")
    assert run(["start", "videos", "--backbone", "pixels", "-o", "out", *quick]) == 0
    printed = capsys.readouterr().out
    assert "1 clip is left out, because there are no features of pixels, for example" in printed
    assert "cam1_0.mp4 (failed: the file holds text)" in printed
    assert "rare is left out: it occurs in one group only" in printed
    assert "(22 clips, 12 groups)" in printed
    assert re.search(r"guard of pixels: \d+ of 22 held-out clips lies? outside what the head", printed)
    predicted = read_rows(Path("out/ethogram/predictions.csv"))  # those without a label alone
    assert {Path(row["video"]).name for row in predicted} == {"cam12_0.mp4", "cam12_1.mp4"}

    # Tables that were changed by hand are not replaced, and damaged settings are one line.
    text = Path("out/labels.csv").read_text() + "\n"
    Path("out/labels.csv").write_text(text)
    assert run(["start", "videos", "--backbone", "pixels", "-o", "out", *quick]) == 1
    printed = capsys.readouterr()
    assert "labels.csv would be replaced" in printed.err
    assert printed.out == ""
    assert Path("out/labels.csv").read_text() == text
    Path("out/start.json").write_text("{")
    assert run(["start", "videos", "--backbone", "pixels", "-o", "out", "--overwrite", *quick]) == 1
    assert "start.json is damaged (JSONDecodeError)" in capsys.readouterr().err


@pytest.mark.timeout(900)
def test_the_place_is_taken_away_where_clips_that_are_not_tested_on_speak_for_it(
    tmp_path, monkeypatch, capsys
):
    """Six places of six brightnesses; an action is darker or brighter than its place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(road, "CONTROLS", ("pixels",))  # fewer training runs
    monkeypatch.setattr(road, "_MOST_FOLDS", 3)
    random = np.random.default_rng(0)
    rows = []
    for number in range(6 * 6):
        place, turn = divmod(number, 6)
        change = (-12, 12)[turn % 2]
        level = 40 + 30 * (place * 5 % 6) + change
        pixels = (level + random.integers(-6, 6, (8, 32, 32, 3))).astype(np.uint8)
        # Something else in each clip, so that clips are not taken for copies of each other.
        pixels[..., 2] = np.kron(random.integers(0, 250, (4, 4)), np.ones((8, 8), int))
        name = f"{place}/{turn}.mp4"
        write_video(tmp_path / "videos" / name, pixels, fps=10)
        row = {"video": name, "label": "darker" if change < 0 else "brighter", "site": f"s{place}"}
        rows += [{**row, "group": f"g{place}"}] if turn < 4 else []
    write_rows(tmp_path / "videos/labels.csv", rows)
    options = ["--set", "head.name=mean-linear", "--set", "head.project=null", "--set", "training.epochs=40",
               "--set", "training.learning_rate=0.05"]  # fmt: skip
    assert run(["start", "videos", "--backbone", "pixels", "-o", "out", *options]) == 0
    printed = capsys.readouterr().out
    assert "camera: the column site. Features are also tried without the background" in printed
    assert "the place is taken away in 3 of 3 folds" in printed
    assert "cameras of 12 videos without labels: 12 from the labelled videos beside them" in printed
    assert "without the place in 3 of 3 folds" in printed.splitlines()[-1]
    verdict = json.loads(Path("out/verdict.json").read_text())
    pixels = next(score for score in verdict["scores"] if score["name"] == "pixels")
    assert pixels["score"] > 0.9
    config = json.loads(Path("out/model/config.json").read_text())
    assert config["head"]["input"] == "minus-background"
    predicted = read_rows(Path("out/ethogram/predictions.csv"))
    expected = ["darker", "brighter"] * 6
    assert [row["label"] for row in predicted] == expected


def test_a_column_of_cameras_that_is_not_there_is_one_line(folder, capsys):
    assert run(["start", "videos", "--camera", "kamera", "-o", "out"]) == 1
    assert "column of cameras" in capsys.readouterr().err
