"""The number of values in svd_xt.safetensors and svd_xt_1_1.safetensors, counted from the classes."""

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from actiondiff.backbones.base import find_spec
from actiondiff.backbones.svd.modules import build_image_encoder, build_unet, build_vae_encoder

PUBLISHED = 2_389_819_785  # as the hub's page counts them, for both files


def values(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in module.state_dict().values())


@pytest.fixture(scope="module")
def networks():
    """The whole networks at full size, without memory for their values."""
    spec = find_spec("svd-xt").architecture
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    with torch.device("meta"):
        return {
            "unet": UNetSpatioTemporalConditionModel(**spec["unet"]),
            "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**spec["clip"])),
            "first_stage": AutoencoderKLTemporalDecoder(down_block_types=down, **spec["vae"]),
            "embedder": AutoencoderKL(down_block_types=down, up_block_types=up, **spec["vae"]),
        }


def test_the_files_hold_as_many_values_as_the_published_ones(networks):
    """The first stage has its quantisation folded; CLIP's text tower is left over but for its layers."""
    folded = values(networks["first_stage"].quant_conv)
    # token and positional embeddings, text projection, last norm, logit scale of OpenCLIP ViT-H/14
    text = 49408 * 1024 + 77 * 1024 + 1024 * 1024 + 2 * 1024 + 1
    assert sum(map(values, networks.values())) - folded + text == PUBLISHED


def test_our_parts_have_the_names_and_shapes_of_the_whole(networks):
    spec = find_spec("svd-xt").architecture
    parts = {
        "unet": build_unet(spec["unet"]),
        "image_encoder": build_image_encoder(spec["clip"]),
        "embedder": build_vae_encoder(spec["vae"]),
    }
    for name, part in parts.items():
        whole = {key: tensor.shape for key, tensor in networks[name].state_dict().items()}
        for key, tensor in part.state_dict().items():
            assert tensor.device.type == "meta"
            assert whole[key] == tensor.shape, (name, key)
