"""What the features of a row take: parameters, arithmetic per second of video, and what was seen before."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from actiondiff.backbones.base import Backbone, find_spec
from actiondiff.experiments.grid import BackboneChoice
from actiondiff.types import Frames

__all__ = ["BackboneCost", "known_cost", "measured_cost", "teraflop_per_frame"]

_VIDEO_FPS = 25.0  # of the video that a second is counted for


@dataclass(frozen=True)
class BackboneCost:
    """What a second of video at 25 frames per second takes.

    Attributes:
        parameters: Those that are loaded; None if not known.
        teraflop: 10^12 operations per second of video; None if not known.
        pretraining: What the backbone saw.
    """

    parameters: int | None
    teraflop: float | None
    pretraining: str


def known_cost(extraction: BackboneChoice, layer: str) -> BackboneCost:
    """Of a published backbone, from `backbones.yaml`; nothing is known of others.

    Args:
        extraction: The backbone and its options.
        layer: The deepest that is read, like `layer9`.
    """
    entry = _published().get(extraction.backbone)
    if entry is None:
        return BackboneCost(None, None, find_spec(extraction.backbone).title)
    per_frame = teraflop_per_frame(extraction, layer)
    assert per_frame is not None  # the same entry says so
    return BackboneCost(entry["parameters"], per_frame * _rate(extraction), entry["pretraining"])


def teraflop_per_frame(extraction: BackboneChoice, layer: str, *, num_timesteps: int = 1) -> float | None:
    """10^12 operations a sampled frame; None where they are not known.

    Args:
        extraction: The backbone and its options.
        layer: The deepest that is read, like `layer9`.
        num_timesteps: Passes of the U-Net; all else is done once.
    """
    entry = _published().get(extraction.backbone)
    if entry is None:
        return None
    parts = entry["teraflop"]
    return _svd(parts, extraction, layer, num_timesteps) if isinstance(parts, dict) else float(parts)


def measured_cost(backbone: Backbone, extraction: BackboneChoice, layer: str) -> BackboneCost:
    """Of a backbone that is at hand, by counting the operations of one pass."""
    size = (backbone.options.window or 1) * (backbone.options.batch or 1)
    shape = (size, backbone.options.height or 64, backbone.options.width or 64, 3)
    frames = Frames(
        pixels=np.zeros(shape, dtype=np.uint8), seconds=np.arange(size) / _VIDEO_FPS,
        frame_index=np.arange(size), identity="0" * 64,
    )  # fmt: skip
    # Only attention that is written out in matrix products is counted on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.extract(frames, layers=[layer])
    per_frame = counter.get_total_flops() / size / 1e12
    return BackboneCost(None, per_frame * _rate(extraction), backbone.spec.title)


def _svd(parts: dict[str, Any], extraction: BackboneChoice, layer: str, num_timesteps: int) -> float:
    """Released draws take a second pass of the VAE; layers between the counted ones as the next deeper."""
    number = int(layer.removeprefix("layer")) if layer.startswith("layer") else 13
    unet: float = next(flop for depth, flop in parts["unet"].items() if depth >= number)
    if not extraction.temporal:
        unet *= 1 - parts["temporal_share"]
    vae = float(parts["vae"]) * (2 if extraction.stochastic else 1)
    return vae + float(parts["clip"]) + num_timesteps * unet


def _rate(extraction: BackboneChoice) -> float:
    """Sampled frames per second of video."""
    return extraction.fps if extraction.fps else _VIDEO_FPS / (extraction.stride or 1)


@cache
def _published() -> dict[str, dict[str, Any]]:
    text = resources.files("actiondiff.paper").joinpath("backbones.yaml").read_text("utf-8")
    values: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return values
