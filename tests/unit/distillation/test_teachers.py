"""Students of video diffusion models, from small checkpoints in the formats of the published ones."""

from importlib import resources

import numpy as np
import pytest
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from tests.unit.backbones.dits import SMALL_DITS
from transformers import UMT5Config, UMT5EncoderModel

import actiondiff as ad
from actiondiff.backbones import base
from actiondiff.backbones.base import find_spec, load_backbone
from actiondiff.backbones.engine.counting import count_window
from actiondiff.backbones.options import FitOptions
from actiondiff.backbones.student_network import StudentArchitecture
from actiondiff.cli.main import run
from actiondiff.distillation.card import SVD_XT_FLOP
from actiondiff.distillation.distill import distill
from actiondiff.distillation.options import DistillOptions
from actiondiff.features.store import FeatureStore

ONE_STEP = DistillOptions(steps=1, batch=2, size=32)


def find_svd(folder):
    """Stable Video Diffusion with small networks, as a converted folder: the weights of `tiny`."""
    return resources.files("actiondiff.backbones") / "builtin" / "tiny"


def save_wan(folder):
    """Wan with small networks, as a folder of diffusers."""
    parts = SMALL_DITS["wan21"]["architecture"]
    text = {name: value for name, value in parts["text_encoder"].items() if name != "model_type"}
    networks = {
        "transformer": WanTransformer3DModel.from_config(parts["transformer"]),
        "vae": AutoencoderKLWan.from_config(parts["vae"]),
        "text_encoder": UMT5EncoderModel(UMT5Config(**text)),
    }
    for name, network in networks.items():
        network.save_pretrained(folder / name)
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    return folder


@pytest.mark.parametrize(
    ("name", "checkpoint", "options"),
    [
        ("svd-xt", find_svd, {"height": 32, "width": 32, "window": 4, "batch": 2}),
        ("wan21", save_wan, {}),
    ],
)
def test_a_student_of_a_video_diffusion_model(taught, tmp_path, monkeypatch, name, checkpoint, options):
    """From its checkpoint over features and a head to predictions by the student."""
    monkeypatch.setenv("ACTIONDIFF_CACHE", str(tmp_path / "cache"))
    if name in SMALL_DITS:  # the sizes of a transformer are those of its spec
        spec, change = find_spec(name), SMALL_DITS[name]
        defaults = {**spec.defaults, **change["defaults"], "threads": 1}
        small = spec.model_copy(update={**change, "defaults": defaults, "layer": "layer2"})
        monkeypatch.setattr(base, "find_spec", lambda asked: small if asked == name else find_spec(asked))
    (tmp_path / "checkpoint").mkdir()
    weights = checkpoint(tmp_path / "checkpoint")
    teacher = load_backbone(name, weights=weights, device="cpu", **options)
    ad.extract_features(taught / "clips", tmp_path / "store", backbone=teacher, stride=1, workers=1)
    table = taught / "clips" / "table.csv"
    settings = ["--set", "training.epochs=6", "--set", "head.name=linear"]
    assert run(["train", str(tmp_path / "store"), str(table), "-o", str(tmp_path / "run"), *settings]) == 0

    student = distill(
        tmp_path / "store", table, tmp_path / "student", ONE_STEP, model=tmp_path / "run", weights=weights,
        device="cpu",
    )  # fmt: skip
    assert student.work.teacher_seconds is not None, student.work.not_timed
    model = ad.ActionDiff.from_pretrained(tmp_path / "run", student=tmp_path / "student", device="cpu")
    video = taught / "clips" / "clip_00.mp4"
    prediction = model.predict(video)
    assert set(prediction.probabilities) == {"rest", "move"}
    assert "student" in prediction.domain.distances
    (key,) = FeatureStore.open(tmp_path / "store").keys()
    ours, theirs = model.extract(video), teacher.extract(ad.read_video(video, stride=1))
    assert ours[key].shape == theirs[key].shape
    assert np.array_equal(ours.frame_index, theirs.frame_index)
    assert np.allclose(ours.seconds, theirs.seconds)


@pytest.mark.parametrize(("encoder", "side"), [("small", 64), ("lite0", 128)])
def test_a_student_takes_less_than_a_hundredth_of_the_operations_of_svd_xt(encoder, side):
    """Counted on shapes, at the width of layer 9 and for windows of 25 frames."""
    teacher = find_spec("svd-xt")
    layer9 = ad.FeatureKey.of(20, 9)
    options = base.resolve(teacher, base.make_options(teacher, device="cpu"))
    whole = count_window(teacher, options, [layer9])
    assert whole.flop == pytest.approx(SVD_XT_FLOP, rel=0.01)
    architecture = StudentArchitecture(encoder=encoder, token_width=whole.widths[layer9])
    spec = find_spec("student")
    sizes = {"height": side, "width": side, "window": 25}
    spec = spec.model_copy(
        update={
            "architecture": {"student": architecture.model_dump(mode="json")},
            "defaults": {**spec.defaults, **sizes},
            "layer": "layer9",
        }
    )
    own = base.resolve(spec, base.make_options(spec, device="cpu"))
    assert isinstance(own, FitOptions)
    cost = count_window(spec, own, [ad.FeatureKey.of(0, 9)])
    print(encoder, cost.flop, whole.flop / cost.flop)
    assert cost.flop < whole.flop / 100
