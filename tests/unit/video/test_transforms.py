"""Resizing for the networks: what is left out changes no bit."""

import pytest
import torch

from actiondiff.video import transforms
from actiondiff.video.transforms import blur_and_resize


@pytest.mark.parametrize("shape", [(64, 64), (40, 64), (64, 40), (20, 30)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_blur_of_one_pixel_is_left_out_and_gives_the_same_bits(shape, dtype, monkeypatch):
    images = torch.rand((2, 3, *shape), generator=torch.Generator().manual_seed(0)).to(dtype) * 2 - 1
    calls = []
    blur = transforms._blur
    monkeypatch.setattr(transforms, "_blur", lambda *a: (calls.append(a), blur(*a))[1])
    ours = blur_and_resize(images, 64)
    assert not calls
    blurred = blur(blur(images, 0.001, 3, -2), 0.001, 3, -1)
    assert torch.equal(blurred, images)
    assert torch.equal(ours, blur_and_resize(blurred, 64))
    blur_and_resize(images, 16)
    assert len(calls) == 2  # larger pictures are blurred along both axes
