"""From a video to a prediction by the same road as in training, and what stands in the way is said."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from actiondiff import ActionDiff, FeatureStore, Frames, extract_features, load_backbone, read_video
from actiondiff.backbones.engine.run import extract_in_order
from actiondiff.datasets.packing import pack
from actiondiff.errors import RunError, SettingsMismatchError, UsageError, VideoError
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.heads.predict import predict_probabilities
from actiondiff.types import DecodeReport, Example, Prediction
from actiondiff.video.decode import iter_video
from actiondiff.video.write import write_video

OPTIONS = ["head.name=mean-linear", "head.input=plain", "head.project=null", "head.max_tokens=6",
           "training.epochs=4", "training.warmup_epochs=1", "training.learning_rate=0.1"]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Clips of two kinds, their features in half precision, and a model of them."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    for number in range(12):
        kind, frames = ("dark", "bright")[number % 2], 20 + number
        pixels = rng.integers(0, 90, (frames, 32, 32, 3), dtype=np.uint8) + np.uint8(150 * (kind == "bright"))
        write_video(folder / "clips" / kind / f"{number}.mp4", pixels, fps=10)
    backbone = load_backbone("tiny", height=32, width=32, window=4, batch=2, device="cpu")
    extract_features(
        folder / "clips", folder / "features", backbone=backbone, layers=[3], stride=2, store_dtype="float16"
    )
    recipe = load_recipe("default", overrides=OPTIONS, values={"features.layer": 3})
    study.train(folder / "features", folder / "clips", out=folder / "run", recipe=recipe)
    return folder


@pytest.fixture(scope="module")
def model(world) -> ActionDiff:
    return ActionDiff.from_pretrained(world / "run", device="cpu")


def copy_with(world: Path, target: Path, **changes) -> Path:
    """The run with other values in its config."""
    target.mkdir()
    config = json.loads((world / "run/config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changes}))
    (target / "model.safetensors").write_bytes((world / "run/model.safetensors").read_bytes())
    return target


def test_features_for_prediction_are_the_stored_ones(world, model):
    """Bit for bit, whatever else shares the batch; in the store they are rounded."""
    store = FeatureStore.open(world / "features")
    for video in store.videos():
        reader = iter_video(world / "clips" / video, stride=2)
        features = next(extract_in_order(model.backbone, [reader], model.config.feature_keys))[1]
        (key,) = model.config.feature_keys
        assert np.array_equal(features.tokens[key].astype(np.float16), store.read(video).tokens[key])


def test_a_file_is_predicted_as_its_stored_features_are(world, model):
    """Bit for bit: no rounding of a batch, no other order of the labels."""
    store = FeatureStore.open(world / "features")
    for video in store.videos():
        packed = pack(store, [Example(video)], model.config.feature_keys, model.labels)
        stored = predict_probabilities(model.head, packed, "softmax")[0]
        found = model.predict(world / "clips" / video).probabilities
        assert list(found) == model.labels
        assert list(found.values()) == stored.tolist()


def test_predictions_are_those_of_the_test(world, model):
    """Predicting a test clip's file gives the probabilities that the study wrote for it."""
    result = study.evaluate(world / "run", world / "features", world / "clips")
    assert result.metrics.num_clips >= 2
    for row in result.predictions.to_dict("records"):
        found = model.predict(world / "clips" / row["video"])
        for label in model.labels:
            assert found.probabilities[label] == pytest.approx(row[f"p({label})"], abs=2e-6)
        assert found.label == row["predicted"]


def test_a_prediction(world, model):
    path = world / "clips" / "dark" / "0.mp4"  # 20 raw frames, 10 sampled: 3 windows of 4, 2 black frames
    found = model.predict(path)
    assert found.video == str(path)
    assert set(found.probabilities) == {"bright", "dark"}
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert found.label == "dark"
    assert found.top(1) == [("dark", found.probabilities["dark"])]
    assert (found.num_tokens, found.num_spans) == (10, 2)
    assert found.padding_share == pytest.approx(2 / 12)
    assert found.report.status == "ok"


def test_long_videos_are_predicted_in_spans_and_averaged(world, model):
    """Ten tokens and a head for six: the mean over two spans of five, nothing cut."""
    store = FeatureStore.open(world / "features")
    tokens = torch.from_numpy(store.read("dark/0.mp4").tokens[model.config.feature_keys[0]])[None]
    with torch.inference_mode():
        spans = [
            (model.head(part, torch.ones(part.shape[:2], dtype=torch.bool)) / model.head.temperature).softmax(
                -1
            )
            for part in (tokens[:, :5], tokens[:, 5:])
        ]
    expected = ((spans[0] + spans[1]) / 2)[0].tolist()
    found = model.predict(world / "clips/dark/0.mp4")
    assert list(found.probabilities.values()) == pytest.approx(expected, abs=1e-6)


def test_prediction_rounds_as_the_store_does(world, model):
    """Features that are equal in half precision are equal to the model; to one of a float32 store not."""
    (key,) = model.config.feature_keys
    _, features = next(
        extract_in_order(model.backbone, [iter_video(world / "clips/dark/0.mp4", stride=2)], [key])
    )
    rounded = replace(features, tokens={key: features.tokens[key].astype(np.float16).astype(np.float32)})
    assert not np.array_equal(features.tokens[key], rounded.tokens[key])
    assert model.classify(features, "a").probabilities == model.classify(rounded, "a").probabilities
    settings = {**model.config.features, "store_dtype": "float32"}
    exact = ActionDiff(model.backbone, model.head, model.config.replaced(features=settings))
    assert exact.classify(features, "a").probabilities != exact.classify(rounded, "a").probabilities


def test_sampling_is_the_models_own(world, model, tmp_path):
    settings = {**model.config.features, "sampling": {"fps": 2.5}}
    other = ActionDiff.from_pretrained(copy_with(world, tmp_path / "fps", features=settings), device="cpu")
    assert other.predict(world / "clips/dark/0.mp4").num_tokens == 5
    assert model.predict(world / "clips/dark/0.mp4").num_tokens == 10


def test_frames_in_memory(world, model):
    path = world / "clips/bright/1.mp4"
    frames = read_video(path, stride=2)
    assert model.predict(frames).probabilities == model.predict(path).probabilities
    assert model.predict(frames).video == frames.identity
    plain = model.predict(Frames(frames.pixels))
    assert plain.probabilities == model.predict(path).probabilities
    assert plain.report is None
    with pytest.raises(UsageError, match="no frames"):
        model.predict(frames[:0])


def test_many_videos_with_broken_ones_among_them(world, model, tmp_path):
    whole = (world / "clips/dark/2.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    paths = [
        *(tmp_path / "text.mp4", world / "clips/dark/0.mp4", tmp_path / "gone.mp4"),
        *(tmp_path / "cut.mp4", world / "clips/bright/1.mp4", tmp_path / "empty.mp4"),
    ]
    found = list(model.predict_many(paths))
    assert [name for name, _ in found] == [str(path) for path in paths]
    kinds = [isinstance(result, Prediction) for _, result in found]
    assert kinds == [False, True, False, False, True, False]
    for _, result in found:
        if isinstance(result, DecodeReport):
            assert result.status == "failed"
            assert result.reason
    assert "0 bytes" in found[5][1].reason
    assert found[2][1].reason == "does not exist; the path of a video file is needed"
    alone = model.predict(world / "clips/bright/1.mp4")
    assert found[4][1].probabilities == alone.probabilities
    with pytest.raises(VideoError, match=r"text\.mp4"):
        model.predict(tmp_path / "text.mp4")
    with pytest.raises(UsageError, match="list of paths"):  # else each letter would be a video
        next(model.predict_many(str(paths[1])))


def test_a_video_cut_short_says_how_much_of_it_was_seen(world, model, shared_dir, tmp_path):
    """What decodes is predicted, with its coverage."""
    cut = sorted((shared_dir / "videos").rglob("made_truncated_*"))
    found = {Path(name).suffix: result for name, result in model.predict_many(cut)}
    assert isinstance(found[".mp4"], DecodeReport)
    for suffix, coverage in ((".mkv", 179 / 310), (".avi", 85 / 141)):
        assert found[suffix].report.status == "partial"
        assert found[suffix].report.coverage == pytest.approx(coverage, abs=0.01)


def test_what_is_saved_is_what_is_loaded(world, model, tmp_path):
    model.save_pretrained(tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {
        "README.md",
        "config.json",
        "guard.safetensors",
        "model.safetensors",
    }
    again = ActionDiff.from_pretrained(tmp_path / "copy", device="cpu")
    path = world / "clips/dark/0.mp4"
    assert again.predict(path).probabilities == model.predict(path).probabilities
    assert (tmp_path / "copy/README.md").read_text() == (world / "run/README.md").read_text()


class FakeHub:
    """Keeps what is uploaded."""

    uploads: dict[str, dict[str, bytes]] = {}  # noqa: RUF012
    private: dict[str, bool] = {}  # noqa: RUF012

    def __init__(self, token=None) -> None:
        self.token = token

    def create_repo(self, repo_id, *, repo_type, private, exist_ok):
        assert (repo_type, exist_ok) == ("model", True)
        self.private[repo_id] = private

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.uploads[repo_id] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return f"hub:{repo_id}"


def test_to_the_hub_and_back(world, model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub)
    assert model.push_to_hub("me/cows") == "hub:me/cows"
    assert FakeHub.private == {"me/cows": True}
    assert set(FakeHub.uploads["me/cows"]) == {
        "README.md", "config.json", "guard.safetensors", "model.safetensors",
    }  # fmt: skip

    def download(repo_id, **_):
        for name, content in FakeHub.uploads[repo_id].items():
            (tmp_path / name).write_bytes(content)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    again = ActionDiff.from_pretrained("me/cows", device="cpu")
    path = world / "clips/dark/0.mp4"
    assert again.predict(path).probabilities == model.predict(path).probabilities


def test_a_hub_that_refuses_the_upload(model):
    with pytest.raises(RunError, match=r"does not accept me/cows .*OfflineModeIsEnabled"):
        model.push_to_hub("me/cows")
    with pytest.raises(RunError, match="HFValidationError"):
        model.push_to_hub("me/my cows")


def test_of_several_seeds_the_best_is_taken(world, tmp_path, caplog):
    recipe = load_recipe("default", overrides=[*OPTIONS, "seeds=2"], values={"features.layer": 3})
    run = study.train(world / "features", world / "clips", out=tmp_path / "run", recipe=recipe)
    (tmp_path / "run/best-seed.txt").write_text("seed-1\n")
    with caplog.at_level("INFO"):
        model = ActionDiff.from_pretrained(run.folder, device="cpu")
    assert "seed-1 is used" in caplog.text
    alone = ActionDiff.from_pretrained(run.folder / "seed-1", device="cpu")
    other = ActionDiff.from_pretrained(run.folder / "seed-0", device="cpu")
    path = world / "clips/dark/0.mp4"
    assert model.predict(path).probabilities == alone.predict(path).probabilities
    assert model.predict(path).probabilities != other.predict(path).probabilities


def test_a_config_that_does_not_say_how_to_sample(world, tmp_path):
    with pytest.raises(RunError, match="sampling and store_dtype"):
        ActionDiff.from_pretrained(copy_with(world, tmp_path / "other", features={}), device="cpu")


def test_no_such_model(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no folder nowhere"):
        ActionDiff.from_pretrained("nowhere")
    with pytest.raises(RunError, match="hub has no such model"):  # tests are offline
        ActionDiff.from_pretrained("me/nothing")
    with pytest.raises(RunError, match="no trained model"):
        ActionDiff.from_pretrained(world / "clips")


def test_other_weights_are_refused(world, tmp_path):
    backbone = json.loads((world / "run/config.json").read_text())["backbone"]
    other = copy_with(world, tmp_path / "other", backbone={**backbone, "weights": "0" * 64})
    with pytest.raises(SettingsMismatchError, match="weights") as caught:
        ActionDiff.from_pretrained(other, device="cpu")
    assert set(caught.value.differences) == {"weights"}


def test_a_file_without_times_does_not_end_the_other_timelines(world, model, monkeypatch):
    paths = [world / "clips/dark" / name for name in ("0.mp4", "2.mp4")]
    features = [replace(model.extract(paths[0]), seconds=None), model.extract(paths[1])]
    monkeypatch.setattr(
        model, "extract_many", lambda videos, **_: zip(map(str, videos), features, strict=True)
    )
    (_, without), (_, timeline) = model.timeline_many(paths)
    assert without == DecodeReport("failed", "the times of its frames are unknown")
    assert timeline.probabilities.shape[1] == 2
