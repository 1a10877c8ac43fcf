"""No command replaces what it did not write, or what was changed since, unless it is asked to."""

import os
import subprocess
import sys

import numpy as np
import pytest
from tests.conftest import written_files

from actiondiff.builtin.dataset import write_menagerie
from actiondiff.cli.main import run
from actiondiff.inference.model import ActionDiff


def predict(trained, *arguments) -> int:
    return run(["predict", *map(str, (trained, *arguments)), "--device", "cpu"])


def refused(capsys, path) -> None:
    error = capsys.readouterr().err
    assert str(path) in error
    assert "--overwrite" in error
    assert error.count("\n") == 1


def test_predict_keeps_labels_that_were_filled_in(study_folder, trained, tmp_path, capsys):
    clips, out = study_folder / "clips", tmp_path / "out"
    assert predict(trained, clips, "-o", out) == 0
    assert predict(trained, clips, "-o", out) == 0  # its own results are replaced
    filled = (out / "queue.csv").read_text().replace(",,", ",eating,", 1)
    (out / "queue.csv").write_text(filled)
    capsys.readouterr()
    assert predict(trained, clips, "-o", out) == 1
    refused(capsys, out / "queue.csv")
    assert (out / "queue.csv").read_text() == filled
    assert predict(trained, clips, "-o", out, "--overwrite") == 0
    assert (out / "queue.csv").read_text() != filled


def test_an_interruption_keeps_earlier_results(study_folder, trained, tmp_path, monkeypatch, capsys):
    clips, out = study_folder / "clips", tmp_path / "out"
    assert predict(trained, clips, "-o", out) == 0
    before = {name: (out / name).read_bytes() for name in written_files(out)}

    def interrupt(self, features, name):
        raise KeyboardInterrupt

    monkeypatch.setattr(ActionDiff, "classify", interrupt)
    assert predict(trained, clips, "-o", out) == 130
    assert "still holds the results of an earlier run" in capsys.readouterr().err
    assert {name: (out / name).read_bytes() for name in written_files(out)} == before


def test_predict_keeps_label_files_of_deepethogram(study_folder, trained, tmp_path, capsys):
    labels = tmp_path / "deepethogram/0/0_labels.csv"
    labels.parent.mkdir(parents=True)
    labels.write_text("mine")
    arguments = ("-o", tmp_path, "--timeline", "--format", "deepethogram", "--span-seconds", 0.8)
    assert predict(trained, study_folder / "clips/0.mp4", *arguments) == 1
    refused(capsys, labels)
    assert labels.read_text() == "mine"


def test_evaluate_keeps_the_metrics_of_a_run(study_folder, quick, tmp_path, capsys):
    data = [str(study_folder / "features"), str(study_folder / "table.csv")]
    folder = tmp_path / "run"
    assert run(["train", *data, *quick, "-o", str(folder)]) == 0
    before = (folder / "metrics.json").read_bytes()
    capsys.readouterr()
    assert run(["evaluate", str(folder), *data, "-o", str(folder)]) == 1
    refused(capsys, folder / "metrics.json")
    assert (folder / "metrics.json").read_bytes() == before
    assert run(["report", str(folder)]) == 0
    assert run(["report", str(folder)]) == 0
    (folder / "report.html").write_text("my notes")
    capsys.readouterr()
    assert run(["report", str(folder)]) == 1
    refused(capsys, folder / "report.html")


def test_train_keeps_files_of_the_user(study_folder, quick, tmp_path, capsys):
    data = [str(study_folder / "features"), str(study_folder / "table.csv")]
    for name in ("recipe.yaml", "recipe.yaml and README.md"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "recipe.yaml").write_text("training: {epochs: 3}\n")
        if "README" in name:
            (folder / "README.md").write_text("mine")
        assert run(["train", *data, *quick, "-o", str(folder)]) == 1
        refused(capsys, folder / "recipe.yaml")
        assert (folder / "recipe.yaml").read_text() == "training: {epochs: 3}\n"
    assert run(["train", *data, *quick, "-o", str(folder), "--overwrite"]) == 0


def test_sweep_keeps_tables_of_the_user(study_folder, quick, tmp_path, capsys):
    data = [str(study_folder / "features"), str(study_folder / "table.csv"), *quick]
    out = tmp_path / "sweep"
    sweep = ["sweep", "default", *data, "--set", "training.learning_rate=[0.1,0.2]", "-o", str(out)]
    (out / "runs").mkdir(parents=True)
    (out / "points.csv").write_text("mine")
    assert run(sweep) == 1
    refused(capsys, out / "points.csv")
    (out / "points.csv").unlink()
    assert run(sweep) == 0
    assert run(sweep) == 0  # one that exists is continued


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("fault", ["opened:1", "permitted:1", "renamed:1", "renamed:2"])
def test_train_continues_after_a_kill_at_its_first_files(study_folder, quick, tmp_path, fault, seeds):
    data = [str(study_folder / "features"), str(study_folder / "table.csv")]
    command = ["train", *data, *quick, "--seeds", str(seeds), "-o", str(tmp_path / "run")]
    environment = {**os.environ, "ACTIONDIFF_FAULT": fault}
    main = [sys.executable, "-m", "actiondiff", *command]
    assert subprocess.run(main, env=environment, capture_output=True, check=False).returncode == -9
    assert run(command) == 0


def test_localize_keeps_the_video_and_files_of_the_user(study_folder, trained, tmp_path, capsys):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes((study_folder / "clips/1.mp4").read_bytes())
    before = clip.read_bytes()
    localize = ["localize", str(trained), str(clip), "--action", "bright", "--rows", "2", "--columns", "2"]
    localize += ["--device", "cpu", "-o"]
    for options in ([], ["--overwrite"]):
        assert run([*localize, str(clip), *options]) == 1
        assert "the video itself" in capsys.readouterr().err
        assert clip.read_bytes() == before
    (tmp_path / "heat.csv").write_text("mine")
    assert run([*localize, str(tmp_path / "heat.mp4")]) == 1
    refused(capsys, tmp_path / "heat.csv")


def test_table_keeps_tables_of_the_user(study_folder, tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("video,label\na.mp4,mine\n")
    add = ["table", "add", str(study_folder / "table.csv"), str(table), "-o"]
    assert run([*add, str(table)]) == 1
    refused(capsys, table)
    assert run([*add, str(tmp_path / "joined.csv")]) == 0
    assert run([*add, str(tmp_path / "joined.csv")]) == 0
    assert run([*add, str(table), "--overwrite"]) == 0
    assert "mine" in table.read_text()


def test_clips_of_another_seed_are_never_under_an_old_table(tmp_path, monkeypatch):
    import actiondiff.builtin.dataset as dataset

    write_menagerie(tmp_path, train=2, test=0, val=0, seed=0)
    monkeypatch.setattr(dataset, "write_video", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_menagerie(tmp_path, train=2, test=0, val=0, seed=1)
    assert not (tmp_path / "table.csv").exists()
    assert not (tmp_path / "world.json").exists()


def test_menagerie_keeps_a_table_of_the_user(tmp_path, capsys):
    (tmp_path / "table.csv").write_text("mine")
    assert run(["dev", "menagerie", "write", str(tmp_path), "--train", "2", "--test", "0", "--val", "0"]) == 1
    refused(capsys, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "mine"


def test_extract_keeps_hidden_files_of_the_user(study_folder, tmp_path):
    store = tmp_path / "store"
    clips = str(study_folder / "clips/0.mp4")
    extract = ["extract", clips, "-o", str(store), "--backbone", "pixels", "--device", "cpu"]
    assert run(extract) == 0
    mine, ours = store / ".x.part", store / ".actiondiff-index.csv.abc.part"
    mine.write_text("mine")
    ours.write_text("of a killed process")
    assert run([*extract, "--timesteps", "0"]) == 0
    from actiondiff.features.store import FeatureStore

    FeatureStore.open(store).tidy()
    assert mine.read_text() == "mine"
    assert not ours.exists()


def test_the_state_of_training_lies_beside_its_target(tmp_path, monkeypatch):
    """No byte of it passes through the temporary folder, which may lie on another file system."""
    import tempfile

    import torch

    from actiondiff.training.trainer import open_trainer

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o500)
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere / "gone"))
    with open_trainer(torch.device("cpu"), tmp_path, callbacks=[], max_epochs=1) as trainer:
        trainer.strategy.checkpoint_io.save_checkpoint({"a": torch.arange(3)}, tmp_path / "run/last.ckpt")
    state = torch.load(tmp_path / "run/last.ckpt", weights_only=True)
    assert np.array_equal(state["a"], [0, 1, 2])
    assert os.listdir(tmp_path / "run") == ["last.ckpt"]
