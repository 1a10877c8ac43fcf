"""Counts the operations of a window on the meta device, where nothing is computed and no weights are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from actiondiff.backbones.base import (
    RANDOM,
    BackboneSpec,
    WindowBatch,
    build_backbone,
    shipped_specs,
)
from actiondiff.backbones.engine.encoding import EncodedWindows, TwoStage
from actiondiff.backbones.engine.track import TRACK_CHANNELS, network_keys
from actiondiff.backbones.options import BackboneOptions
from actiondiff.types import TRACK, FeatureKey

__all__ = ["WindowCost", "count_window"]

_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class WindowCost:
    """Operations and sizes of one window.

    Attributes:
        flop: Number of operations: twice the multiply-adds of matrix products, convolutions and attention.
        flop_of_latents: Number of operations that remain where the result of the first stage was stored.
        widths: Feature -> number of channels C.
        latent_bytes: Size of the stored result of the first stage; 0 for backbones with one stage.
    """

    flop: float
    flop_of_latents: float
    widths: Mapping[FeatureKey, int]
    latent_bytes: int


def count_window(
    spec: BackboneSpec, options: BackboneOptions, keys: Sequence[FeatureKey]
) -> WindowCost | None:
    """Operations and sizes of one window; None for a backbone that is not in `specs.yaml`.

    Args:
        spec: The backbone's spec.
        options: Its resolved options.
        keys: Features that are computed.

    Raises:
        UsageError: If the options do not fit together.
    """
    asked = keys
    keys = network_keys(asked) or [FeatureKey.of(spec.timestep, spec.layer)]
    name = spec.name.removeprefix(RANDOM)
    if name not in shipped_specs():
        return None
    chosen = options.on_meta()
    # The spec itself, as that of a student says more than the one under its name.
    change = {"name": RANDOM + name, "weights": "random"} if spec.architecture else {}
    shapes = spec.model_copy(update=change)
    backbone = build_backbone(shapes, chosen)
    size = (1, chosen.window or 1, 3, chosen.height or 1, chosen.width or 1)
    batch = WindowBatch(torch.empty(size, device="meta"), (size[1],), ("",), (0,))
    whole, rest = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with torch.inference_mode():
        with whole:
            maps = backbone.maps(batch, keys)
        encoded = None
        if isinstance(backbone, TwoStage):
            encoded = backbone.encode(batch, keys)
            with rest:
                backbone.maps_from(encoded, keys)
    return WindowCost(
        flop=float(whole.get_total_flops()),
        flop_of_latents=float(rest.get_total_flops()),
        widths={key: TRACK_CHANNELS if key.layer == TRACK else maps[key].shape[2] for key in asked},
        latent_bytes=_stored_bytes(encoded) if encoded else 0,
    )


def _stored_bytes(encoded: EncodedWindows) -> int:
    """Bytes on disk; tensors that are multiples of others, as they usually are, are not stored."""
    tensors = encoded.tensors().items()
    return sum(_FLOAT32_BYTES * tensor.numel() for name, tensor in tensors if name not in encoded.multiples)
