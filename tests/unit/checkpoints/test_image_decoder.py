"""Checkpoints with an image decoder, and tensors that no network has."""

import copy
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import random_frames

from actiondiff import load_backbone
from actiondiff.checkpoints.convert import convert_weights
from actiondiff.checkpoints.reader import open_checkpoint
from actiondiff.errors import WeightsError, warn_once

HEAD_DIMS = {"unet_head_dim": 16, "clip_head_dim": 8}  # of the small models in conftest.py


@pytest.fixture(scope="module")
def diffusers_folder(models, tmp_path_factory):
    return models.save_folder(tmp_path_factory.mktemp("diffusers"))


@pytest.fixture(scope="module")
def image_decoder(original_state):
    """Tensors of a file like svd_xt_image_decoder: its first stage is an ordinary KL autoencoder."""
    prefix = "conditioner.embedders.3.encoder."
    first = {
        name.replace(prefix, "first_stage_model."): tensor.clone()
        for name, tensor in original_state.items()
        if name.startswith(prefix)
    }
    return {n: t for n, t in original_state.items() if not n.startswith("first_stage_model.")} | first


def latents_of(path, **options):
    """Latents of one frame, from the file, by the backbone itself."""
    options = {"height": 32, "width": 32, "window": 1, "threads": 1, "device": "cpu", **HEAD_DIMS, **options}
    backbone = load_backbone("svd", weights=path, **options)
    return backbone.extract(random_frames(1, height=32, width=32), layers=["vae"], maps=True).maps


def test_an_image_decoder_file_is_the_same_model(original, image_decoder, tmp_path):
    """Its quantisation convolution stands alone, where the original file has it folded."""
    save_file(image_decoder, tmp_path / "svd_image_decoder.safetensors")
    checkpoint = open_checkpoint(tmp_path / "svd_image_decoder.safetensors", **HEAD_DIMS)
    assert checkpoint.latent_quant_conv
    assert checkpoint.one_vae
    assert checkpoint.identity == open_checkpoint(original, **HEAD_DIMS).identity
    converted = convert_weights(checkpoint.contents.source, tmp_path / "w", dtype="float32", **HEAD_DIMS)
    assert (converted.one_vae, converted.unknown) == (True, ())
    assert open_checkpoint(tmp_path / "w").identity == checkpoint.identity


def test_an_image_decoder_file_gives_the_right_latents(models, image_decoder, tmp_path):
    """With its own quantisation convolution, the latents are those of diffusers' autoencoder."""
    theirs = copy.deepcopy(models.vae)
    state = dict(image_decoder)
    with torch.no_grad():
        for part in ("weight", "bias"):
            theirs.quant_conv.get_parameter(part).mul_(1.5)
            state[f"first_stage_model.quant_conv.{part}"] = theirs.quant_conv.get_parameter(part).clone()
        pixels = torch.from_numpy(random_frames(1, height=32, width=32).pixels).permute(0, 3, 1, 2)
        expected = theirs.encode(pixels.float() / 127.5 - 1).latent_dist.mean.numpy()
    save_file(state, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(tmp_path / "x.safetensors", **HEAD_DIMS)
    assert not checkpoint.one_vae
    convert_weights(tmp_path / "x.safetensors", tmp_path / "w", dtype="float32", **HEAD_DIMS)
    assert open_checkpoint(tmp_path / "w").identity == checkpoint.identity
    for path in (tmp_path / "x.safetensors", tmp_path / "w"):
        (latents,) = latents_of(path).values()
        assert np.abs(latents - expected).max() < 1e-5 * np.abs(expected).max()


def test_an_image_decoder_file_without_its_convolution_is_told_apart(image_decoder, tmp_path):
    lacking = {n: t for n, t in image_decoder.items() if not n.startswith("first_stage_model.quant_conv.")}
    for name, state in {"whole": image_decoder, "lacking": lacking}.items():
        save_file(state, tmp_path / f"{name}.safetensors")
    whole, lacks = (open_checkpoint(tmp_path / f"{n}.safetensors", **HEAD_DIMS) for n in ("whole", "lacking"))
    assert not lacks.one_vae
    assert lacks.identity != whole.identity
    (ours,), (other,) = (latents_of(tmp_path / f"{n}.safetensors").values() for n in ("whole", "lacking"))
    assert np.abs(ours - other).max() > 0.01 * np.abs(ours).max()


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.out.3.weight",
        "model.diffusion_model.input_blocks.1.0.in_layers.0.gain",
        "first_stage_model.regularization.weight",
        "conditioner.embedders.3.encoder.extra.weight",
        "conditioner.embedders.0.open_clip.model.visual.ln_extra.weight",
    ],
)
def test_an_unknown_tensor_of_a_network_is_an_error_when_it_is_loaded(original_state, tmp_path, name, caplog):
    path = tmp_path / "x.safetensors"
    save_file(original_state | {name: torch.ones(2), "model_ema.decay": torch.ones(1)}, path)
    with pytest.raises(WeightsError, match=r"holds 1 tensors .*--allow-unknown") as error:
        latents_of(path)
    assert name in str(error.value)
    assert "model_ema" not in str(error.value)
    assert not caplog.text
    warn_once.cache_clear()
    latents_of(path, allow_unknown=True)
    assert name in caplog.text


def test_unknown_tensors_that_were_allowed_are_allowed_again(original_state, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(original_state | {"model.diffusion_model.out.3.weight": torch.ones(2)}, path)
    backbone = load_backbone("svd", weights=path, device="cpu", allow_unknown=True, **HEAD_DIMS)
    assert backbone.settings["allow_unknown"] is True
    save_file(original_state, path)
    backbone = load_backbone("svd", weights=path, device="cpu", allow_unknown=False, **HEAD_DIMS)
    assert "allow_unknown" not in backbone.settings


def test_an_unknown_tensor_of_a_folder_is_an_error(diffusers_folder, tmp_path):
    shutil.copytree(diffusers_folder, tmp_path / "f")
    file = tmp_path / "f" / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(file) | {"down_blocks.0.adapter.weight": torch.ones(2)}, file)
    with pytest.raises(WeightsError, match=r"down_blocks\.0\.adapter\.weight"):
        open_checkpoint(tmp_path / "f")
    assert open_checkpoint(tmp_path / "f", allow_unknown=True).identity


def test_shards_of_the_fp16_variant_are_read(models, diffusers_folder, tmp_path):
    models.save_folder(tmp_path / "f", variant="fp16", max_shard_size="300KB")
    assert len([*(tmp_path / "f" / "unet").glob("*.fp16-*.safetensors")]) > 1
    assert open_checkpoint(tmp_path / "f").identity == open_checkpoint(diffusers_folder).identity
