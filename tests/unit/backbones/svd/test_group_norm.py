"""Statistics that do not lose digits on a CPU: where values hardly vary, and nowhere else."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.conftest import store_settings

from actiondiff import Frames, load_backbone
from actiondiff.backbones.base import backbone_from_settings
from actiondiff.backbones.check import formula_video, relative_error
from actiondiff.backbones.options import BackboneOptions
from actiondiff.backbones.svd.group_norm import ExactGroupNorm
from actiondiff.extraction.api import as_recorded
from actiondiff.features.store import FeatureStore


def images(channels, side, layout):
    """Four pictures; the second and the last are constant but for their borders, as after a convolution."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, channels, side, side, generator=generator)
    flat = torch.full_like(x, 0.7) + 0.1 * torch.arange(channels)[:, None, None]
    flat[:, :, 0], flat[..., -1] = flat[:, :, 0] + 0.01, flat[..., -1] - 0.02
    x[1::2] = flat[1::2]
    return x.to(memory_format=layout)


@pytest.mark.parametrize(("channels", "groups", "side"), [(32, 32, 96), (16, 8, 64), (48, 8, 40)])
@torch.inference_mode()
def test_what_hardly_varies_is_as_in_float64_and_the_rest_keeps_its_bits(channels, groups, side):
    norm = ExactGroupNorm(groups, channels, eps=1e-6)
    generator = torch.Generator().manual_seed(1)
    for parameter in norm.parameters():
        parameter.copy_(torch.randn(channels, generator=generator))
    x = images(channels, side, torch.channels_last)
    ours = norm(x)
    plain = F.group_norm(x, groups, norm.weight, norm.bias, norm.eps)
    truth = F.group_norm(x.double(), groups, norm.weight.double(), norm.bias.double(), norm.eps)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(ours[::2], plain[::2])
    assert relative_error(plain[1::2].numpy(), truth[1::2].numpy()) > 1e-4
    assert relative_error(ours[1::2].numpy(), truth[1::2].numpy()) < 2e-6
    # A sample's bits do not depend on the samples beside it.
    assert torch.equal(norm(x[[1, 3, 3, 3]].contiguous(memory_format=torch.channels_last))[:2], ours[1::2])
    # PyTorch's other kernel loses nothing, and stays.
    first = images(channels, side, torch.contiguous_format)
    assert torch.equal(norm(first), F.group_norm(first, groups, norm.weight, norm.bias, norm.eps))


@pytest.fixture(scope="module")
def backbones():
    """`tiny` as it is by default, and as it was before."""
    return [load_backbone("tiny", device="cpu", exact_norm=exact) for exact in (True, False)]


def test_windows_without_padding_keep_their_bits(backbones):
    video = formula_video(11)  # a whole window, and one with five black frames
    exact, plain = (backbone.extract(video)[20, 3] for backbone in backbones)
    assert np.array_equal(exact[:8], plain[:8])
    assert 1e-7 < relative_error(exact[8:], plain[8:]) < 1e-4


def test_black_frames_are_as_in_float64(backbones):
    black = Frames(np.zeros((8, 64, 64, 3), dtype=np.uint8))
    exact, plain = (
        backbone.extract(black, layers=["vae"], maps=True).maps[20, "vae"] for backbone in backbones
    )
    again = load_backbone("tiny", device="cpu", exact_norm=False).inputs.vae.double()
    truth, _ = again(torch.full((8, 3, 64, 64), -1.0, dtype=torch.float64))
    assert relative_error(exact, truth.numpy()) < 1e-6
    assert relative_error(plain, truth.numpy()) > 1e-5


def test_the_fingerprint_says_it_and_older_features_stay_as_they_are(backbones, tmp_path):
    exact, plain = (backbone.settings for backbone in backbones)
    assert exact == {**plain, "exact_norm": True}
    assert load_backbone("tiny", device="cpu", vae_dtype="bfloat16").options.exact_norm is False
    # A model or a store that does not say it is continued as it was made.
    assert backbone_from_settings(plain, device="cpu").options.exact_norm is False
    assert backbone_from_settings(plain, device="cpu", dtype="float32").options.exact_norm is False
    assert backbone_from_settings(exact, device="cpu").options.exact_norm is True
    assert backbone_from_settings(exact, device="cpu", dtype="float32").options.exact_norm is True
    for name, settings in (("tiny", plain), ("random-tiny", {**plain, "name": "random-tiny"})):
        FeatureStore.create(tmp_path / name, settings=store_settings(**settings), root=tmp_path)
        assert as_recorded(tmp_path / name).exact_norm is False
        assert as_recorded(tmp_path / name, BackboneOptions(device="cpu")).exact_norm is False
    FeatureStore.create(tmp_path / "new", settings=store_settings(**exact), root=tmp_path)
    assert as_recorded(tmp_path / "new").exact_norm is True
