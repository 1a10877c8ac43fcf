"""Reads a checkpoint's architecture from its tensors' shapes, and lists the tensors of an architecture."""

import functools
import inspect
import json
import math
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.autoencoders.vae import Encoder
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from actiondiff.errors import WeightsError

__all__ = [
    "CLIP_HEAD_DIM",
    "COMPONENTS",
    "LATENT_SCALE",
    "UNET_HEAD_DIM",
    "Config",
    "attention_heads",
    "attention_widths",
    "config_from_json",
    "config_from_shapes",
    "expected_shapes",
    "is_needed",
]

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Config = dict[str, Any]
"""Configuration of a network: arguments of its class, which are as various as the classes are."""

COMPONENTS = ("unet", "image_encoder", "vae", "latent_encoder")
UNET_HEAD_DIM = 64  # attention head width in SVD's published configuration
CLIP_HEAD_DIM = 80  # attention head width of OpenCLIP's ViT-H/14
LATENT_SCALE = 0.18215  # scaling factor of the VAE in SVD's published configuration

_ADDED_VALUES = 3  # frame rate, motion bucket and noise augmentation, embedded and concatenated
_NUM_LEVELS = 4  # levels of SVD's U-Net; a file may hold fewer of them
_NEEDED_OF_UNET = ("time_embedding.", "add_embedding.", "conv_in.", "down_blocks.", "mid_block.")


def is_needed(component: str, name: str) -> bool:
    """Whether layers 1 .. 13 can depend on a tensor, as they cannot on the U-Net's decoder half."""
    return component != "unet" or name.startswith(_NEEDED_OF_UNET)


def config_from_shapes(component: str, shapes: Shapes, *, head_dim: int | None, source: object) -> Config:
    """Constructor arguments of a component's class.

    Args:
        component: One of `COMPONENTS`.
        shapes: Name in diffusers or transformers -> shape.
        head_dim: Width of an attention head, which shapes do not tell; None: that of SVD.
        source: File that the shapes came from, for messages.

    Raises:
        WeightsError: If the shapes are not those of a network like SVD's.
    """
    read = {"unet": _unet, "image_encoder": _clip, "vae": _vae, "latent_encoder": _latent}[component]
    try:
        return read(shapes, head_dim)
    except (KeyError, IndexError, ValueError) as error:
        raise WeightsError(
            f"{source}: its {component} is not that of a Stable Video Diffusion model, or not all of it "
            f"({error}). Give svd.safetensors or svd_xt.safetensors."
        ) from None


def _unet(shapes: Shapes, head_dim: int | None) -> Config:
    if "down_blocks.0.resnets.0.temporal_res_block.conv1.weight" not in shapes:
        raise ValueError("it has no temporal modules, as image models have none")
    widths: list[int] = []
    for level in range(_NUM_LEVELS):
        kernel = shapes.get(f"down_blocks.{level}.resnets.0.spatial_res_block.conv1.weight")
        widths.append(kernel[0] if kernel else widths[-1])
    added = shapes["add_embedding.linear_1.weight"][1]
    return {
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes.get("conv_out.weight", (4,))[0],
        "block_out_channels": widths,
        "layers_per_block": 2,
        "num_attention_heads": [_heads("U-Net", width, head_dim or UNET_HEAD_DIM) for width in widths],
        "cross_attention_dim": shapes["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v.weight"][1],
        "addition_time_embed_dim": added // _ADDED_VALUES,
        "projection_class_embeddings_input_dim": added,
    }


def _clip(shapes: Shapes, head_dim: int | None) -> Config:
    width, channels, patch, _ = shapes["vision_model.embeddings.patch_embedding.weight"]
    num_patches = shapes["vision_model.embeddings.position_embedding.weight"][0] - 1  # less the class token
    return {
        "hidden_size": width,
        "intermediate_size": shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0],
        "projection_dim": shapes["visual_projection.weight"][0],
        "num_hidden_layers": _count(shapes, r"vision_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": _heads("image encoder", width, head_dim or CLIP_HEAD_DIM),
        "num_channels": channels,
        "image_size": math.isqrt(num_patches) * patch,
        "patch_size": patch,
        "hidden_act": "gelu",  # OpenCLIP's ViT-H/14 was trained with the exact function, not "quick_gelu"
        "layer_norm_eps": 1e-5,
    }


def _vae(shapes: Shapes, _: int | None) -> Config:
    levels = _count(shapes, r"encoder\.down_blocks\.(\d+)\.")
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "block_out_channels": [
            shapes[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels)
        ],
        "layers_per_block": _count(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "latent_channels": shapes["encoder.conv_out.weight"][0] // 2,  # mean and log-variance
        "scaling_factor": LATENT_SCALE,
    }


def _latent(shapes: Shapes, _: int | None) -> Config:
    return {**_vae(shapes, None), "use_quant_conv": any(name.startswith("quant_conv.") for name in shapes)}


def _heads(what: str, width: int, head_dim: int) -> int:
    if width % head_dim:
        option = "unet_head_dim" if what == "U-Net" else "clip_head_dim"
        raise WeightsError(
            f"the {what}'s width {width} is no multiple of the attention head width {head_dim}, which "
            f"shapes do not tell. Give {option}= (--{option.replace('_', '-')}) as the model was built."
        )
    return width // head_dim


def attention_heads(config: Mapping[str, Any]) -> list[int]:
    """Numbers of attention heads: one per level of a U-Net, a single one for an image encoder."""
    heads = config["num_attention_heads"]
    return list(heads) if isinstance(heads, list | tuple) else [heads] * len(attention_widths(config))


def attention_widths(config: Mapping[str, Any]) -> list[int]:
    """Widths that are divided among those heads."""
    if "attention_head_dim" in config:  # of a video diffusion transformer, whose width follows from it
        return [config["num_attention_heads"] * config["attention_head_dim"]]
    return list(config.get("block_out_channels") or [config["hidden_size"]])


def _count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number that the pattern's group matches in the names."""
    matches = (re.match(pattern, name) for name in names)
    return 1 + max((int(match[1]) for match in matches if match), default=-1)


_CLASSES = {
    "unet": ("UNetSpatioTemporalConditionModel",),
    "image_encoder": ("CLIPVisionModelWithProjection",),
    "vae": ("AutoencoderKLTemporalDecoder", "AutoencoderKL"),
    "latent_encoder": (),
}
_VAE_FIELDS = {
    "in_channels",
    "block_out_channels",
    "layers_per_block",
    "latent_channels",
    "norm_num_groups",
    "scaling_factor",
}
_CLIP_FIELDS = {
    "hidden_size",
    "intermediate_size",
    "projection_dim",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
}


def config_from_json(component: str, fields: Mapping[str, Any], *, source: object) -> Config:
    """Constructor arguments from a folder's config.json.

    Args:
        component: One of `COMPONENTS`.
        fields: Content of the file.
        source: The file, for messages.

    Raises:
        WeightsError: If it describes another class of model.
    """
    named = fields.get("_class_name") or next(iter(fields.get("architectures") or ()), None)
    if named is not None and named not in _CLASSES[component]:
        raise WeightsError(
            f"{source} describes another model: class {named}; allowed: {' or '.join(_CLASSES[component])}."
        )
    match component:
        case "unet":
            arguments = set(inspect.signature(UNetSpatioTemporalConditionModel.__init__).parameters) - {
                "self"
            }
        case "image_encoder":
            arguments = _CLIP_FIELDS
        case "latent_encoder":
            arguments = _VAE_FIELDS | {"use_quant_conv"}
        case _:
            arguments = _VAE_FIELDS
    return {name: value for name, value in fields.items() if name in arguments}


def expected_shapes(component: str, config: Mapping[str, Any]) -> Mapping[str, Shape]:
    """All tensors of a component with this configuration: name -> shape."""
    return _expected(component, json.dumps(config, sort_keys=True))


@functools.lru_cache(maxsize=16)
def _expected(component: str, config_json: str) -> Mapping[str, Shape]:
    config = json.loads(config_json)
    with torch.device("meta"):
        match component:
            case "unet":
                module: nn.Module = UNetSpatioTemporalConditionModel(**config)
            case "image_encoder":
                module = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
            case _:
                quant_conv = component == "vae" or config.get("use_quant_conv", False)
                module = _vae_encoder(config, quant_conv=quant_conv)
    return MappingProxyType({name: tuple(tensor.shape) for name, tensor in module.state_dict().items()})


def _vae_encoder(config: Mapping[str, Any], *, quant_conv: bool) -> nn.Module:
    channels = config["block_out_channels"]
    moments = 2 * config["latent_channels"]
    module = nn.Module()
    module.encoder = Encoder(
        in_channels=config.get("in_channels", 3),
        out_channels=config["latent_channels"],
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=config["layers_per_block"],
        norm_num_groups=config.get("norm_num_groups", 32),
        double_z=True,
    )
    if quant_conv:
        module.quant_conv = nn.Conv2d(moments, moments, 1)
    return module
