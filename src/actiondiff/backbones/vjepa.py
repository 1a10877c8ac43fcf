"""V-JEPA (2024, the paper's baseline) and V-JEPA 2, two different networks, as frozen backbones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import VideoMAEModel, VJEPA2Config, VJEPA2Model

from actiondiff.backbones.base import BackboneSpec, resolve
from actiondiff.backbones.frozen import find_tensors
from actiondiff.backbones.options import VideoTransformerOptions
from actiondiff.backbones.random_weights import RandomTensors
from actiondiff.backbones.videomae import VideoMAE, build_videomae, check_table
from actiondiff.backbones.vit import VideoTransformer, check_size

__all__ = ["VJEPA2", "build_vjepa", "build_vjepa2", "load_vjepa", "load_vjepa2", "position_table"]


def build_vjepa(architecture: Mapping[str, Any]) -> VideoMAEModel:
    """Build V-JEPA's encoder on the meta device.

    Its blocks are VideoMAE's, but its keys have a bias and its table of positions is part of the checkpoint.

    Args:
        architecture: Arguments of `transformers.VideoMAEConfig`.
    """
    model = build_videomae(architecture, key_bias=True)
    shape = model.embeddings.position_embeddings.shape
    del model.embeddings.position_embeddings
    model.embeddings.register_buffer("position_embeddings", torch.empty(shape, device="meta"))
    return model


def position_table(architecture: Mapping[str, Any]) -> Tensor:
    """V-JEPA's table of positions: (1, S h w, C) float32.

    Time, row and column have a third of the channels each (rounded up to an even number; channels beyond C
    are cut off). Each third is [sin(p w_k), cos(p w_k)] with w_k = 10000^(-k / K).

    Source: the original code with `uniform_power`, as the published configurations set it.
    """
    width = architecture["hidden_size"]
    side = architecture["image_size"] // architecture["patch_size"]
    steps = architecture["num_frames"] // architecture["tubelet_size"]
    K = -(-width // 6)  # frequencies per axis
    frequencies = 10000.0 ** (-torch.arange(K, dtype=torch.float64) / K)
    axes = (torch.arange(n, dtype=torch.float64) for n in (steps, side, side))
    places = torch.cartesian_prod(*axes)  # (S h w, 3): time, row, column
    angles = places[:, :, None] * frequencies  # (S h w, 3, K)
    table = torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)
    return table[None, :, :width].float()


def load_vjepa(spec: BackboneSpec, options: VideoTransformerOptions, weights: str | Path | None) -> VideoMAE:
    """Load V-JEPA from an original checkpoint, of which the target encoder is used.

    Raises:
        UsageError: If an option does not fit.
        WeightsError: If the weights are missing or of another model, such as V-JEPA 2.
    """
    options = resolve(spec, options)
    check_table(spec, options)
    architecture = spec.architecture["encoder"]
    model = build_vjepa(architecture)
    tensors = find_tensors(spec, options, weights, "vjepa", {"encoder": lambda: model})
    if isinstance(tensors, RandomTensors):  # weights are random, but positions are not
        del model.embeddings.position_embeddings
        model.embeddings.position_embeddings = position_table(architecture)
    return VideoMAE(spec, options, tensors, model, depth=architecture["num_hidden_layers"])


class VJEPA2(VideoTransformer):
    """V-JEPA 2's encoder. Positions are rotations: any even window and square of whole patches works."""

    embeddings = "encoder.embeddings"
    norm = "encoder.layernorm"

    def _block(self, block: Any, tokens: Tensor, context: Any) -> Tensor:
        output: Tensor = block(tokens, None)[0]
        return output


def build_vjepa2(architecture: Mapping[str, Any], *, side: int) -> VJEPA2Model:
    """Build V-JEPA 2 without its predictor on the meta device.

    Args:
        architecture: Arguments of `transformers.VJEPA2Config`.
        side: Side of the frames in pixels, which the network needs to number rows and frames.
    """
    config = VJEPA2Config(**architecture, crop_size=side, pred_num_hidden_layers=1)
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = VJEPA2Model(config)
    model.predictor = nn.Identity()
    return model


def load_vjepa2(spec: BackboneSpec, options: VideoTransformerOptions, weights: str | Path | None) -> VJEPA2:
    """Load V-JEPA 2 from the folder that transformers loads.

    Raises:
        UsageError: If an option does not fit.
        WeightsError: If the weights are missing or of another model or size.
    """
    options = resolve(spec, options)
    check_size(spec, options)
    architecture = spec.architecture["encoder"]
    model = build_vjepa2(architecture, side=int(options.height or 0))
    tensors = find_tensors(spec, options, weights, "vjepa2", {"encoder": lambda: model})
    return VJEPA2(spec, options, tensors, model, depth=architecture["num_hidden_layers"])
