"""`actiondiff datasets check`: all problems of a table at once, else what is in it."""

import json

from actiondiff.cli.main import run


def test_datasets_check(study_folder, tmp_path, capsys):
    assert run(["datasets", "check", str(study_folder / "table.csv")]) == 0
    shown = capsys.readouterr().out
    assert "16 clips, 2 classes, one label per clip" in shown
    assert "site: north 8, south 8" in shown
    (tmp_path / "t.csv").write_text("video,label,split\na.mp4,x;y,train\nb.mp4,,later\n")
    assert run(["datasets", "check", str(tmp_path / "t.csv")]) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "row 3: split is 'later'; it must be train, val, test or empty",
        "row 2: a.mp4 does not exist",
        "row 3: b.mp4 does not exist",
    ]
    assert "3 problems" in shown.err
    assert run(["datasets", "check", str(tmp_path / "t.csv"), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 3
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "t.csv").write_text("video,label,split\na.mp4,x;y,train\nb.mp4,,test\n")
    assert run(["datasets", "check", str(tmp_path / "t.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["clips"], found["unlabelled"], found["multi_label"]) == (2, 1, True)
    assert found["counts"] == {"label": {"x": 1, "y": 1}, "split": {"test": 1, "train": 1}}


def test_a_table_in_another_folder(study_folder, tmp_path, capsys):
    (tmp_path / "t.csv").write_text((study_folder / "table.csv").read_text())
    assert run(["datasets", "check", str(tmp_path / "t.csv")]) == 1
    assert "16 problems" in capsys.readouterr().err
    assert run(["datasets", "check", str(tmp_path / "t.csv"), "--root", str(study_folder)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out


def test_a_folder_per_class(tmp_path, capsys):
    for name in ("eat/1.mp4", "run/1.mp4", "run/2.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert run(["datasets", "check", str(tmp_path)]) == 0
    assert "label: eat 1, run 2" in capsys.readouterr().out


def test_tables_without_clips(tmp_path, capsys):
    for content, said in (("", "the file is empty"), ("video,label\n", "the table has no rows")):
        (tmp_path / "t.csv").write_text(content)
        assert run(["datasets", "check", str(tmp_path / "t.csv")]) == 1
        shown = capsys.readouterr()
        assert said in shown.out
        assert "1 problem;" in shown.err
    assert run(["datasets", "check", str(tmp_path / "gone.csv")]) == 1
    assert "there is no table at" in capsys.readouterr().err
