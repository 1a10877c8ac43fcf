"""A store, a run and a recipe that version 0.1.0 wrote, before modules were moved into rooms, still work.

`tests/fixtures/written-by-0.1.0` holds what that version wrote of fifteen drawn clips, and three of these.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file

import actiondiff as ad
from actiondiff.cli.main import run as run_command
from actiondiff.experiments.recipe import load_recipe
from actiondiff.training.options import FIRST_RESOLVED

ROOT = "/tmp/fx/clips"  # where the clips lay when the store was written
WRITTEN = Path(__file__).parents[2] / "fixtures" / "written-by-0.1.0"
PUBLIC = """
ActionDiff ActionDiffError Bout DecodeReport Example FeatureKey FeatureStore Features Frames Heatmap
LocalizationOptions Prediction Timeline TimelineOptions __version__ convert_weights evaluate extract_features
iter_video load_backbone read_video sweep train
"""
TINY = "--timesteps 20 --layers 3 --height 64 --width 64 --window 8 --conditioning middle-frame"


@pytest.fixture
def written(tmp_path):
    """A copy of the files that may be written to."""
    return shutil.copytree(WRITTEN, tmp_path / "written")


def tensors(store):
    return {path.name: load_file(path) for path in (store / "features").rglob("*.safetensors")}


def test_names_of_the_public_interface():
    assert set(ad.__all__) >= set(PUBLIC.split())


def test_a_store_is_read_and_verified(written):
    assert len(ad.FeatureStore.open(written / "store").keys()) == 1
    assert run_command(["features", "verify", str(written / "store")]) == 0


@pytest.mark.parametrize(
    ("store", "table", "options"),
    [("store", "table.csv", "--backbone pixels"), ("tiny-store", "one.csv", f"--backbone tiny {TINY}")],
)
def test_extraction_continues_a_store_without_redoing_it(written, capsys, store, table, options):
    table = written / "clips" / table
    clips = pd.read_csv(table)  # only the clips that are here can be looked at again
    clips[[(table.parent / video).is_file() for video in clips["video"]]].to_csv(table, index=False)
    before = tensors(written / store)
    command = ["extract", str(table), "-o", str(written / store), *options.split(), "--batch", "1"]
    assert run_command([*command, "--threads", "1"]) == 0
    assert " 0 done" in capsys.readouterr().out
    for name, after in tensors(written / store).items():
        assert after.keys() == before[name].keys()
        assert all(np.array_equal(after[key], before[name][key]) for key in after)


def test_the_same_clip_gives_the_same_features(written):
    """What the built-in network computes now is what it computed then, to the last places."""
    store = ad.FeatureStore.open(written / "tiny-store")
    video = store.videos()[0]
    backbone = ad.load_backbone(
        "tiny", height=64, width=64, window=8, conditioning="middle-frame", threads=1, batch=1, device="cpu"
    )
    features = backbone.extract(ad.read_video(written / "clips" / video), timesteps=[20], layers=[3])
    np.testing.assert_allclose(features[20, 3], store.read(video)[20, 3], rtol=1e-4, atol=1e-5)


def test_a_run_predicts_as_it_did(written):
    model = ad.ActionDiff.from_pretrained(written / "run")
    for row in json.loads((WRITTEN / "predictions.json").read_text("utf-8")):
        prediction = model.predict(written / row["video"])
        assert prediction.probabilities == pytest.approx(row["probabilities"], abs=1e-5)


def test_a_run_is_evaluated_as_it_was(written):
    arguments = [str(written / name) for name in ("run", "store", "clips/table.csv")]
    out = written / "evaluated"
    assert run_command(["evaluate", *arguments, "-o", str(out), "--root", ROOT]) == 0
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    before = json.loads((WRITTEN / "evaluation.json").read_text("utf-8"))
    assert metrics["scores"] == before["scores"]


def test_a_recipe_is_read_and_trains_to_the_same_head(written):
    recipe = load_recipe(written / "recipe.yaml")
    resolved = yaml.safe_load((written / "run/seed-0/recipe.yaml").read_text("utf-8"))
    assert resolved["head"] == recipe.head.model_dump(mode="json")
    assert resolved["training"] == recipe.training.model_dump(mode="json", exclude=FIRST_RESOLVED)
    arguments = [str(written / name) for name in ("store", "clips/table.csv")]
    command = ["train", *arguments, "-o", str(written / "again"), "--root", ROOT, "--set", "seeds=1"]
    assert run_command([*command, "--recipe", str(written / "recipe.yaml")]) == 0
    again, before = (pd.read_csv(written / run / "predictions.csv.gz") for run in ("again", "run/seed-0"))
    pd.testing.assert_frame_equal(again, before, rtol=1e-3)
