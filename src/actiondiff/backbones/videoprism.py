"""VideoPrism as a frozen backbone: a video encoder that attends within frames first, then along time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import VideoPrismVisionConfig, VideoPrismVisionModel

from actiondiff.backbones.base import BackboneSpec, WindowBatch, resolve
from actiondiff.backbones.frozen import Frozen, Parts, Weights, find_tensors
from actiondiff.backbones.options import FitOptions
from actiondiff.errors import UsageError
from actiondiff.types import FeatureKey

__all__ = ["VideoPrism", "build_videoprism", "load"]


class VideoPrism(Frozen):
    """VideoPrism's vision encoder, run block by block up to the deepest requested layer.

    Its taps are `layer1` .. `layerN`, first the blocks within frames, then those along time. Only the last
    one has passed the final norm, as the network's own output has.

    Args:
        spec: The backbone's spec.
        options: Resolved options.
        weights: Source of its tensors.
        model: The network on the meta device.
    """

    def __init__(self, spec: BackboneSpec, options: FitOptions, weights: Weights, model: Any) -> None:
        self._num_spatial = len(model.spatial_layers)
        self._depth = self._num_spatial + len(model.temporal_layers)
        super().__init__(spec, options, [f"layer{n}" for n in range(1, self._depth + 1)], weights)
        self.parts = Parts(model, "encoder", weights, self.device, self._dtype)

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Un-pooled outputs of a batch of windows; see `Backbone.maps`."""
        pixels = ((windows.pixels.to(self.device) + 1) / 2).to(self._dtype)  # the network takes [0, 1]
        numbers = {int(key.layer.removeprefix("layer")): key for key in keys}
        outputs: dict[FeatureKey, Tensor] = {}
        tokens = self.parts["spatial_embeddings"](pixels)  # (B L, h w, C)
        for number in range(1, max(numbers) + 1):
            if number == self._num_spatial + 1:
                tokens = self.parts["layernorm1"](tokens)
                tokens = self.parts["temporal_embeddings"](tokens, pixels.shape)  # (B h w, L, C)
            tokens = self.parts[self._block_name(number)](tokens)
            if number == self._depth:
                tokens = self.parts["layernorm2"](tokens)
            if number in numbers:
                outputs[numbers[number]] = self._grid(tokens, windows, along_time=number > self._num_spatial)
        return outputs

    def _block_name(self, number: int) -> str:
        if number <= self._num_spatial:
            return f"spatial_layers.{number - 1}"
        return f"temporal_layers.{number - self._num_spatial - 1}"

    def _grid(self, tokens: Tensor, windows: WindowBatch, *, along_time: bool) -> Tensor:
        """Tokens (B L, h w, C), or (B h w, L, C) along time -> maps (B, L, C, h, w)."""
        B, L, _, H, W = windows.pixels.shape
        _, rows, columns = self.spec.architecture["encoder"]["tubelet_size"]
        h, w = H // rows, W // columns
        if along_time:
            return tokens.unflatten(0, (B, h, w)).permute(0, 3, 4, 1, 2)
        return tokens.unflatten(0, (B, L)).unflatten(2, (h, w)).permute(0, 1, 4, 2, 3)


def build_videoprism(architecture: Mapping[str, Any]) -> VideoPrismVisionModel:
    """Build the network on the meta device.

    Args:
        architecture: Arguments of `transformers.VideoPrismVisionConfig`.
    """
    config = VideoPrismVisionConfig(**architecture)
    config._attn_implementation = "eager"  # the only one that caps attention as the network was trained
    with torch.device("meta"):
        return VideoPrismVisionModel(config)


def load(spec: BackboneSpec, options: FitOptions, weights: str | Path | None) -> VideoPrism:
    """Load VideoPrism from the folder that transformers loads.

    Raises:
        UsageError: If an option does not fit.
        WeightsError: If the weights are missing or of another model or size.
    """
    options = resolve(spec, options)
    architecture = spec.architecture["encoder"]
    side, window = architecture["image_size"], architecture["num_frames"]
    if (options.height, options.width, options.window) != (side, side, window):
        raise UsageError(
            f"{spec.name} has tables of positions for {window} frames of {side}x{side} pixels only; got "
            f"{options.window} of {options.height}x{options.width}."
        )
    model = build_videoprism(architecture)
    tensors = find_tensors(spec, options, weights, "videoprism", {"encoder": lambda: model})
    return VideoPrism(spec, options, tensors, model)
