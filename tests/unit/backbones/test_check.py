"""The built-in golden and the comparison of half precision."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from actiondiff import Frames, load_backbone
from actiondiff.backbones.svd import check
from actiondiff.cli.main import run


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
    assert not check.PrecisionCheck("x", error, 0.1).passed


@pytest.mark.parametrize(
    ("network", "vae", "expected"),
    [
        (1e-3, 1e-3, {"dtype": "float16", "vae_dtype": "float16"}),
        (1e-3, float("inf"), {"dtype": "float16", "vae_dtype": "float32"}),
        (0.5, 1e-3, {"dtype": "float32", "vae_dtype": "float16"}),
    ],
)
def test_what_is_near_enough_becomes_an_option(network, vae, expected):
    lines = [check.PrecisionCheck("U-Net", network, 1e-2), check.PrecisionCheck("VAE encoder", vae, 1e-2)]
    assert check.suggested_options(lines, "float16") == expected


def test_the_largest_value_says_whether_float16_holds_it():
    """Found in a float32 pass, so that a CPU can tell it, too."""
    backbone = load_backbone("tiny", device="cpu", height=32, width=32, window=2)
    vae = backbone.inputs.latent_vae
    with check._largest_value(vae) as small:
        check._latents(backbone, check.formula_video(2))
    vae.encoder.conv_in.weight.mul_(1e6)
    with check._largest_value(vae) as large:
        check._latents(backbone, check.formula_video(2))
    assert 0 < max(small) < 65504 < max(large) < float("inf")
    lines = [check.PrecisionCheck("VAE encoder", 1e-3, 1e-2), check.PrecisionCheck(check._RANGE, 1.2, 1.0)]
    assert check.suggested_options(lines, "float16") == {"dtype": "float16", "vae_dtype": "float32"}
    assert check.suggested_options(lines, "bfloat16") == {"dtype": "bfloat16", "vae_dtype": "bfloat16"}


def test_a_vae_that_overflows_is_infinitely_far(monkeypatch):
    backbone = load_backbone("tiny", device="cpu", height=32, width=32, vae_dtype="float16", window=2)
    backbone.inputs.vae.encoder.conv_in.weight.mul_(1e5)
    assert np.isinf(check._latents(backbone, check.formula_video(2))).all()


def test_the_command_says_which_options_to_use(shared_dir, capsys):
    weights = shared_dir / "goldens" / "sgm_tiny_unet.safetensors"
    arguments = ["weights", "check", str(weights), "--unet-head-dim", "16", "--clip-head-dim", "16"]
    assert run([*arguments, "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    assert "your weights, bfloat16 against float32" in output  # float16 would take hours on a CPU
    assert "Features are right on this device." in output
    assert "--dtype " in output
    assert "--vae-dtype float32." in output  # with these weights bfloat16 is off by more than a hundredth


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
    assert [line.name.split(",")[0] for line in lines] == ["U-Net and image encoder"] * 3 + [
        "VAE encoder"
    ] * 2
    assert all(0 < line.error < 0.1 for line in lines)
    assert lines[-1].name == "VAE encoder, largest value, 1 being float16's limit"
