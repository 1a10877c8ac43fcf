"""SVD's networks as modules without values on the meta device, from their configurations."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.autoencoders.vae import Encoder as VaeEncoderHalf
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from actiondiff.backbones.svd.fused import FusedVae
from actiondiff.backbones.svd.group_norm import with_exact_statistics

__all__ = ["VaeEncoder", "build_image_encoder", "build_unet", "build_vae_encoder"]


class VaeEncoder(nn.Module):
    """Encoder of SVD's autoencoder, with its quantisation convolution where the checkpoint has one.

    Args:
        config: `block_out_channels`, `layers_per_block`, `latent_channels`, `scaling_factor`.
        quant_conv: Whether there is a quantisation convolution.

    Attributes:
        fused: Whether `fused.py` computes the pass.
    """

    def __init__(self, config: Mapping[str, Any], *, quant_conv: bool = True) -> None:
        super().__init__()
        channels = tuple(config["block_out_channels"])
        latent = config.get("latent_channels", 4)
        self.encoder = VaeEncoderHalf(
            in_channels=3,
            out_channels=latent,
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            block_out_channels=channels,
            layers_per_block=config.get("layers_per_block", 2),
            norm_num_groups=config.get("norm_num_groups", 32),
            double_z=True,
        )
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1) if quant_conv else nn.Identity()
        self.fused = False
        self._fused_pass: FusedVae | None = None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) in [-1, 1] -> mean and log-variance of the posterior, each (N, 4, H/f, W/f).

        The log-variance is clipped to [-30, 20]. Source: the latent diffusion release.
        """
        moments = self._run_fused(images) if self.fused else self.quant_conv(self.encoder(images))
        mean, log_variance = moments.chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def _run_fused(self, images: Tensor) -> Tensor:
        if self._fused_pass is None:
            self._fused_pass = FusedVae(self)
        return self._fused_pass(images)


def build_unet(config: Mapping[str, Any]) -> UNetSpatioTemporalConditionModel:
    """Build the U-Net of diffusers on the meta device."""
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel(**config)
    return unet.to("meta")  # mix factors ignore the device context


def build_vae_encoder(
    config: Mapping[str, Any], *, quant_conv: bool = True, exact_norm: bool = False
) -> VaeEncoder:
    """Build the VAE's encoder on the meta device; `exact_norm` gives it `ExactGroupNorm`."""
    with torch.device("meta"):
        vae = VaeEncoder(config, quant_conv=quant_conv)
    return with_exact_statistics(vae) if exact_norm else vae


def build_image_encoder(config: Mapping[str, Any]) -> CLIPVisionModelWithProjection:
    """Build CLIP's image encoder on the meta device, except for its position numbers, which are computed."""
    with torch.device("meta"):
        model = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    embeddings = model.vision_model.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions)[None]
    return model
