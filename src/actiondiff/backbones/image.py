"""DINOv3, an image model, as a frozen backbone: a control that sees each frame by itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from actiondiff.backbones.base import BackboneSpec, WindowBatch, resolve
from actiondiff.backbones.frozen import find_tensors
from actiondiff.backbones.options import FitOptions
from actiondiff.backbones.vit import VisionTransformer
from actiondiff.errors import UsageError

__all__ = ["DINOv3", "build_dinov3", "load"]


class DINOv3(VisionTransformer):
    """DINOv3 on each frame by itself. Its taps are `layer1` .. `layerN` (patches) and `cls` (class token)."""

    blocks = "model.layer"
    norm = "norm"

    def _embed(self, pixels: Tensor) -> tuple[Tensor, Any]:
        frames = pixels.flatten(0, 1)
        return self.parts["embeddings"](frames), self.parts["rope_embeddings"](frames)

    def _block(self, block: Any, tokens: Tensor, context: Any) -> Tensor:
        output: Tensor = block(tokens, position_embeddings=context)
        return output

    def _grid(self, tokens: Tensor, windows: WindowBatch) -> Tensor:
        B, L, _, H, W = windows.pixels.shape
        architecture = self.spec.architecture["encoder"]
        patch, first = architecture["patch_size"], 1 + architecture["num_register_tokens"]
        patches = tokens[:, first:].unflatten(1, (H // patch, W // patch))  # (B L, h, w, C)
        return patches.permute(0, 3, 1, 2).unflatten(0, (B, L))

    def _extra(self, tokens: Tensor, windows: WindowBatch) -> Tensor:
        return tokens[:, 0, :, None, None].unflatten(0, windows.pixels.shape[:2])


def build_dinov3(architecture: Mapping[str, Any]) -> DINOv3ViTModel:
    """Build the network on the meta device, except for its rotation frequencies, which are not weights.

    Args:
        architecture: Arguments of `transformers.DINOv3ViTConfig`.
    """
    config = DINOv3ViTConfig(**architecture)
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = DINOv3ViTModel(config)
    head = config.hidden_size // config.num_attention_heads
    model.rope_embeddings.inv_freq = 1 / config.rope_theta ** torch.arange(0, 1, 4 / head)
    return model


def load(spec: BackboneSpec, options: FitOptions, weights: str | Path | None) -> DINOv3:
    """Load DINOv3 from the folder that transformers loads.

    Raises:
        UsageError: If an option does not fit.
        WeightsError: If the weights are missing or of another model or size.
    """
    options = resolve(spec, options)
    architecture = spec.architecture["encoder"]
    patch = architecture["patch_size"]
    if (options.height or 0) % patch or (options.width or 0) % patch:
        raise UsageError(
            f"height and width of {spec.name} must be multiples of {patch}; "
            f"got {options.height}x{options.width}."
        )
    model = build_dinov3(architecture)
    tensors = find_tensors(spec, options, weights, "dinov3", {"encoder": lambda: model})
    depth = architecture["num_hidden_layers"]
    return DINOv3(spec, options, tensors, model, depth=depth, extra_taps=["cls"])
