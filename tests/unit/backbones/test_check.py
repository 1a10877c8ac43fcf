"""The built-in golden and the comparison of half precision."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from actiondiff import Frames
from actiondiff.backbones import check


def test_golden_is_what_the_code_makes(tmp_path):
    """The shipped file is the output of `write_golden`, up to rounding."""
    check.write_golden(tmp_path / "golden.safetensors")
    made = load_file(tmp_path / "golden.safetensors")
    assert len(made) == 26
    assert all(comparison.passed for comparison in check.check_device("cpu", "float32"))
    assert {name: tokens.shape for name, tokens in made.items()}["t20.layer9"] == (8, 64)


def test_a_wrong_number_is_seen(monkeypatch):
    brighter = np.minimum(check.formula_video().pixels, 250) + np.uint8(5)
    monkeypatch.setattr(check, "formula_video", lambda: Frames(brighter))
    assert not any(comparison.passed for comparison in check.check_device("cpu", "float32"))


def test_half_precision_is_near_but_not_equal():
    errors = [comparison.error for comparison in check.check_device("cpu", "bfloat16")]
    assert 1e-4 < max(errors) < check.EXPECTED["bfloat16"]


@pytest.mark.parametrize("error", [float("nan"), float("inf"), 1.0])
def test_not_finite_or_far_fails(error):
    assert not check.Comparison("x", error, 0.1).passed


def test_weights_of_ones_own(shared_dir):
    lines = check.check_weights(
        "svd-xt",
        shared_dir / "goldens" / "sgm_tiny_unet.safetensors",
        dtype="bfloat16",
        device="cpu",
        height=64,
        width=64,
        frames=4,
        unet_head_dim=16,
        clip_head_dim=16,
    )
    assert [line.name.split(",")[0] for line in lines] == ["U-Net and image encoder"] * 3 + ["VAE encoder"]
    assert all(0 < line.error < 0.1 for line in lines)
