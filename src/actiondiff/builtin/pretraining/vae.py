"""Stage one: the autoencoder. The encoder ships with the backbone; the decoder makes the sample pictures."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.autoencoders.vae import Decoder
from torch import Tensor, nn
from torch.nn import functional as F

from actiondiff.backbones.svd.modules import VaeEncoder

__all__ = ["LATENT_STD", "Autoencoder", "autoencoder_loss", "crops", "standardise"]

LATENT_STD = 1 / 0.18215  # SVD multiplies latents by 0.18215 to bring them to unit size
_L1_WEIGHT = 0.3
_KL_WEIGHT = 1e-6  # as in latent diffusion: enough to keep the latents bounded


class Autoencoder(nn.Module):
    """SVD's encoder and an image decoder of the same widths.

    Args:
        config: Configuration with `block_out_channels`, `layers_per_block`, `latent_channels`,
            `norm_num_groups`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = VaeEncoder(config)
        channels = tuple(config["block_out_channels"])
        self.decoder = Decoder(
            in_channels=config["latent_channels"],
            out_channels=3,
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=channels,
            layers_per_block=config["layers_per_block"],
            norm_num_groups=config["norm_num_groups"],
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images: (N, 3, H, W) in [-1, 1] -> mean and log-variance, (N, 4, H/4, W/4) each."""
        mean, log_variance = self.encoder(images)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents: (N, 4, h, w) -> images (N, 3, 4h, 4w)."""
        images: Tensor = self.decoder(latents)
        return images


def autoencoder_loss(
    model: Autoencoder, images: Tensor, noise: Tensor, *, chroma_weight: float
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a reconstruction, and its quality: `psnr` in dB and `chroma`, the share of colour that is lost.

    Args:
        model: The autoencoder.
        images: (N, 3, H, W) in [-1, 1].
        noise: Standard normal noise in the latents' shape.
        chroma_weight: Weight of the squared error of colour, which is an image minus its brightness.
    """
    mean, log_variance = model.encode(images)
    decoded = model.decode(mean + (log_variance / 2).exp() * noise)
    squared = F.mse_loss(decoded, images)
    lost = _chroma(decoded - images).square().mean()
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3)).mean()
    loss = squared + _L1_WEIGHT * F.l1_loss(decoded, images)
    quality = {
        "psnr": float(10 * torch.log10(4 / squared.detach())),
        "chroma": float(lost.detach() / _chroma(images).square().mean()),
    }
    return loss + chroma_weight * lost + _KL_WEIGHT * divergence, quality


def _chroma(images: Tensor) -> Tensor:
    return images - images.mean(dim=1, keepdim=True)


def crops(clips: Tensor, side: int, random: torch.Generator) -> Tensor:
    """One square crop per clip at a random place and frame: (N, T, 3, H, W) -> (N, 3, side, side)."""
    N, T, _, H, W = clips.shape
    high = torch.tensor([T, H - side + 1, W - side + 1])
    corners = (torch.rand(N, 3, generator=random) * high).long().tolist()
    return torch.stack(
        [clip[t, :, y : y + side, x : x + side] for clip, (t, y, x) in zip(clips, corners, strict=True)]
    )


@torch.no_grad()
def standardise(model: Autoencoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Change the encoder so that its latents have mean 0 and the standard deviation of SVD's.

    The change is made in the weights of the quantisation convolution. The decoder is not changed: decode
    `latents * scale + shift` afterwards.

    Args:
        model: A trained autoencoder, changed in place.
        images: (N, 3, H, W) images on which the latents are measured.

    Returns:
        Scale (a scalar) and shift (4, 1, 1) that undo the change.
    """
    mean, _ = model.encode(images)
    shift = mean.mean(dim=(0, 2, 3))
    scale = mean.std() / LATENT_STD
    half = len(shift)
    weight, bias = (model.encoder.get_parameter(f"quant_conv.{name}") for name in ("weight", "bias"))
    weight[:half] /= scale
    bias[:half] = (bias[:half] - shift) / scale
    bias[half:] -= 2 * scale.log()
    return scale, shift[:, None, None]
