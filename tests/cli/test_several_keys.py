"""A head on features of two backbones, from extraction to prediction, timeline and report."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import read_rows, write_rows

from actiondiff.cli.main import run
from actiondiff.datasets.packing import pack
from actiondiff.features.store import FeatureStore
from actiondiff.inference.localization import LocalizationOptions
from actiondiff.inference.model import ActionDiff
from actiondiff.types import Example, Frames
from actiondiff.video.decode import read_video


@pytest.fixture(scope="module")
def trained(study_folder, quick, tmp_path_factory) -> Path:
    """`pixels`, features of a second backbone at another stride, and `run`, a head on both."""
    folder = tmp_path_factory.mktemp("several")
    table = str(study_folder / "table.csv")
    arguments = ["--backbone", "pixels", "--stride", "4", "--store-dtype", "float16", "--device", "cpu"]
    assert run(["extract", table, "-o", str(folder / "pixels"), *arguments]) == 0
    keys = ["--keys", "t20.layer3,t20.layer9,pixels", "--combine", "tokens", "--with", str(folder / "pixels")]
    options = [*quick, "--set", "head.project=4", "--set", "head.input=plain"]
    store = str(study_folder / "features")
    assert run(["train", store, table, "-o", str(folder / "run"), *keys, *options]) == 0
    return folder


def written_scores(folder: Path) -> dict[str, list[float]]:
    """Name of a test clip -> probabilities that the study wrote."""
    import pandas as pd

    frame = pd.read_csv(folder / "run/predictions.csv.gz")
    return {Path(row["video"]).name: [row["p(bright)"], row["p(dark)"]] for _, row in frame.iterrows()}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_predictions_are_those_of_the_test(study_folder, trained, tmp_path, workers):
    """Both backbones read each video as they did in training, and their features are kept."""
    expected = written_scores(trained)
    out = str(tmp_path / "out")
    assert (
        run(["predict", str(trained / "run"), str(study_folder / "clips"), "-o", out, "--workers", workers])
        == 0
    )
    rows = {Path(row["video"]).name: row for row in read_rows(tmp_path / "out/predictions.csv")}
    assert len(rows) == 16
    for name, probabilities in expected.items():
        assert [float(rows[name][f"p({label})"]) for label in ("bright", "dark")] == probabilities
    assert {path.name for path in (tmp_path / "out").glob("features*")} == {"features", "features-pixels"}


def test_options_need_no_second_pass(study_folder, trained, tmp_path, monkeypatch):
    videos, out = str(study_folder / "clips"), str(tmp_path / "out")
    assert run(["predict", str(trained / "run"), videos, "-o", out, "--timeline", "--workers", "1"]) == 0
    scores = (tmp_path / "out/scores.csv").read_text()
    monkeypatch.setattr("actiondiff.inference.reading.backbone_from_settings", None)
    assert run(["predict", str(trained / "run"), videos, "-o", out, "--timeline", "--min-seconds", "99"]) == 0
    assert (tmp_path / "out/scores.csv").read_text() == scores
    assert run(["report", out]) == 0


def test_one_video_as_many(study_folder, trained):
    """`predict` and `predict_many` without a cache, and frames in memory, take the same road."""
    model = ActionDiff.from_pretrained(trained / "run", device="cpu")
    path = study_folder / "clips/3.mp4"
    one = model.predict(path)
    ((_, same),) = model.predict_many([path])
    assert same.probabilities == one.probabilities
    assert list(one.probabilities.values()) == pytest.approx(
        written_scores(trained).get("3.mp4", list(one.probabilities.values())), abs=1e-6
    )
    features = model.extract(path)
    assert [str(key) for key in features.tokens] == ["t20.layer3", "t20.layer9", "pixels:t0.layer1"]
    assert len(features) == 6  # 12 frames at stride 2; each token of pixels, at stride 4, is taken twice
    pixels = next(values for key, values in features.tokens.items() if key.store)
    assert len(np.unique(pixels, axis=0)) == 3
    assert model.timeline(path).probabilities.shape == (6, 2)
    assert len(model.extract(read_video(path, stride=2))) == 6


def test_kept_features_are_those_of_the_video(study_folder, trained, tmp_path):
    """What the page trains on: the stores of both backbones, joined, and rounded as in training."""
    model = ActionDiff.from_pretrained(trained / "run", device="cpu")
    path = study_folder / "clips/3.mp4"
    cache = model.open_cache(tmp_path / "features", [path])
    assert cache.load(path) is None
    ((_, features),) = model.extract_many([path], cache=cache)
    loaded = cache.load(path)
    tokens = model.config.tokens_of(features)
    assert np.array_equal(model.config.tokens_of(loaded), tokens)
    packed = pack(cache.joined_store_of(path), [Example("3.mp4")], model.config.feature_keys, model.labels)
    assert np.array_equal(packed.tokens.numpy(), tokens)
    assert np.array_equal(tokens[:, -192:], tokens[:, -192:].astype(np.float16))


def test_a_video_that_fails_is_reported_once(trained, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/broken.mp4").write_bytes(b"no video")
    assert run(["predict", str(trained / "run"), str(tmp_path / "videos"), "-o", str(tmp_path / "out")]) == 3
    assert [row["status"] for row in read_rows(tmp_path / "out/failures.csv")] == ["failed"]


def test_evaluate_with_both_stores(study_folder, trained, tmp_path, capsys):
    store, table = str(study_folder / "features"), str(study_folder / "table.csv")
    assert (
        run(["evaluate", str(trained / "run"), store, table, "--with", str(trained / "pixels"), "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["num_clips"] == len(written_scores(trained))
    assert run(["evaluate", str(trained / "run"), store, table]) == 1
    assert "--with pixels=STORE" in capsys.readouterr().err


def test_the_report_names_both_backbones(trained, capsys):
    assert run(["report", str(trained / "run")]) == 0
    page = (trained / "run/report.html").read_text()
    assert "t20.layer3 and t20.layer9 of tiny, t0.layer1 of pixels" in page
    assert "Features: pixels" in page


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["localize", "clips/0.mp4", "--action", "dark", "-o", "out.mp4"], "use method crops"),
        (["predict", "clips", "-o", "out", "--weights", "lite0=x"], "one of the names tiny, pixels"),
    ],
)
def test_what_several_backbones_cannot_do(study_folder, trained, tmp_path, capsys, arguments, reason):
    command, videos, *rest = arguments
    rest = [str(tmp_path / part) if part.startswith("out") else part for part in rest]
    assert run([command, str(trained / "run"), str(study_folder / videos), *rest]) == 1
    message = capsys.readouterr().err
    assert reason in message
    assert len(message.strip().splitlines()) == 1


def test_patches_are_searched_by_both_backbones(study_folder, trained, tmp_path, capsys):
    """Each patch has the probability that a video of the patch alone would have."""
    model = ActionDiff.from_pretrained(trained / "run", device="cpu")
    frames = read_video(study_folder / "clips/3.mp4", stride=2)
    options = LocalizationOptions(method="crops", rows=2, columns=2, span_seconds=99.0)
    heatmap = model.localize(frames, "dark", options=options)
    height, width = (side // 2 for side in frames.pixels.shape[1:3])
    expected = np.zeros((2, 2))
    for row, column in np.ndindex(2, 2):
        down, across = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
        patch = Frames(pixels=np.ascontiguousarray(frames.pixels[:, down, across]), seconds=frames.seconds,
                       frame_index=frames.frame_index)  # fmt: skip
        expected[row, column] = model.predict(patch).probabilities["dark"]
    assert np.allclose(heatmap.probabilities[len(frames) // 2], expected, atol=1e-4)

    # From the command line, with a file that each backbone samples at its own stride; and in a report.
    arguments = ["--action", "dark", "--method", "crops", "--rows", "2", "--columns", "2"]
    video = str(study_folder / "clips/3.mp4")
    assert run(["localize", str(trained / "run"), video, *arguments, "-o", str(tmp_path / "heat.mp4")]) == 0
    assert "dark: up to" in capsys.readouterr().out
    assert run(["predict", str(trained / "run"), video, "-o", str(tmp_path / "out"), "--heatmaps", "1"]) == 0
    assert len(list((tmp_path / "out/heatmaps").glob("*.png"))) == 1


def test_a_sweep_extracts_what_any_of_its_stores_lacks(study_folder, quick, tmp_path):
    table, stores = str(study_folder / "table.csv"), {}
    first = read_rows(study_folder / "table.csv")[:1]
    write_rows(study_folder / "one.csv", first)
    small = ["--height", "32", "--width", "32", "--window", "4", "--batch", "2"]
    for name, options in (("tiny", [*small, "--layers", "3"]), ("pixels", [])):
        stores[name] = str(tmp_path / name)
        arguments = ["--backbone", name, *options, "--device", "cpu"]
        assert run(["extract", str(study_folder / "one.csv"), "-o", stores[name], *arguments]) == 0
    recipe = tmp_path / "sweep.yaml"
    recipe.write_text("features: {keys: [[t20.layer3, pixels], [t20.layer6, pixels]]}\n")
    arguments = [str(recipe), stores["tiny"], table, "-o", str(tmp_path / "sweep"), "--jobs", "1", *quick]
    options = ["--set", "head.project=4", "--with", stores["pixels"], "--device", "cpu"]
    assert run(["sweep", *arguments, *options, "--extract"]) == 0
    for name in stores:
        assert len(FeatureStore.open(stores[name]).videos()) == 16
    layers = FeatureStore.open(stores["tiny"]).keys()
    assert [str(key) for key in layers] == ["t20.layer3", "t20.layer6"]
