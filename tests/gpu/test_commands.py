"""Commands on CUDA, as a user runs them: extract, train, evaluate, predict, localize."""

import json

import numpy as np
import pytest
from tests.cli.conftest import QUICK
from tests.conftest import read_rows, write_rows

from actiondiff import FeatureStore
from actiondiff.cli.main import run
from actiondiff.video.write import write_video

SMALL = ["--height", "32", "--width", "32", "--window", "4", "--device", "cuda"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Clips of two kinds, their features, and a trained head, all made on CUDA."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(16):
        kind = ("dark", "bright")[number % 2]
        pixels = rng.integers(0, 90, (12, 32, 32, 3), dtype=np.uint8) + np.uint8(150 * (kind == "bright"))
        write_video(folder / "clips" / f"{number}.mp4", pixels, fps=10)
        rows.append({"video": f"clips/{number}.mp4", "label": kind, "site": ("north", "south")[number // 8]})
    write_rows(folder / "table.csv", rows)
    extracted = ["extract", str(folder / "table.csv"), "-o", str(folder / "features"), *SMALL]
    assert run([*extracted, "--stride", "2", "--layers", "3,9", "--batch", "auto"]) == 0
    quick = [part for option in QUICK for part in ("--set", option)]
    trained = ["train", str(folder / "features"), str(folder / "table.csv"), *quick]
    assert run([*trained, "-o", str(folder / "run")]) == 0
    return folder


def test_extract_again_and_a_second_store(study, tmp_path, capsys):
    settings = FeatureStore.open(study / "features").settings["backbone"]
    assert (settings["dtype"], settings["vae_dtype"], settings["fused"]) == ("float16", "auto-float16", True)
    again = ["extract", str(study / "table.csv"), *SMALL, "--stride", "2", "--layers", "3,9", "--json"]
    assert run([*again, "-o", str(study / "features")]) == 0
    assert json.loads(capsys.readouterr().out)["num_skipped"] == 16
    assert run([*again, "-o", str(tmp_path / "fs"), "--batch", str(settings["batch"])]) == 0
    one, two = (FeatureStore.open(path) for path in (study / "features", tmp_path / "fs"))
    for video in one.videos():
        for key, tokens in one.read(video).tokens.items():
            assert np.array_equal(tokens, two.read(video).tokens[key]), (video, key)


def test_dry_run(study, tmp_path, capsys):
    assert (
        run(["extract", str(study / "clips"), "-o", str(tmp_path / "fs"), *SMALL, "--dry-run", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["seconds"] > 0


def test_evaluate(study, capsys):
    assert run(["evaluate", *map(str, (study / "run", study / "features", study / "table.csv"))]) == 0
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("device", [["cuda"], ["cpu", "--dtype", "float32"]], ids=" ".join)
def test_predict(study, tmp_path, device):
    command = ["predict", str(study / "run"), str(study / "clips"), "-o", str(tmp_path / "out")]
    assert run([*command, "--format", "csv", "--device", *device]) == 0
    rows = read_rows(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 16
    assert {row["status"] for row in rows} == {"ok"}


def test_timeline(study, tmp_path):
    command = ["predict", str(study / "run"), str(study / "clips/1.mp4"), "-o", str(tmp_path / "out")]
    assert run([*command, "--timeline", "--format", "csv", "--device", "cuda"]) == 0
    assert list((tmp_path / "out").rglob("*.csv"))


def test_localize(study, tmp_path):
    command = ["localize", str(study / "run"), str(study / "clips/1.mp4"), "--action", "bright"]
    shape = ["--rows", "2", "--columns", "3"]
    assert run([*command, "-o", str(tmp_path / "heat.mp4"), *shape, "--device", "cuda"]) == 0
    assert len(read_rows(tmp_path / "heat.csv")) == 6 * 2 * 3
