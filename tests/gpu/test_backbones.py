"""Backbones on CUDA: the contract, the reference features, fused against plain, same bits twice."""

import numpy as np
import pytest
import torch
from tests.contract.test_backbones import VARIANTS, small

from actiondiff import load_backbone
from actiondiff.backbones.base import WindowBatch, build_backbone, make_options
from actiondiff.backbones.check import relative_error
from actiondiff.backbones.engine import batching
from actiondiff.backbones.engine.run import extract_in_order, feature_keys
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.backbones.svd import eager, fused
from actiondiff.backbones.svd.check import check_device
from actiondiff.errors import MissingExtraError
from actiondiff.testing import BACKBONE_CHECKS, sample_video
from actiondiff.types import Frames

LAYERS = [*range(1, 14), "vae", "clip"]
SIZE = {"height": 72, "width": 104, "window": 5, "device": "cuda"}  # latents of 18 x 26, then 9 x 13, 5 x 7


def build(name, **options):
    spec = small(name)
    return build_backbone(spec, make_options(spec, device="cuda", **options))


def largest_error(ours, theirs) -> float:
    assert ours.tokens.keys() == theirs.tokens.keys()
    return max(relative_error(ours.tokens[key], theirs.tokens[key]) for key in ours.tokens)


@pytest.mark.parametrize("dtype", ["auto", "float32"])
@pytest.mark.parametrize(
    ("name", "options"), VARIANTS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)
def test_contract(name, options, dtype):
    try:
        backbone = build(name, dtype=dtype, **options)
    except MissingExtraError as error:
        pytest.skip(str(error))
    for check in BACKBONE_CHECKS:
        check(backbone)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_reference_features_of_the_package(dtype):
    lines = check_device("cuda", dtype)
    assert len(lines) == 26
    # The clip has no hardly varying groups, in which CPU and GPU would round apart.
    assert [line for line in lines if not line.passed] == []


@pytest.mark.parametrize("batch", [1, 2])
def test_fused_is_near_plain_and_float32(batch):
    video = sample_video(9, height=80, width=110)
    exact, half, plain = (
        load_backbone("tiny", batch=batch, **options, **SIZE).extract(video, layers=LAYERS)
        for options in ({"dtype": "float32"}, {}, {"fused": False})
    )
    assert largest_error(half, exact) < 6e-3
    assert 0 < largest_error(half, plain) < 6e-3


def test_the_default_is_fused_and_recorded():
    assert fused.kernel_problem("cuda") is None
    backbone = load_backbone("tiny", **SIZE)
    assert (backbone.settings["fused"], backbone.settings["vae_dtype"]) == (True, "auto-float16")
    assert "fused" not in load_backbone("tiny", dtype="float32", **SIZE).settings
    assert backbone.encoder.fused
    assert backbone.inputs.vae.fused


@pytest.mark.parametrize(
    ("rows", "height", "width", "channels", "groups", "frames"),
    [(4, 9, 16, 128, 32, 1), (6, 7, 5, 96, 32, 3), (2, 33, 61, 320, 32, 2), (3, 1, 1, 64, 32, 3)],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kernels(rows, height, width, channels, groups, frames, dtype):
    from actiondiff.backbones.svd import kernels

    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=random).to("cuda", dtype)

    x, residual, bias = (
        draw(rows, height, width, channels) + 3,
        draw(rows, height, width, channels),
        draw(1, channels),
    )
    norm = torch.nn.GroupNorm(groups, channels).to("cuda", dtype).requires_grad_(False)
    limit = {torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    pairs = []
    for ops in (kernels, eager):
        total, partial = ops.add(x, bias, residual, scale=0.3, statistics=True)
        pairs.append(
            [
                total,
                ops.normalise(total, norm, partial=partial, frames=frames),
                ops.normalise(x, norm, bias=bias, frames=frames, activate=False),
                ops.geglu(x, bias[0]),
            ]
        )
    for ours, theirs in zip(*pairs, strict=True):
        assert relative_error(ours.float().cpu().numpy(), theirs.float().cpu().numpy()) < limit


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_same_bits_twice(dtype):
    video = sample_video(7)
    first, second = (
        load_backbone("tiny", dtype=dtype, **SIZE).extract(video, layers=LAYERS) for _ in range(2)
    )
    for key, tokens in first.tokens.items():
        assert np.array_equal(tokens, second.tokens[key]), key


def test_black_windows_are_finite_in_every_arithmetic():
    black = Frames(np.zeros((5, 40, 40, 3), np.uint8))
    for dtype in ("float32", "float16", "bfloat16"):
        features = load_backbone("tiny", dtype=dtype, **SIZE).extract(black, layers=LAYERS)
        assert all(np.isfinite(tokens).all() for tokens in features.tokens.values()), dtype


def test_windows_beyond_float16_are_encoded_again(monkeypatch):
    backbone, exact = (load_backbone("tiny", vae_dtype=kind, **SIZE) for kind in ("auto-float16", "tf32"))
    pixels = torch.stack(
        [backbone.preprocess(torch.from_numpy(sample_video(5, seed=n).pixels)) for n in (0, 1)]
    )
    batch = WindowBatch(pixels, (5, 5), ("a" * 64, "b" * 64), (0, 20))
    keys = feature_keys(backbone, None, ["vae"])
    usual = backbone.maps(batch, keys)[keys[0]]
    real = backbone.inputs.latent_vae.forward

    def overflow(images):  # the second window's frames
        mean, log_variance = real(images)
        same = [bool((image == pixels[1].to(image)).flatten(1).all(1).any()) for image in images]
        mean[torch.tensor(same, device=mean.device)] = float("inf")
        return mean, log_variance

    monkeypatch.setattr(backbone.inputs.latent_vae, "forward", overflow)
    repaired, reference = (b.maps(batch, keys)[keys[0]] for b in (backbone, exact))
    assert torch.equal(repaired[0], usual[0])
    assert not torch.equal(repaired[1], usual[1])
    assert relative_error(repaired[1].cpu().numpy(), reference[1].cpu().numpy()) < 1e-3


def test_out_of_memory_takes_smaller_batches(memory):
    videos = [sample_video(5, seed=seed) for seed in range(4)]
    whole, limited = (load_backbone("tiny", batch=4, **SIZE) for _ in range(2))
    keys = feature_keys(whole, None, [9])
    sizes = memory(limited, 2)
    results = [
        [features for _, features in extract_in_order(b, map(FrameSequence, ([v] for v in videos)), keys)]
        for b in (whole, limited)
    ]
    assert sizes == [4, 2, 2]
    assert [features.batch for features in results[1]] == [2] * 4
    assert max(largest_error(ours, theirs) for ours, theirs in zip(*results, strict=True)) < 5e-3


def test_the_automatic_batch_runs(memory):
    backbone = load_backbone("tiny", **SIZE)
    memory(backbone, 4)
    assert batching.choose_batch(backbone, feature_keys(backbone, None, None)) in (1, 2, 4)
