"""Paths that are swapped or mistyped are found before anything heavy is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import actiondiff
from actiondiff.cli.main import run


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """A store, a run, a table and a video by their marks alone; none of them is opened."""
    monkeypatch.chdir(tmp_path)
    for mark in ("features/store.json", "run/config.json", "table.csv", "videos/a.mp4"):
        path = tmp_path / mark
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code with this package, and without this process's settings of threads."""
    variables = {name: text for name, text in os.environ.items() if not name.startswith(("OMP_", "MKL_"))}
    variables["PYTHONPATH"] = str(Path(actiondiff.__file__).parents[1])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("train table.csv features -o x", "Run: actiondiff train features table.csv ..."),
        ("evaluate features run table.csv", "Run: actiondiff evaluate run features table.csv ..."),
        ("evaluate table.csv features run", "Run: actiondiff evaluate run features table.csv ..."),
        ("predict videos run -o x", "are RUN PATHS, in this order; got videos run."),
        ("localize videos/a.mp4 run --action eat -o x.mp4", "Run: actiondiff localize run videos/a.mp4 ..."),
        ("app videos run", "Run: actiondiff app run videos ..."),
        ("predict rnu videos -o x", "there is no folder rnu"),
        ("predict run video -o x", "video does not exist; give video files or folders that hold them. Did"),
        ("predict run videos/b.mp4 videos/a.mp4 -o x", "videos/b.mp4 does not exist"),
        ("train featurse table.csv -o x", "Did you mean features?"),
        ("train features tabel.csv -o x", "there is no table at tabel.csv"),
        ("extract vidoes -o x", "Did you mean videos?"),
        ("start table.csv videos -o x", "Run: actiondiff start videos table.csv ..."),
        ("start vidoes -o x", "Did you mean videos?"),
        ("start videos tabel.csv -o x", "there are no labels at tabel.csv"),
        ("sweep sweep featurse table.csv -o x", "Did you mean features?"),
        ("compare run rnu", "there is no run at rnu"),
        ("videos check vidoes", "Did you mean videos?"),
        ("report rnu", "there is no folder rnu; give that of a run, an evaluation, predictions or a sweep."),
        ("report runs", "Did you mean run?"),
        ("table add table.csv tabel.csv -o x", "Did you mean table.csv?"),
    ],
)  # fmt: skip
def test_one_line_says_what_was_meant(work, typed, message, capsys):
    assert run(typed.split()) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (work / "x").exists()


def test_a_name_on_the_hub_is_not_a_mistyped_folder(work, capsys):
    assert run(["predict", "somebody/model", "videos", "-o", "x"]) == 1
    assert "the hub has no such model" in capsys.readouterr().err


def test_nothing_heavy_is_imported_for_it(work):
    code = (
        "import sys; from actiondiff.cli.main import run; run(['train', 'featurse', 'table.csv', '-o', 'x']);"
        "print([name for name in ('torch', 'av', 'pandas') if name in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["train", "predict", "demo", "sweep", "extract"])
def test_every_command_limits_its_threads(command, capsys):
    assert run([command, "--help"]) == 0
    assert "--threads" in capsys.readouterr().out


def test_threads_and_waiting_reach_torch():
    """`python -m actiondiff` sets both before torch's library reads them."""
    code = (
        "import atexit, os, sys; from actiondiff import __main__;"
        "show = lambda: print(__import__('torch').get_num_threads(), os.environ['OMP_WAIT_POLICY']);"
        "atexit.register(show);"
        "sys.argv = ['actiondiff', 'doctor', '--threads', '1']; __main__.main()"
    )
    done = python(code)
    assert done.stdout.splitlines()[-1] == "1 PASSIVE", done.stderr
