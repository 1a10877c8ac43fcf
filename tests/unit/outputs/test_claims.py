"""The one rule about results: what a command did not write, or what was changed since, is not replaced."""

import os
import subprocess
import sys
import threading

import pytest

from actiondiff.errors import UsageError
from actiondiff.outputs import claim, claim_file
from actiondiff.provenance import write_text

NAMES = ("table.csv", "parts/")


def write(folder, text, *, name="table.csv", command="predict", overwrite=False):
    with claim(folder, command, NAMES, overwrite=overwrite):
        write_text(folder / name, text)


def test_what_the_same_command_wrote_is_replaced(tmp_path):
    write(tmp_path, "first")
    write(tmp_path, "second")
    write(tmp_path, "third", name="parts/a/b.csv")
    write(tmp_path, "fourth", name="parts/a/b.csv")
    assert (tmp_path / "table.csv").read_text() == "second"
    assert (tmp_path / "parts/a/b.csv").read_text() == "fourth"


@pytest.mark.parametrize("name", ["table.csv", "parts/a/b.csv"])
@pytest.mark.parametrize("origin", ["user", "changed", "other command", "link"])
def test_nothing_else_is_replaced_unless_asked(tmp_path, name, origin):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if origin == "link":
        (tmp_path / "elsewhere.csv").write_text("mine")
        path.symlink_to(tmp_path / "elsewhere.csv")
    elif origin == "user":
        path.write_text("mine")
    else:
        write(tmp_path, "mine", name=name, command="train" if origin == "other command" else "predict")
    if origin == "changed":
        path.write_text("mine, with labels")
    before = path.read_text()
    with pytest.raises(UsageError, match=r"would be replaced.*--overwrite") as caught:
        write(tmp_path, "new", name=name)
    assert "\n" not in str(caught.value)
    assert path.read_text() == before
    write(tmp_path, "new", name=name, overwrite=True)
    assert path.read_text() == "new"
    write(tmp_path, "newer", name=name)  # it is the command's own now


def test_a_refusal_comes_before_the_work(tmp_path):
    (tmp_path / "table.csv").write_text("mine")
    with pytest.raises(UsageError), claim(tmp_path, "predict", NAMES):
        pytest.fail("the work was done")


def test_a_file_that_appears_during_the_work_stays(tmp_path):
    with claim(tmp_path, "predict", NAMES):
        (tmp_path / "table.csv").write_text("mine")
        with pytest.raises(UsageError, match="would be replaced"):
            write_text(tmp_path / "table.csv", "new")
    assert (tmp_path / "table.csv").read_text() == "mine"


def test_files_of_other_names_are_no_obstacle(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/.hidden").write_text("mine")
    write(tmp_path, "new")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_is_written_by_one_command_at_a_time(tmp_path):
    refusals = []

    def other():
        try:
            write(tmp_path, "other")
        except UsageError as error:
            refusals.append(str(error))

    with claim(tmp_path, "predict", NAMES):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with claim(tmp_path, "report", ["page.html"]):  # what the holder does itself
            write_text(tmp_path / "page.html", "")
    assert len(refusals) == 1
    assert "another actiondiff command is writing" in refusals[0]
    write(tmp_path, "after")


def test_single_files_beside_each_other_are_written_at_once(tmp_path):
    with claim_file(tmp_path / "a.csv", "table add"):
        thread = threading.Thread(target=lambda: write_other(tmp_path))
        thread.start()
        thread.join()
    assert (tmp_path / "b.csv").read_text() == "b"


def write_other(folder):
    with claim_file(folder / "b.csv", "table add"):
        write_text(folder / "b.csv", "b")


@pytest.mark.parametrize("point", ["opened", "written", "synced", "permitted", "renamed"])
def test_a_killed_command_knows_its_own_files(tmp_path, point):
    script = (
        "from actiondiff.outputs import claim\nfrom actiondiff.provenance import write_text\n"
        "import sys, pathlib\nfolder = pathlib.Path(sys.argv[1])\n"
        "with claim(folder, 'predict', ['table.csv', 'parts/']):\n"
        "    write_text(folder / 'table.csv', sys.argv[2])\n"
    )
    run = [sys.executable, "-c", script, str(tmp_path)]
    for text, fault in (("one", point), ("two", point), ("three", "")):
        done = subprocess.run([*run, text], env={**os.environ, "ACTIONDIFF_FAULT": fault}, check=False)
        assert done.returncode == (-9 if fault else 0)
    assert (tmp_path / "table.csv").read_text() == "three"


def test_a_damaged_record_protects(tmp_path):
    write(tmp_path, "one")
    record = tmp_path / ".actiondiff/files.jsonl"
    record.write_bytes(b'{"file": 3}\n[[[[\n\xff\n{"command": "predict"')
    with pytest.raises(UsageError, match="would be replaced"):
        write(tmp_path, "two")


def test_nothing_is_left_where_nothing_was_written(tmp_path):
    with pytest.raises(ZeroDivisionError), claim(tmp_path / "new/out", "predict", NAMES):
        raise ZeroDivisionError
    assert not (tmp_path / "new/out").exists()
