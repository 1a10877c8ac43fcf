"""The fused form of SVD's networks: its assembly against diffusers' modules, and who computes it."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.conftest import random_frames, store_settings

from actiondiff import load_backbone, read_video
from actiondiff.backbones.base import WindowBatch
from actiondiff.backbones.check import relative_error
from actiondiff.backbones.engine.encoding import spatial_mean
from actiondiff.backbones.options import BackboneOptions
from actiondiff.backbones.svd import backbone as svd
from actiondiff.backbones.svd import eager, fused
from actiondiff.backbones.svd.options import SVDOptions
from actiondiff.errors import UsageError, warn_once
from actiondiff.extraction.api import as_recorded, plan_extraction
from actiondiff.features.feature_file import read_entry
from actiondiff.features.store import FeatureStore
from actiondiff.types import FeatureKey
from actiondiff.video.write import write_video

KEYS = [FeatureKey.of(20, n) for n in range(1, 14)] + [FeatureKey.of(20, "vae")]


def windows(backbone, count):
    shape = (count, backbone.options.window, 3, backbone.options.height, backbone.options.width)
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return WindowBatch(pixels, (shape[1],) * count, tuple("ab"[:count]), (0,) * count)


def outputs(backbone, batch, *, run_fused):
    backbone.encoder.fused = backbone.inputs.vae.fused = backbone.inputs.latent_vae.fused = run_fused
    with fused.operations(eager):
        return backbone.maps(batch, KEYS)


@pytest.mark.parametrize(
    ("count", "options"),
    [
        (2, {"height": 40, "width": 56}),  # layers of 10 x 14, 5 x 7, 3 x 4 and 2 x 2
        (1, {"height": 32, "width": 32, "temporal": False}),
        (1, {"height": 32, "width": 32, "window": 1}),
    ],
)
def test_the_assembly_is_that_of_the_modules(count, options):
    """In float32 and with the eager operations, only the order of additions differs."""
    backbone = load_backbone("tiny", device="cpu", threads=1, **{"window": 3, **options})
    batch = windows(backbone, count)
    plain = outputs(backbone, batch, run_fused=False)
    fast = outputs(backbone, batch, run_fused=True)
    for key, value in plain.items():
        assert value.shape == fast[key].shape
        assert relative_error(fast[key].numpy(), value.numpy()) < 2e-5, key
    assert not torch.equal(fast[KEYS[8]], plain[KEYS[8]])  # it was the other form
    again = outputs(backbone, batch, run_fused=False)  # with weights in the other layout
    assert all(relative_error(again[key].numpy(), value.numpy()) < 1e-3 for key, value in plain.items())


def test_means_taken_early_are_those_of_the_maps():
    backbone = load_backbone("tiny", device="cpu", threads=1, height=32, width=48, window=2)
    encoded = backbone.encode(windows(backbone, 2))
    maps, means = backbone.maps_from(encoded, KEYS), backbone.pooled_from(encoded, KEYS)
    assert all(torch.equal(means[key], spatial_mean(value)) for key, value in maps.items())
    together, alone = (
        backbone.extract(random_frames(), layers=range(1, 14), maps=maps).tokens for maps in (True, False)
    )
    assert all(np.array_equal(tokens, alone[key]) for key, tokens in together.items())


KERNELS = """
import torch
from torch import nn
from actiondiff.backbones.svd import eager, kernels
random = torch.Generator().manual_seed(0)
draw = lambda *shape: torch.randn(*shape, generator=random)
SHAPES = ((4, 9, 16, 128, 1, 1), (6, 7, 5, 96, 3, 2), (2, 1, 1, 64, 2, 1))
for rows, height, width, channels, frames, biases in SHAPES:
    x, residual = (draw(rows, height, width, channels) for _ in range(2))
    x, bias = x + 3, draw(biases, channels)
    qkv = x.reshape(1, rows, -1, channels)[..., :48].contiguous()
    norm = nn.GroupNorm(32, channels, eps=1e-5).requires_grad_(False)
    nn.init.normal_(norm.weight, generator=random)
    pairs = []
    for ops in (kernels, eager):
        total, partial = ops.add(x, bias, residual, scale=0.3, statistics=True)
        pairs.append([total, ops.normalise(total, norm, partial=partial, frames=frames),
                      ops.normalise(x, norm, bias=bias, frames=frames, activate=False),
                      ops.geglu(x, bias[0]), ops.attend_frames(qkv, 1)])
    for ours, theirs in zip(*pairs):
        assert float((ours - theirs).norm()) < 2e-5 * float(theirs.norm() + 1e-9), (channels, ours.shape)
print("alike")
"""


def test_kernels_in_the_interpreter():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed here")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run([sys.executable, "-c", KERNELS], env=environment, capture_output=True, text=True)
    assert "alike" in ran.stdout, ran.stderr[-2000:]


HALF = {"device": "cuda", "dtype": "float16", "vae_dtype": "auto-float16"}


@pytest.mark.parametrize(
    ("asked", "problem", "expected"),
    [
        ({}, None, True),
        ({"fused": False}, None, False),
        ({"dtype": "float32", "vae_dtype": "tf32"}, None, None),
        ({"compile": True}, None, None),
        ({"device": "cpu", "vae_dtype": "float32"}, None, None),
        ({}, "no C compiler", False),
    ],
)
def test_where_it_runs(monkeypatch, caplog, asked, problem, expected):
    warn_once.cache_clear()
    monkeypatch.setattr(svd, "kernel_problem", lambda device: problem)
    assert svd._runs_fused(SVDOptions(**{**HALF, **asked})) is expected
    assert [record.message for record in caplog.records] == (
        [f"fused kernels do not work here ({problem}); extraction takes about 2.5 times as long"]
        * bool(problem)
    )


def test_what_cannot_be_done_is_refused(monkeypatch):
    monkeypatch.setattr(svd, "kernel_problem", lambda device: "no C compiler")
    with pytest.raises(UsageError, match=r"does not work here \(no C compiler\).*--no-fused"):
        svd._runs_fused(SVDOptions(**HALF, fused=True))
    with pytest.raises(UsageError, match="got device cpu, dtype float32"):
        load_backbone("tiny", device="cpu", fused=True)
    assert "fused" not in load_backbone("tiny", device="cpu", fused=False).settings


def test_a_broken_kernel_is_noticed(monkeypatch):
    class Broken:
        def __getattr__(self, name):
            return getattr(eager, name)

        def geglu(self, x, bias):
            return eager.geglu(x, bias) * 1.1

    assert fused._difference(eager, "cpu") is None
    assert fused._difference(Broken(), "cpu") == "kernel geglu is off by 1.0e-01"
    fused.kernel_problem.cache_clear()
    if importlib.util.find_spec("triton") is None:
        assert fused.kernel_problem("cpu") == "Triton is not installed"


@pytest.mark.parametrize("recorded", [{}, {"vae_dtype": "auto-float16", "fused": True}])
def test_a_store_is_continued_with_its_arithmetic(tmp_path, monkeypatch, recorded):
    """Also a store that was written before there was a faster default: its VAE computed in float32."""
    settings = {**load_backbone("tiny", device="cpu").settings, "dtype": "float16", **recorded}
    FeatureStore.create(tmp_path / "fs", settings=store_settings(**settings), root=tmp_path)
    assert "vae_dtype" not in as_recorded(tmp_path / "fs", BackboneOptions(device="cpu")).model_fields_set
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for options in (None, BackboneOptions(device="cuda")):
        continued = as_recorded(tmp_path / "fs", options)
        expected = ("auto-float16", True) if recorded else ("float32", False)
        assert (continued.vae_dtype, continued.fused) == expected


def let_overflow(monkeypatch, backbone, frames):
    """Let the VAE of a backbone compute in a stand-in for float16 which cannot represent these frames."""
    inputs = backbone.inputs
    monkeypatch.setattr(inputs, "_options", inputs._options.model_copy(update={"vae_dtype": "auto-float16"}))
    half = load_backbone("tiny", device="cpu", threads=1, height=32, width=32, window=2, vae_dtype="bfloat16")
    small = half.inputs.latent_vae

    def overflow(images):
        mean, log_variance = small(images.bfloat16())
        second = [bool((image == frames.to(image)).flatten(1).all(1).any()) for image in images]
        mean[torch.tensor(second)] = float("inf")
        return mean, log_variance

    monkeypatch.setattr(inputs.latent_vae, "forward", overflow)
    monkeypatch.setattr(type(inputs), "_vae_dtype", property(lambda self: torch.bfloat16))


def test_windows_beyond_float16_are_encoded_again_in_float32(monkeypatch, caplog):
    """On a CPU with a stand-in for float16, because the mechanism is the same on every device."""
    backbone = load_backbone("tiny", device="cpu", threads=1, height=32, width=32, window=2)
    batch, keys = windows(backbone, 2), [FeatureKey.of(20, "vae")]
    exact = backbone.maps(batch, keys)[keys[0]]
    let_overflow(monkeypatch, backbone, batch.pixels[1])
    repaired = backbone.maps(batch, keys)[keys[0]]
    assert repaired.isfinite().all()
    assert not torch.equal(repaired[0], exact[0])
    assert torch.equal(repaired[1], exact[1])
    assert "1 window" in caplog.text


def test_feature_files_say_how_many_windows_were_encoded_again(tmp_path, monkeypatch):
    """Also if the features are added to later, from the video or from its latents."""
    videos = {name: random_frames(5, seed, height=32, width=32) for seed, name in enumerate("ab")}
    for name, frames in videos.items():
        write_video(tmp_path / "clips" / f"{name}.mp4", frames.pixels, fps=5)
    options = SVDOptions(device="cpu", threads=1, height=32, width=32, window=2)
    network = load_backbone("tiny", options=options)
    first = read_video(tmp_path / "clips" / "a.mp4", stride=1).pixels[2:4]  # its second window of three
    store = tmp_path / "store"

    def run_extraction(layers):
        chosen = {"timesteps": [20], "layers": layers, "stride": 1, "keep_latents": True}
        plan_extraction([tmp_path / "clips"], store, backbone=network, **chosen).run()
        opened = FeatureStore.open(store)
        headers = {name: opened.header(opened.read(f"{name}.mp4").identity) for name in videos}
        assert [opened.read(f"{name}.mp4").num_encoded_again for name in videos] == [1, 0]
        assert [headers[name].num_encoded_again for name in videos] == [1, 0]
        entries = {name: read_entry(opened._path(headers[name].identity)) for name in videos}
        assert "num_encoded_again" not in entries["b"]  # files of sound videos keep their bytes

    let_overflow(monkeypatch, network, network.preprocess(torch.from_numpy(first)))
    run_extraction(["vae"])
    monkeypatch.undo()
    network = load_backbone("tiny", options=options)
    run_extraction([2])  # from latents, added to the files
    for file in (store / "features").glob("*/*.safetensors"):
        file.unlink()
    FeatureStore.open(store).verify()
    run_extraction([2])  # from latents alone
