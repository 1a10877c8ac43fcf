"""Seeded random weights of Stable Video Diffusion in place of a checkpoint."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from actiondiff.backbones.random_weights import RandomTensors
from actiondiff.backbones.svd.modules import build_image_encoder, build_unet, build_vae_encoder
from actiondiff.checkpoints.architecture import Config

__all__ = ["RandomCheckpoint"]


class RandomCheckpoint(RandomTensors):
    """Random tensors of the components `unet`, `image_encoder` and `vae`.

    Args:
        architecture: `unet`, `clip` and `vae` configurations, as in `specs.yaml`.
        seed: Seed of all random draws.
        shapes_only: See `RandomTensors`.
    """

    one_vae = True
    latent_quant_conv = False

    def __init__(self, architecture: Mapping[str, Any], seed: int, *, shapes_only: bool = False) -> None:
        self.unet_config: Config = dict(architecture["unet"])
        self.clip_config: Config = dict(architecture["clip"])
        self.vae_config: Config = dict(architecture["vae"])
        build: dict[str, Callable[[], nn.Module]] = {
            "unet": lambda: build_unet(self.unet_config),
            "image_encoder": lambda: build_image_encoder(self.clip_config),
            "vae": lambda: build_vae_encoder(self.vae_config),
        }
        super().__init__(build, architecture, seed, shapes_only=shapes_only)
