"""Every registered backbone passes the exported checks, built small and with random weights."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.backbones.dits import SMALL_DITS

from actiondiff.backbones import base
from actiondiff.backbones.base import (
    KINDS,
    Backbone,
    BackboneSpec,
    backbone_from_settings,
    build_backbone,
    find_spec,
    make_options,
    shipped_specs,
)
from actiondiff.backbones.engine.run import extract_in_order, feature_keys
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.backbones.options import options_class
from actiondiff.errors import UsageError
from actiondiff.testing import BACKBONE_CHECKS, check_backbone, check_inputs_matter, sample_video
from actiondiff.types import Frames
from actiondiff.video.decode import iter_video

VIT = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 8}
VIDEOMAE = {**VIT, "intermediate_size": 96, "image_size": 32, "num_frames": 4, "tubelet_size": 2}
UNET = {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 2, "cross_attention_dim": 32}
VAE = {"block_out_channels": [8, 8], "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4}
SMALL: dict[str, dict[str, Any]] = {  # kind -> what makes its backbones small
    "svd": {
        "architecture": {
            "unet": {
                **UNET,
                "num_attention_heads": [1, 1, 2, 2],
                "addition_time_embed_dim": 16,
                "projection_class_embeddings_input_dim": 48,
            },
            "vae": VAE,
            "clip": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "patch_size": 16,
                "image_size": 32,
                "projection_dim": 32,
                "hidden_act": "gelu",
            },
        },
        "defaults": {"height": 16, "width": 24, "window": 3, "batch": 2},
    },
    "sd": {
        "architecture": {
            "unet": {**UNET, "attention_head_dim": [2, 2, 4, 4], "use_linear_projection": True},
            "vae": VAE,
            "text_encoder": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "vocab_size": 49408,
                "max_position_embeddings": 77,
                "hidden_act": "gelu",
            },
        },
        "defaults": {"height": 16, "width": 32, "window": 3},
    },
    "vjepa": {"architecture": {"encoder": VIDEOMAE}, "layer": "layer2"},
    "videomae": {"architecture": {"encoder": VIDEOMAE}, "layer": "layer2"},
    "vjepa2": {
        "architecture": {"encoder": {**VIT, "mlp_ratio": 2.0, "tubelet_size": 2}},
        "layer": "layer2",
    },
    "dinov3": {
        "architecture": {"encoder": {**VIT, "intermediate_size": 96, "num_register_tokens": 2}},
        "layer": "layer2",
    },
    "videoprism": {
        "architecture": {
            "encoder": {
                "hidden_size": 48,
                "num_attention_heads": 4,
                "intermediate_size": 96,
                "num_spatial_layers": 1,
                "num_temporal_layers": 1,
                "image_size": 32,
                "num_frames": 4,
                "tubelet_size": [1, 8, 8],
            }
        },
        "layer": "layer2",
    },
    "dit": {"layer": "layer2"},  # of several architectures: see SMALL_DITS
    "efficientnet": {"defaults": {"height": 64, "width": 64, "window": 3, "batch": 2}},
    "student": {
        "architecture": {
            "student": {
                "channels": [8, 8, 16, 16],
                "hidden": 16,
                "blocks": 1,
                "token_width": 12,
                "tubelet": 1,
            }
        },
        "defaults": {"height": 32, "width": 32, "window": 3, "batch": 2},
    },
    "pixels": {},
    "motion": {},
}
SQUARES = {"height": 32, "width": 32, "window": 4, "batch": 2}


def small(name: str) -> BackboneSpec:
    """The spec of a name, with random weights where it has any, and small."""
    spec = find_spec(name if shipped_specs()[name].weights == "none" else f"random-{name}")
    change = SMALL[spec.kind] | SMALL_DITS.get(name, {})
    size = change.get("defaults", SQUARES if "architecture" in change else {"window": 3})
    return spec.model_copy(update={**change, "defaults": {**spec.defaults, **size, "threads": 1}})


@functools.cache
def build(name: str, **options: Any) -> Backbone:
    spec = small(name)
    return build_backbone(spec, make_options(spec, device="cpu", **options))


VARIANTS: list[tuple[str, Mapping[str, Any]]] = [
    *((name, {}) for name in shipped_specs()),
    ("tiny", {"padding": "shift", "stochastic": True}),
    ("vjepa-l", {"tokens": "segment"}),
    ("videomaev2-g", {"padding": "black", "fit": "squash"}),
    ("vjepa2-l", {"window": 6, "height": 24, "width": 24, "tokens": "segment"}),
    ("sd21", {"noise": "forward", "padding": "shift"}),
    ("wan21", {"noise": "forward", "padding": "black", "fit": "crop"}),
    ("motion", {"padding": "shift"}),
]


@pytest.mark.parametrize("check", BACKBONE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    ("name", "options"), VARIANTS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)
def test_contract(name, options, check):
    check(build(name, **options))


def test_every_kind_is_built_here():
    assert SMALL.keys() == set(KINDS)
    assert {spec.kind for spec in shipped_specs().values()} == set(KINDS)


@pytest.mark.parametrize("name", shipped_specs())
def test_settings_rebuild_the_same_backbone(name, monkeypatch):
    spec = small(name)
    monkeypatch.setattr(base, "find_spec", lambda asked: {spec.name: spec}[asked])
    first = build(name)
    again = backbone_from_settings(first.settings, device="cpu")
    key = (spec.timestep, spec.layer)
    video = sample_video(2)
    assert again.settings == first.settings
    assert np.array_equal(again.extract(video)[key], first.extract(video)[key])


@pytest.mark.parametrize("name", shipped_specs())
def test_specs_are_sound(name):
    spec = shipped_specs()[name]
    options_class(spec.kind)(**spec.defaults)
    assert {"height", "width", "window", "padding", "batch"} <= spec.defaults.keys()
    assert 0 <= spec.timestep < spec.num_timesteps
    assert spec.licence
    if spec.weights == "required":
        assert "not run on the published" in spec.verified
    depth = spec.architecture.get("encoder", {}).get("num_hidden_layers")
    if depth:
        assert spec.layer == f"layer{depth}"


@pytest.mark.parametrize("name", ["vjepa-l", "videomaev2-g", "vjepa2-l"])
def test_windows_that_tubelets_do_not_fill_are_refused(name):
    with pytest.raises(UsageError, match=r"window must be|multiple of 2"):
        build(name, window=5)
    with pytest.raises(UsageError, match="shift lets windows overlap"):
        build(name, padding="shift")


@pytest.fixture(scope="module")
def clips(shared_dir: Path) -> dict[str, list[Frames]]:
    """The beginnings of all real clips, also of those that cannot be read."""
    files = sorted(path for path in (shared_dir / "videos").iterdir() if path.suffix != ".csv")
    return {file.name: list(iter_video(file, stride=4, end_seconds=1)) for file in files}


ONE_PER_KIND = {spec.kind: name for name, spec in shipped_specs().items()}.values()


@pytest.mark.parametrize("name", sorted({*ONE_PER_KIND, *SMALL_DITS}))
def test_every_readable_clip_gives_features(name, clips):
    backbone = build(name)
    keys = feature_keys(backbone, None, None)
    unread = {"made_empty.mp4", "made_truncated_k400_abseiling.mp4"}
    results = extract_in_order(backbone, map(FrameSequence, clips.values()), keys)
    for (file, chunks), (_, features) in zip(clips.items(), results, strict=True):
        assert (features is None) is (file in unread)
        if features is None:
            continue
        raw = np.concatenate([chunk.frame_index for chunk in chunks])
        length = backbone.options.window
        starts = [p for p in range(len(raw)) if p % length % backbone.tubelet == 0]
        assert features.frame_index.tolist() == raw[starts].tolist(), file
        assert np.isfinite(features.tokens[keys[0]]).all(), file
        assert len(features.tokens[keys[0]]) == len(starts)


class Broken:
    """A backbone with one thing wrong, around a sound one."""

    def __init__(self, sound: Backbone, fault: str) -> None:
        self._sound, self._fault, self._calls = sound, fault, 0
        self.tubelet = 2 if fault == "loses frames" else sound.tubelet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sound, name)

    @property
    def settings(self) -> dict[str, Any]:
        extra = {"device": "cpu"} if self._fault == "settings" else {}
        return {**self._sound.settings, **extra}

    def extract(self, frames, **options):
        return type(self._sound).extract(self, frames, **options)

    def maps(self, windows, keys):
        self._calls += 1
        outputs = self._sound.maps(windows, keys)
        match self._fault:
            case "constant":
                return {key: torch.ones_like(value) for key, value in outputs.items()}
            case "random":
                return {key: value + self._calls for key, value in outputs.items()}
            case "neighbours":
                return {key: value + windows.pixels.mean() for key, value in outputs.items()}
            case "nan":
                return {key: value / value.abs().sum() for key, value in outputs.items()}
            case "one map":
                return {key: value.mean(1, keepdim=True) for key, value in outputs.items()}
        return outputs


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("constant", "two videos have the same tokens"),
        ("random", "tokens change if other taps are requested too"),
        ("neighbours", "depend on its neighbours"),
        ("loses frames", "2 per step"),
        ("one map", "for 2 windows of 4 frames"),
        ("settings", "name the device"),
    ],
)
def test_checks_find_faults(fault, found):
    """A check that passes a broken backbone is no check."""
    backbone: Any = Broken(build("dinov3-l", window=4, batch=2), fault)
    with pytest.raises(AssertionError, match=found):
        check_backbone(backbone)


def test_checks_find_black_frames_divided_by_nothing():
    with pytest.raises(AssertionError, match="black frames are not finite"):
        check_inputs_matter(Broken(build("motion"), "nan"))


def test_checks_pass_a_sound_backbone():
    check_backbone(Broken(build("dinov3-l", window=4, batch=2), "none"))
