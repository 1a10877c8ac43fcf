"""VAE, image encoder and what is asked of them: never more than needed, in the arithmetic that was chosen."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import random_frames

from actiondiff import load_backbone
from actiondiff.backbones.base import WindowBatch, shipped_specs
from actiondiff.backbones.engine.precision import float32_mode
from actiondiff.backbones.svd import inputs
from actiondiff.backbones.svd.backbone import SVD
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.types import FeatureKey
from actiondiff.video.write import write_video


def load(**options: object) -> SVD:
    size = {"height": 32, "width": 48, "threads": 1, "device": "cpu"}
    backbone = load_backbone("tiny", **size | options)
    assert isinstance(backbone, SVD)
    return backbone


def frames_seen(backbone: SVD) -> dict[str, int]:
    """How many frames pass VAE and image encoder, and how often the U-Net runs, from now on."""
    seen = {"vae": 0, "clip": 0, "unet": 0}

    def count(name, value):
        seen[name] += value

    networks = backbone.inputs
    networks.latent_vae.register_forward_hook(lambda _m, args, _o: count("vae", len(args[0])))
    networks.image_encoder.register_forward_hook(
        lambda _m, _a, kwargs, _o: count("clip", len(kwargs["pixel_values"])), with_kwargs=True
    )
    backbone.encoder.register_forward_hook(lambda *_: count("unet", 1))
    return seen


@pytest.mark.parametrize(
    ("options", "layers", "vae", "clip", "unet"),
    [
        ({}, [1, 3, 9, "clip", "vae"], 16, 16, 3),
        ({}, ["clip"], 0, 16, 0),
        ({}, ["vae"], 16, 0, 0),
        ({"embedding": "none"}, [3], 16, 0, 3),
        ({"embedding": "first"}, [3], 16, 2, 3),
        ({"embedding": "middle", "latents": "middle"}, [3], 16, 2, 3),
        ({"embedding": "first"}, [3, "clip"], 16, 18, 3),
        ({"latents": "zero"}, [3], 16, 16, 3),
        ({"stochastic": True}, [3], 32, 16, 3),  # conditioning latents are of other pixels
        ({"stochastic": True, "latents": "middle"}, [3], 18, 16, 3),
        ({"stochastic": True, "latents": "zero"}, [3], 16, 16, 3),
    ],
)
def test_nothing_is_computed_twice_or_for_nothing(options, layers, vae, clip, unet):
    backbone = load(batch=2, **options)
    seen = frames_seen(backbone)
    backbone.extract(random_frames(16), timesteps=[0, 10, 20], layers=layers)  # two windows of eight
    assert seen == {"vae": vae, "clip": clip, "unet": unet}


def test_windows_are_encoded_once_however_many_there_are():
    backbone = load(batch=1)
    seen = frames_seen(backbone)
    backbone.extract(random_frames(21), timesteps=[5, 20], layers=range(1, 14))
    assert seen == {"vae": 24, "clip": 24, "unet": 6}  # three windows, two timesteps


def test_what_else_is_asked_for_changes_no_bit():
    backbone = load(embedding="middle", latents="middle")
    alone, beside = (backbone.extract(random_frames(), layers=layers)[20, 3] for layers in ([3], [3, "clip"]))
    assert np.array_equal(alone, beside)


def test_vae_settings_are_recorded_with_their_defaults():
    settings = load().settings
    assert settings["vae_dtype"] == "float32"
    assert settings["vae_chunk"] == 4 * 576 * 1024 // (32 * 48)
    assert settings["compile"] is False
    assert inputs.default_vae_chunk(576, 1024) == 4
    assert settings.pop("exact_norm") is True  # in float32 only
    assert load(vae_dtype="bfloat16", vae_chunk=3).settings == {
        **settings,
        "vae_dtype": "bfloat16",
        "vae_chunk": 3,
    }


def test_vae_chunks_change_rounding_alone():
    whole, parts = (load(vae_chunk=chunk).extract(random_frames(), layers=["vae", 3]) for chunk in (8, 3))
    for layer in ("vae", 3):
        difference = np.linalg.norm(whole[20, layer] - parts[20, layer])
        assert difference / np.linalg.norm(whole[20, layer]) < 1e-5


def test_vae_in_half_precision_is_near_but_not_equal():
    full, half = (
        load(vae_dtype=dtype).extract(random_frames(), layers=["vae"])[20, "vae"]
        for dtype in ("float32", "bfloat16")
    )
    assert 1e-4 < np.linalg.norm(full - half) / np.linalg.norm(full) < 2e-2


def test_latents_that_overflow_are_an_error():
    backbone = load(vae_dtype="float16")
    backbone.inputs.vae.encoder.conv_in.weight.mul_(1e5)
    with pytest.raises(UsageError, match=r"not finite in float16.*float32"):
        backbone.extract(random_frames())


def test_tf32_needs_cuda():
    with pytest.raises(UsageError, match="tf32 is for CUDA"):
        load(vae_dtype="tf32")


def test_float32_means_full_precision_while_it_computes_and_what_it_was_afterwards():
    places = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)

    def now():
        return [place.fp32_precision for place in places] + [torch.backends.cudnn.allow_tf32]

    before, during = now(), []
    backbone = load()
    backbone.inputs.vae.register_forward_hook(lambda *_: during.append(now()))
    backbone.encoder.register_forward_hook(lambda *_: during.append(now()))
    backbone.extract(random_frames())
    assert len(during) == 2
    assert all("tf32" not in state and not state[-1] for state in during)
    assert now() == before
    assert "tf32" in before  # PyTorch's default, without which this test would show nothing
    with float32_mode(tf32=True), float32_mode():
        assert "tf32" not in now()
    assert now() == before


def test_large_frames_are_resized_a_few_at_a_time_to_the_same_bits(monkeypatch):
    pixels = torch.from_numpy(random_frames().pixels)
    whole = load().preprocess(pixels)
    monkeypatch.setattr(inputs, "_RESIZE_PIXELS", 3 * 20 * 24)
    sizes = []
    resize = inputs.scale_and_resize
    monkeypatch.setattr(inputs, "scale_and_resize", lambda p, *a: (sizes.append(len(p)), resize(p, *a))[1])
    assert torch.equal(load().preprocess(pixels), whole)
    assert sizes == [3, 3, 2]


def test_two_vaes_each_see_every_frame_once():
    backbone = load(batch=1)
    backbone._checkpoint.one_vae = False
    latent, conditioning = [], []
    vae = backbone.inputs.vae
    backbone.inputs.latent_vae = torch.nn.Sequential(vae)
    backbone.inputs.latent_vae.register_forward_hook(lambda _m, args, _o: latent.append(len(args[0])))
    vae.register_forward_hook(lambda _m, args, _o: conditioning.append(len(args[0])))
    pixels = backbone.preprocess(torch.from_numpy(random_frames().pixels))[None]
    backbone.maps(WindowBatch(pixels, (8,), ("x",), (0,)), [FeatureKey.of(t, 3) for t in (0, 20)])
    assert (sum(latent), sum(conditioning)) == (8, 16)  # the inner one is counted inside the outer, too


def test_preset_is_another_set_of_defaults():
    plain, economy, mixed = (
        load_backbone("random-svd-xt", device="cpu", **options)
        for options in ({}, {"preset": "economy"}, {"preset": "economy", "height": 256})
    )
    sizes = [(backbone.options.height, backbone.options.width) for backbone in (plain, economy, mixed)]
    assert sizes == [(576, 1024), (320, 576), (256, 576)]
    same = load_backbone("random-svd-xt", device="cpu", height=320, width=576)
    assert economy.settings == same.settings
    assert "preset" not in economy.settings


def test_distance_of_a_preset_is_measured_by_a_script(tmp_path, monkeypatch, capsys):
    path = Path(__file__).parents[4] / "benchmarks" / "economy.py"
    module = importlib.util.spec_from_file_location("economy", path)
    economy = importlib.util.module_from_spec(module)
    module.loader.exec_module(economy)
    tokens = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    same = economy.distances(tokens, 2 * tokens)
    assert same["relative_l2"] == pytest.approx(1)
    assert same["cosine"] == pytest.approx(1)
    assert same["cosine_of_other_frames"] < 0.9

    write_video(tmp_path / "clip.mp4", random_frames(16).pixels, fps=10)
    sizes = {None: {"height": 64, "width": 64}, "economy": {"height": 32, "width": 32}}
    real = economy.actiondiff.load_backbone

    def load_backbone(name, *, preset, **options):
        return real(name, **sizes[preset], **options)

    monkeypatch.setattr(economy.actiondiff, "load_backbone", load_backbone, raising=False)
    arguments = [str(tmp_path / "clip.mp4"), "--backbone", "tiny", "--json", str(tmp_path / "found.json")]
    monkeypatch.setattr("sys.argv", ["economy.py", *arguments, "--layers", "3,9", "--device", "cpu"])
    economy.main()
    assert "full size: 64 x 64\neconomy: 32 x 32\n" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))["layers"]
    assert found.keys() == {"t20.layer3", "t20.layer9"}
    assert all(row["relative_l2"] > 1e-3 for row in found.values())


def test_presets_are_named_and_fit_their_backbone():
    for name, spec in shipped_specs().items():
        for preset in spec.presets.values():
            assert preset.keys() <= spec.defaults.keys(), name
    with pytest.raises(UnknownNameError, match=r"preset of svd-xt 'econmy'\. Did you mean 'economy'"):
        load_backbone("svd-xt", preset="econmy")
    with pytest.raises(UnknownNameError, match="preset of tiny"):
        load(preset="economy")
    with pytest.raises(UsageError, match="no option preset"):
        load_backbone("pixels", preset="economy")
