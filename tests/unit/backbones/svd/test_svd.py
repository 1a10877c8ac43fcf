"""The SVD backbone on small random weights: what must hold whatever the weights are."""

import numpy as np
import pytest
import torch
from tests.conftest import random_frames

from actiondiff import Frames, load_backbone
from actiondiff.backbones.base import WindowBatch, backbone_from_settings, find_spec
from actiondiff.backbones.engine.run import extract_in_order, feature_keys
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.backbones.svd.backbone import SVD
from actiondiff.backbones.svd.random_checkpoint import RandomCheckpoint
from actiondiff.errors import SettingsMismatchError, UnknownNameError, UsageError, WeightsError
from actiondiff.types import FeatureKey

LAYERS = range(1, 14)


def load(**options: object) -> SVD:
    backbone = load_backbone("random-tiny", **{"height": 32, "width": 48, "threads": 1} | options)
    assert isinstance(backbone, SVD)
    return backbone


def batch_of(backbone: SVD, frames: Frames) -> WindowBatch:
    pixels = backbone.preprocess(torch.from_numpy(frames.pixels))
    return WindowBatch(pixels[None], (len(frames),), (frames.identity,), (0,))


@pytest.mark.parametrize(("option", "index"), [("first", 0), ("middle", 4)])
@torch.no_grad()
def test_equals_diffusers_stock_forward_when_one_embedding_is_shared(option, index, stock_layers):
    backbone = load(embedding=option)
    batch = batch_of(backbone, random_frames())
    maps = backbone.maps(batch, [FeatureKey.of(20, layer) for layer in LAYERS])
    encoded = load().encode(batch)
    stock = stock_layers(encoded, 20, encoded.embeddings[:, index : index + 1])
    for layer in LAYERS:
        ours, theirs = maps[FeatureKey.of(20, layer)][0], stock[layer]
        assert (ours - theirs).norm() / theirs.norm() < 1e-5, layer


def test_own_embedding_differs_from_a_shared_one():
    own, first = (
        load(embedding=choice).extract(random_frames(), layers=[9])[20, 9] for choice in ("own", "first")
    )
    assert np.abs(own - first).max() > 1e-3


def test_middle_is_the_middle_of_the_real_frames():
    frames = random_frames(3)  # in a window of 8: the middle real frame is index 1
    backbone = load(embedding="middle", latents="middle")
    encoded = backbone.encode(
        WindowBatch(backbone.preprocess(torch.from_numpy(random_frames().pixels))[None], (3,), ("x",), (0,))
    )
    torch.testing.assert_close(encoded.temporal[0, 0], encoded.embeddings[0, 1], rtol=1e-4, atol=1e-5)
    assert torch.equal(encoded.conditioning[0, 5], encoded.conditioning[0, 1])
    assert len(backbone.extract(frames)) == 3


def test_stopping_early_changes_no_bit_and_loads_no_more():
    every = load().extract(random_frames(), layers=LAYERS)
    backbone = load()
    early = backbone.extract(random_frames(), layers=[3])
    assert np.array_equal(early[20, 3], every[20, 3])
    assert len(backbone.encoder.stages) == 3


def test_timesteps_from_one_pass_equal_separate_ones_and_encode_once():
    backbone = load()
    calls = {"vae": 0, "clip": 0, "unet": 0}
    for name, module in (
        ("vae", backbone.inputs.latent_vae),
        ("clip", backbone.inputs.image_encoder),
        ("unet", backbone.encoder),
    ):
        module.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
    together = backbone.extract(random_frames(16), timesteps=[0, 20, 29], layers=[3, 9])
    assert calls == {"vae": 1, "clip": 1, "unet": 3}  # two windows in one batch of four
    for t in (0, 20, 29):
        assert np.array_equal(
            together[t, 9], load().extract(random_frames(16), timesteps=[t], layers=[9])[t, 9]
        )


def test_neighbours_and_order_change_no_bit():
    backbone = load()
    keys = feature_keys(backbone, None, [9])
    videos = [random_frames(count, seed) for seed, count in ((0, 8), (1, 19), (2, 3))]
    alone = {v.identity: backbone.extract(v, layers=[9])[20, 9] for v in videos}
    for order in (videos, videos[::-1]):
        for _, features in extract_in_order(backbone, [FrameSequence([v]) for v in order], keys):
            assert np.array_equal(features[20, 9], alone[features.identity])


def test_temporal_off_keeps_frames_apart():
    changed = random_frames().pixels.copy()
    changed[3] = 255 - changed[3]
    for temporal in (True, False):
        backbone = load(temporal=temporal)
        a, b = (
            backbone.extract(Frames(pixels), layers=[9])[20, 9]
            for pixels in (random_frames().pixels, changed)
        )
        others = np.delete(np.abs(a - b).max(1), 3)
        assert bool(others.max() == 0) is (not temporal)


def test_random_draws_belong_to_seed_and_content():
    first = load(stochastic=True).extract(random_frames(), layers=[9])[20, 9]
    backbone = load(stochastic=True)
    backbone.extract(random_frames(seed=5))  # another video before it changes nothing
    assert np.array_equal(backbone.extract(random_frames(), layers=[9])[20, 9], first)
    plain = load().extract(random_frames(), layers=[9])[20, 9]
    assert np.abs(plain - first).max() > 1e-4
    weights_fixed = RandomCheckpoint(find_spec("tiny").architecture, 0)
    other = SVD(find_spec("tiny"), load(stochastic=True, seed=1).options, weights_fixed)
    assert not np.array_equal(other.extract(random_frames(), layers=[9])[20, 9], first)


@pytest.mark.parametrize(
    "option",
    [
        {"noise": "forward"},
        {"sigma_scale": 0},
        {"sigma_embed": 0},
        {"latents": "zero"},
        {"embedding": "none"},
        {"num_steps": 25},
    ],
)
def test_every_option_has_an_effect_and_is_in_the_settings(option):
    plain, changed = load(), load(**option)
    assert plain.settings != changed.settings
    assert (
        np.abs(
            plain.extract(random_frames(), layers=[9])[20, 9]
            - changed.extract(random_frames(), layers=[9])[20, 9]
        ).max()
        > 1e-5
    )


def test_sigma_options_together_are_another_timestep():
    both = load(sigma_scale=5, sigma_embed=5).extract(random_frames(), layers=[9])[20, 9]
    assert np.array_equal(both, load().extract(random_frames(), timesteps=[5], layers=[9])[5, 9])


def test_shorthand_conditioning_is_what_it_stands_for():
    assert load(conditioning="none").settings == load(embedding="none", latents="zero").settings
    with pytest.raises(UsageError, match="either conditioning or"):
        load(conditioning="none", latents="own")


def test_query_and_key_weights_of_cross_attention_are_never_read():
    backbone = load()
    names: list[str] = []
    read = backbone._checkpoint.tensors
    backbone._checkpoint.tensors = lambda component, wanted=None, *, dtype=None: (
        names.extend(wanted),
        read(component, wanted, dtype=dtype),
    )[1]
    backbone.extract(random_frames(), layers=[13])
    assert any(".attn2.to_v" in name for name in names)
    assert not [name for name in names if ".attn2.to_q" in name or ".attn2.to_k" in name]
    assert not [name for name in names if "up_blocks" in name or name == "conv_out.weight"]


def test_free_taps():
    features = load().extract(random_frames(), layers=["clip", "vae", 1])
    assert features[20, "clip"].shape == (8, 32)
    assert features[20, "vae"].shape == (8, 4)
    assert len(load().encoder.stages) == 0


def test_maps_average_to_tokens():
    features = load().extract(random_frames(), layers=[9], maps=True)
    key = FeatureKey.of(20, 9)
    assert features.maps[key].shape[0] == 8
    np.testing.assert_allclose(features.maps[key].mean((-2, -1)), features[20, 9], rtol=1e-4, atol=1e-6)


def test_settings_rebuild_the_backbone_and_name_what_differs():
    backbone = load(seed=3, window=5)
    again = backbone_from_settings(backbone.settings, device="cpu")
    assert np.array_equal(
        again.extract(random_frames(), layers=[9])[20, 9],
        backbone.extract(random_frames(), layers=[9])[20, 9],
    )
    with pytest.raises(SettingsMismatchError, match="weights"):
        backbone_from_settings({**backbone.settings, "weights": "other"}, device="cpu")


def test_weights_that_are_given_are_used(shared_dir):
    weights = shared_dir / "goldens" / "sgm_tiny_unet.safetensors"
    options = {"height": 32, "width": 48, "unet_head_dim": 16, "clip_head_dim": 16}
    given = load_backbone("tiny", weights=weights, **options)
    assert given.settings["weights"] != load().settings["weights"]
    assert given.extract(random_frames(), layers=[3])[20, 3].shape == (8, 32)


def test_random_prefix_names_a_backbone_with_drawn_weights():
    assert load_backbone("random-svd-xt").settings["name"] == "random-svd-xt"
    with pytest.raises(WeightsError, match="needs weights"):
        load_backbone("svd-xt")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: load_backbone("svdxt"), UnknownNameError, "svd-xt"),
        (lambda: load_backbone("tiny", hight=3), UnknownNameError, "height"),
        (lambda: load_backbone("tiny", padding="white"), UsageError, "padding"),
        (lambda: load(height=30), UsageError, "multiples of 4"),
        (lambda: load_backbone("random-tiny", weights="x"), UsageError, "draws its weights"),
        (lambda: load().extract(random_frames(), timesteps=[30]), UsageError, "0 .noisiest. to 29"),
        (lambda: load().extract(random_frames(), layers=[14]), UnknownNameError, "layer13"),
        (lambda: load().extract(random_frames()[0:0]), UsageError, "no frames"),
    ],
)
def test_mistakes_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()
