"""`actiondiff videos check`."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tests.conftest import read_rows

from actiondiff.cli.main import run
from actiondiff.video.write import write_video


@pytest.fixture
def folder(tmp_path):
    rows, columns = np.indices((96, 128))
    picture = np.stack([rows, columns, 255 - rows], axis=-1).astype(np.uint8)
    write_video(tmp_path / "good.mp4", np.repeat(picture[None], 20, axis=0), fps=10)
    return tmp_path


def test_all_is_well(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["videos", "check", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "128x96" in printed
    assert "2.00" in printed
    assert "1 checked: 1 ok." in printed


def test_damage_is_shown_with_its_reason_and_exit_code_3(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    (folder / "[b]empty.mp4").touch()
    assert run(["videos", "check", str(folder)]) == 3
    printed = capsys.readouterr().out
    assert "[b]empty.mp4" in printed
    assert "the file is empty (0 bytes)" in printed
    assert "2 checked: 1 ok, 1 failed." in printed


def test_it_fits_80_columns_and_ends_with_the_problems(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    (folder / "a name of a camera and a place that is much longer than a line of a terminal.mp4").touch()
    (folder / "empty.mp4").touch()
    assert run(["videos", "check", str(folder)]) == 3
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("Problems:")
    assert all(len(line) <= 80 for line in lines[1:start])
    assert any("good.mp4" in line and "128x96" in line and "2.00" in line for line in lines[:start])
    assert [line.split(":")[0].strip() for line in lines[start + 1 : start + 3]] == [
        "a name of a camera and a place that is much longer than a line of a terminal.mp4",
        "empty.mp4",
    ]
    assert "3 checked: 1 ok, 2 failed." in lines[-1]


def test_a_table_of_the_results(folder, tmp_path_factory, capsys):
    out = tmp_path_factory.mktemp("out") / "checks.csv"
    (folder / "empty.mp4").touch()
    assert run(["videos", "check", str(folder), "-o", str(out)]) == 3
    bad, good = read_rows(out)
    assert (bad["status"], bad["num_frames"], bad["width_px"]) == ("failed", "0", "")
    assert "0 bytes" in bad["reason"]
    assert (good["status"], good["num_frames"], good["width_px"], good["height_px"]) == (
        "ok",
        "20",
        "128",
        "96",
    )
    out.write_text("mine")
    assert run(["videos", "check", str(folder), "-o", str(out)]) == 1
    assert out.read_text() == "mine"


def test_json_for_machines(folder, capsys):
    (folder / "empty.MP4").touch()
    assert run(["videos", "check", "--json", str(folder / "good.mp4"), str(folder / "empty.MP4")]) == 3
    bad, good = json.loads(capsys.readouterr().out)
    assert (bad["report"]["status"], bad["info"]) == ("failed", None)
    assert good["path"] == (folder / "good.mp4").as_posix()
    assert good["report"]["num_frames_decoded"] == good["info"]["num_frames_from_header"] == 20
    assert good["notes"] == []


def test_errors_are_one_line(tmp_path, capsys):
    assert run(["videos", "check", str(tmp_path / "nope")]) == 1
    assert run(["videos", "check", str(tmp_path)]) == 1
    assert run(["videos", "check"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "nope does not exist" in lines[0]
    assert "no videos found" in lines[1]


def test_the_module_loads_nothing_heavy():
    heavy = ("av", "numpy", "torch")
    code = f"import sys, actiondiff.cli.videos; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
