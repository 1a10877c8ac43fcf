"""`actiondiff report` on what the other commands wrote."""

import base64
import io
import re

import pandas as pd
import pytest
from PIL import Image

from actiondiff.cli.main import run

QUICK = ["--set", "head.name=mean-linear", "--set", "head.input=plain", "--set", "head.project=null",
         "--set", "training.epochs=9", "--set", "training.learning_rate=0.1"]  # fmt: skip


@pytest.fixture(scope="module")
def runs(study_folder, tmp_path_factory):
    """Runs by domain; south is labelled the wrong way round, so that all of it is taken for the other."""
    folder = tmp_path_factory.mktemp("runs")
    lines = (study_folder / "table.csv").read_text().splitlines()
    swapped = [x.replace("dark", "?").replace("bright", "dark").replace("?", "bright") for x in lines]
    table = folder / "table.csv"
    table.write_text("\n".join(b if "south" in a else a for a, b in zip(lines, swapped, strict=True)))
    store = str(study_folder / "features")
    base = ["train", store, str(table), "--root", str(study_folder), *QUICK, "--layer", "9"]
    domain = ["--domain", "site", "--source", "north"]
    assert run([*base, "-o", str(folder / "one"), *domain]) == 0
    assert run([*base, "-o", str(folder / "two"), *domain, "--seeds", "2"]) == 0
    clips = [store, str(study_folder / "table.csv")]
    assert run(["evaluate", str(folder / "one"), *clips, "-o", str(folder / "evaluation")]) == 0
    return folder


def test_a_run(runs, study_folder, capsys):
    assert run(["report", str(runs / "one"), "--videos", str(study_folder)]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (runs / "one" / "report.html").read_text()
    for said in ("t20.layer9", "site: north -&gt; south", "Only 8 clips were tested", "prior floor",
                 "Average precision of each class", "Confusion", "Learning curve", "Leakage audit",
                 "expected calibration error", "versions.torch"):  # fmt: skip
        assert said in text, said
    strips = re.findall(r'src="data:image/jpeg;base64,([^"]+)" alt="4 frames of a clip: clips/', text)
    predictions = pd.read_csv(runs / "one" / "predictions.csv.gz")
    wrong = (
        predictions[predictions["label"] != predictions["predicted"]].groupby(["label", "predicted"]).size()
    )
    assert len(strips) == wrong.clip(upper=3).sum() > 0  # the three surest of each kind
    for (true, predicted), count in wrong.items():
        assert f"{true}, predicted as {predicted}: {count} clip" in text
    assert Image.open(io.BytesIO(base64.b64decode(strips[0]))).size[1] == 96
    assert (runs / "one" / "report-figures" / "confusion.csv").is_file()


def test_videos_that_are_not_found_are_said(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["report", str(runs / "one"), "-o", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text()
    assert "Name the folder of the videos with --videos" in text
    assert "<img" not in text


def test_seeds(runs, tmp_path):
    assert run(["report", str(runs / "two"), "-o", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text()
    assert "standard deviation" in text
    assert "Predictions use seed-" in text


def test_an_evaluation(runs, tmp_path):
    assert run(["report", str(runs / "evaluation"), "-o", str(tmp_path / "r.html")]) == 0
    text = (tmp_path / "r.html").read_text()
    assert "clips were left out because the model was trained or selected on them" in text
    assert "Confusion" in text


def test_other_folders(tmp_path, capsys):
    assert run(["report", str(tmp_path)]) == 1
    assert "holds no metrics.json" in capsys.readouterr().err
    assert run(["report", str(tmp_path / "none")]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_a_sweep(study_folder, tmp_path):
    """Four studies of two cases: heatmap, choices, the best of many, all in one file."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "base: default\nhead: {name: mean-linear, input: plain, project: null}\n"
        "training: {epochs: 3, warmup_epochs: 1, learning_rate: 0.1}\n"
        "features: {timestep: [20], layer: [3, 9]}\nprotocol: {domain: site, source: north}\n"
    )
    out = tmp_path / "sweep"
    arguments = [str(recipe), str(study_folder / "features"), str(study_folder / "table.csv"), "-o", str(out)]
    assert run(["sweep", *arguments]) == 0
    assert run(["report", str(out)]) == 0
    text = (out / "report.html").read_text("utf-8").replace("<wbr>", "")
    for said in ("timestep=20 layer=9", "Rules of selection side by side", "source-validation",
                 "best of many", "prior floor", "scored 2 times", "features.timestep"):  # fmt: skip
        assert said in text, said
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
    assert (out / "report-figures" / "layers-timesteps.csv").is_file()
    tests = pd.read_csv(out / "tests.csv")
    assert tests["test"].tolist() == ["best of many"]
    assert tests["second"].tolist() == ["timestep=20 layer=3"]  # with one timestep layers are compared


def test_report_of_predicted_clips(study_folder, trained, tmp_path, capsys):
    """Of a folder that `predict` wrote: how many of each label, examples, and the model's calibration."""
    out = tmp_path / "out"
    arguments = [str(trained), str(study_folder / "clips"), "-o", str(out), "--device", "cpu"]
    assert run(["predict", *arguments, "--abstain-below", "0.6"]) == 0
    assert run(["report", str(out)]) == 0
    page = (out / "report.html").read_text("utf-8")
    for words in (
        "Clips of each label",
        "(uncertain)",
        "The most confident prediction of each label",
        "The model had too few clips to be calibrated on.",
    ):
        assert words in page
    assert page.count("data:image/jpeg") == 2
    assert "under a heatmap" not in page
    (out / "predicted.json").write_text('{"format": 0}')
    assert run(["report", str(out)]) == 1
    assert "was written by another version; run actiondiff predict again" in capsys.readouterr().err


def test_report_with_heatmaps(study_folder, trained, tmp_path):
    """Strips are in the page, though the videos are gone; of one that is gone as well, it is said."""
    (tmp_path / "clips").mkdir()
    for number in range(4):
        clip = f"clips/{number}.mp4"
        (tmp_path / clip).write_bytes((study_folder / clip).read_bytes())
    out = tmp_path / "out"
    arguments = [str(trained), str(tmp_path / "clips"), "-o", str(out), "--device", "cpu"]
    assert run(["predict", *arguments, "--heatmaps", "1"]) == 0
    for clip in (tmp_path / "clips").iterdir():
        clip.unlink()
    assert run(["report", str(out)]) == 0
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") == 2
    for label in ("bright", "dark"):
        assert f"the same frames under a heatmap: {label}: a guess" in page
    assert "as a hint, not as a measurement" in page
    next((out / "heatmaps").glob("*.png")).unlink()
    assert run(["report", str(out)]) == 0
    page = (out / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") == 1
    assert "1 strip is missing from heatmaps" in page
