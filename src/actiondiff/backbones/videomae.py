"""VideoMAE v2 as a frozen backbone: the encoder before any fine-tuning, in transformers' VideoMAE classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEModel

from actiondiff.backbones.base import BackboneSpec, resolve
from actiondiff.backbones.frozen import find_tensors
from actiondiff.backbones.options import VideoMAEOptions, VideoTransformerOptions
from actiondiff.backbones.vit import VideoTransformer, check_size
from actiondiff.errors import UsageError
from actiondiff.types import JSON

__all__ = ["VideoMAE", "build_videomae", "check_table", "load"]


class VideoMAE(VideoTransformer):
    """Backbone of the networks with VideoMAE's blocks: VideoMAE v2 and V-JEPA."""

    @property
    def settings(self) -> dict[str, JSON]:
        """See `Backbone.settings`; the usual normalisation is left out, as in stores of earlier versions."""
        values = super().settings
        return {name: value for name, value in values.items() if (name, value) != ("normalise", "imagenet")}

    def _normalised(self, pixels: Tensor) -> Tensor:
        options = self.options
        if isinstance(options, VideoMAEOptions) and options.normalise == "none":
            return pixels
        return super()._normalised(pixels)

    def _embed(self, pixels: Tensor) -> tuple[Tensor, Any]:
        return self.parts["embeddings"](pixels, None), None  # no patch is masked


def build_videomae(architecture: Mapping[str, Any], *, key_bias: bool = False) -> VideoMAEModel:
    """Build the network on the meta device; its table of positions is computed and not a weight.

    Args:
        architecture: Arguments of `transformers.VideoMAEConfig`.
        key_bias: Whether attention's keys have a bias, as queries and values do.
    """
    config = VideoMAEConfig(**architecture, use_mean_pooling=False)  # so that the final norm is kept
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = VideoMAEModel(config)
        for layer in model.encoder.layer:  # whatever this version of transformers gives them
            layer.attention.attention.key = nn.Linear(config.hidden_size, config.hidden_size, bias=key_bias)
    return model


def check_table(spec: BackboneSpec, options: VideoTransformerOptions) -> None:
    """Check that frames fit the table of positions, which holds for one window and one size.

    Raises:
        UsageError: If the options ask for another window or size.
    """
    architecture = spec.architecture["encoder"]
    check_size(spec, options, side=architecture["image_size"])
    if options.window != architecture["num_frames"]:
        raise UsageError(
            f"{spec.name} has a table of positions for {architecture['num_frames']} frames: window must be "
            f"{architecture['num_frames']}; got {options.window}."
        )


def load(spec: BackboneSpec, options: VideoMAEOptions, weights: str | Path | None) -> VideoMAE:
    """Load VideoMAE v2 from the original pre-training checkpoint or the hub's folder, whose code is not run.

    Deviation: the hub's own code pools all tokens of a window before its final norm. Here the norm comes
    first, as in the original's pre-training, because tokens are pooled per step.

    Raises:
        UsageError: If an option does not fit.
        WeightsError: If the weights are missing, fine-tuned or of another size.
    """
    options = resolve(spec, options)
    check_table(spec, options)
    architecture = spec.architecture["encoder"]
    model = build_videomae(architecture)
    tensors = find_tensors(spec, options, weights, "videomae_v2", {"encoder": lambda: model})
    return VideoMAE(spec, options, tensors, model, depth=architecture["num_hidden_layers"])
