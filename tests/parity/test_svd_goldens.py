"""The released code's own numbers, from the raw video onward: only noise draws are taken from the golden files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from actiondiff import Frames, load_backbone
from actiondiff.backbones.base import WindowBatch
from actiondiff.backbones.schedule import input_scale, noise_condition, sigmas
from actiondiff.backbones.svd import SVD
from actiondiff.backbones.taps import Context, Encoder
from actiondiff.checkpoints.reader import open_checkpoint
from actiondiff.types import FeatureKey
from actiondiff.video.transforms import blur_and_resize
from actiondiff.windows import plan_windows

LAYERS = range(1, 14)
TIMESTEPS = (0, 10, 20, 29)
MEANS, MAPS = 5e-5, 1e-4  # relative L2; the golden files' README suggests these limits


@pytest.fixture(scope="session")
def goldens(shared_dir: Path) -> Path:
    return shared_dir / "goldens"


@pytest.fixture(scope="session")
def stored(goldens: Path) -> dict[str, torch.Tensor]:
    return load_file(goldens / "features.safetensors") | load_file(goldens / "inputs.safetensors")


@pytest.fixture(scope="session")
def frames(stored: dict[str, torch.Tensor]) -> Frames:
    index = np.arange(0, 31, 4)
    return Frames(stored["video"].numpy()[index], frame_index=index)


def load(goldens: Path, **options: object) -> SVD:
    backbone = load_backbone(
        "svd-xt",
        weights=str(goldens / "sgm_tiny_unet.safetensors"),
        **{"height": 128, "width": 192, "window": 5, "unet_head_dim": 16, "clip_head_dim": 16} | options,
    )
    assert isinstance(backbone, SVD)
    return backbone


def error(ours: torch.Tensor | np.ndarray, theirs: torch.Tensor) -> float:
    ours = torch.as_tensor(ours)
    assert ours.shape == theirs.shape
    return float((ours.float() - theirs.float()).norm() / theirs.float().norm())


def keys(*timesteps: int) -> list[FeatureKey]:
    return [FeatureKey.of(t, layer) for t in timesteps for layer in LAYERS]


def with_golden_noise(
    backbone: SVD, frames: Frames, stored: dict[str, torch.Tensor], wanted: list[FeatureKey]
):
    """Maps of both windows: key -> (2, 5, C, h, w)."""
    outputs = []
    for number, window in enumerate(plan_windows(len(frames), length=5, padding="black")):
        pixels = np.stack(
            [frames.pixels[i] if i >= 0 else np.zeros_like(frames.pixels[0]) for i in window.slots]
        )
        batch = WindowBatch(
            backbone.preprocess(torch.from_numpy(pixels))[None], (window.num_real,), (frames.identity,), (0,)
        )
        encoded = backbone.encode(
            batch,
            pixel_noise=stored[f"w{number}.cond_noise_x16"][None].float() / 16,
            posterior_noise=stored[f"w{number}.posterior_noise"][None],
        )
        outputs.append(backbone.unet_maps(encoded, wanted))
    return {key: torch.cat([maps[key] for maps in outputs]) for key in wanted}


def test_noisy_means_and_maps(goldens, stored, frames):
    maps = with_golden_noise(load(goldens), frames, stored, keys(*TIMESTEPS))
    for key, value in maps.items():
        t, layer = key.timestep, key.layer
        means = value.mean((-2, -1)).flatten(0, 1)[:8]
        assert error(means, stored[f"t{t}.{layer}.mean"]) < MEANS, key
        golden_map = stored.get(f"t{t}.{layer}.map")
        if golden_map is not None:
            limit = MAPS if golden_map.dtype == torch.float32 else 1e-3  # stored as float16
            assert error(value[0], golden_map) < limit, key
    padded = with_golden_noise(load(goldens), frames, stored, keys(20))
    for layer in LAYERS:
        value = padded[FeatureKey.of(20, layer)][1].mean((-2, -1))
        assert error(value, stored[f"w1padded.t20.layer{layer}.mean"]) < MEANS


def test_encodings(goldens, stored, frames):
    backbone = load(goldens)
    batch = WindowBatch(backbone.preprocess(torch.from_numpy(frames.pixels[:5]))[None], (5,), ("x",), (0,))
    with torch.inference_mode():
        encoded = backbone.encode(batch)
    assert error(batch.pixels[0, ..., ::8, ::8], stored["w0.frames_sub8"]) < 1e-6
    assert error(encoded.latents[0], stored["w0.z_mean"]) < 1e-5
    assert error(encoded.conditioning[0], stored["w0.concat_nonoise"]) < 1e-5
    assert error(encoded.spatial[0], stored["w0.crossattn"]) < 1e-5


def test_deterministic_default_through_the_public_api(goldens, stored, frames):
    features = load(goldens).extract(frames, timesteps=TIMESTEPS, layers=LAYERS)
    for key in keys(*TIMESTEPS):
        golden = stored.get(f"nonoise.{key}.mean")
        if golden is not None:
            assert error(features[key.timestep, key.layer], golden) < MEANS, key
    assert sum(f"nonoise.{key}.mean" in stored for key in keys(*TIMESTEPS)) >= 13
    assert features.frame_index.tolist() == list(range(0, 31, 4))


@pytest.mark.parametrize(
    ("variant", "options"), [("nocond", {"conditioning": "none"}), ("sdv2", {"temporal": False})]
)
def test_variants(goldens, stored, frames, variant, options):
    maps = with_golden_noise(load(goldens, **options), frames, stored, keys(20))
    for key, value in maps.items():
        means = value.mean((-2, -1)).flatten(0, 1)[:8]
        assert error(means, stored[f"{variant}.{key}.mean"]) < MEANS, key


def test_64_channel_unet_through_the_encoder_loop(goldens, stored):
    """Sees what 32 channels in 32 groups cannot: the time embedding in layers 2 and 3."""
    extra = load_file(goldens / "extra.safetensors")
    checkpoint = open_checkpoint(str(goldens / "sgm_mini64_unet.safetensors"), unet_head_dim=64)
    encoder = Encoder(
        checkpoint.unet_config, lambda names: checkpoint.tensors("unet", names, dtype=torch.float32)
    )
    spatial = stored["w0.crossattn"]
    context = Context(spatial, spatial[:1], num_frames=5)
    for t in (0, 20, 29):
        sigma = sigmas(30)[t]
        sample = torch.cat([stored["w0.z"] * input_scale(sigma), stored["w0.concat"]], dim=1)
        embedding = encoder.embed(noise_condition(sigma), torch.tensor([6.0, 127.0, 0.02]))
        with torch.inference_mode():
            outputs = encoder(sample, embedding, context, {1, 2, 3})
        for layer, value in outputs.items():
            assert error(value.mean((-2, -1)), extra[f"mc64.t{t}.layer{layer}.mean"]) < MEANS
            if t == 20:
                assert error(value[2], extra[f"mc64.t20.layer{layer}.map_frame2"]) < MAPS


def test_clip_preprocessing_at_full_size(goldens):
    extra = load_file(goldens / "extra.safetensors")
    c, y, x = np.meshgrid(np.arange(3), np.arange(576), np.arange(1024), indexing="ij")
    waves = (
        0.7
        * np.sin(2 * np.pi * (0.013 * (c + 1) * x + 0.021 * y))
        * np.cos(2 * np.pi * 0.005 * (x + 2 * y) * (c + 1))
    )
    image = torch.from_numpy((waves + 0.3 * (((x // 16 + y // 16 + c) % 2) - 0.5)).astype(np.float32))[None]
    resized = (blur_and_resize(image, 224) + 1) / 2
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    normalised = (resized - mean) / std
    assert error(normalised[..., ::4, ::4], extra["clip.big.preprocessed_sub4"]) < 1e-5


def test_schedule(stored):
    ours = sigmas(30)
    assert error(ours, stored["sigmas"][:30]) < 1e-6
    assert error(noise_condition(ours), stored["c_noise"]) < 1e-6
