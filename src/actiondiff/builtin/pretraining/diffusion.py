"""Stage two: the video diffusion model, SVD's U-Net with SVD's objective.

The conditioning differs from SVD's own training. SVD conditions every frame on the first one; here some or
all frames of a window may also be conditioned on themselves, because that is how features are extracted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.resnet import SpatioTemporalResBlock
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from actiondiff.backbones.svd.backbone import ADDED, LATENT_SCALE, clip_input
from actiondiff.backbones.svd.schedule import input_scale, noise_condition
from actiondiff.backbones.svd.taps import GROUP_NORM_EPS, UNetContext, apply_module, stages_of
from actiondiff.builtin.pretraining.options import PretrainingOptions

__all__ = ["Conditioning", "Denoiser", "choose_conditioning", "denoising_loss"]

_LEVELS = (0.1, 1.0, 10.0)  # sigmas between the log's bins


@dataclass(frozen=True)
class Conditioning:
    """Which frame each frame is conditioned on.

    Attributes:
        frame: (B, L) int64, index of the frame whose latent and embedding a frame receives.
        latents: (B, L) bool, whether a frame receives the latent; otherwise it receives zeros.
        embedding: (B, L) bool, whether a frame receives the embedding; otherwise it receives zeros.
    """

    frame: Tensor
    latents: Tensor
    embedding: Tensor

    def to(self, device: torch.device) -> "Conditioning":
        """The same conditioning on a device."""
        return Conditioning(self.frame.to(device), self.latents.to(device), self.embedding.to(device))


def choose_conditioning(
    num_windows: int, length: int, options: PretrainingOptions, random: torch.Generator
) -> Conditioning:
    """Draw the conditioning of a batch of windows.

    A share of the windows is conditioned on the first frame, a share on one frame at any place, and a share
    on all frames. In the remaining windows each frame is visible with a probability that is drawn for the
    window, so that the network must infer hidden frames from their neighbours. Latents and embeddings are
    dropped from whole windows, independently of each other.
    """
    kind = torch.rand(num_windows, 1, generator=random)
    at_random = torch.rand(num_windows, length, generator=random) < torch.rand(
        num_windows, 1, generator=random
    )
    own = torch.arange(length).expand(num_windows, -1)
    one = kind < options.first_frame + options.any_frame
    visible = one | (kind >= 1 - options.complete) | at_random
    dropped = torch.rand(2, num_windows, 1, generator=random) < options.dropout
    anywhere = torch.randint(length, (num_windows, 1), generator=random)
    reference = torch.where(kind < options.first_frame, 0, anywhere)
    return Conditioning(torch.where(one, reference, own), visible & ~dropped[0], visible & ~dropped[1])


class Denoiser(nn.Module):
    """SVD's U-Net and CLIP image encoder, trained together.

    Args:
        unet: Arguments of diffusers' U-Net.
        clip: Arguments of transformers' CLIP vision configuration.
    """

    def __init__(self, unet: Mapping[str, Any], clip: Mapping[str, Any]) -> None:
        super().__init__()
        self.unet = UNetSpatioTemporalConditionModel(**unet)
        self.image_encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**clip))
        for module in self.unet.modules():
            if isinstance(module, SpatioTemporalResBlock):
                for norm in module.modules():
                    if isinstance(norm, nn.GroupNorm):
                        norm.eps = GROUP_NORM_EPS  # SVD's own value, with which features are extracted

    def embed(self, frames: Tensor) -> Tensor:
        """Embed frames: (B, L, 3, H, W) in [-1, 1] -> (B, L, D)."""
        pixels = clip_input(frames.flatten(0, 1), self.image_encoder.config.image_size)
        embeddings: Tensor = self.image_encoder(pixel_values=pixels).image_embeds
        return embeddings.unflatten(0, frames.shape[:2])

    def forward(self, noised: Tensor, sigma: Tensor, latents: Tensor, embeddings: Tensor) -> Tensor:
        """Run the network on noisy latents.

        Args:
            noised: (B, L, 4, h, w), z + sigma n.
            sigma: (B,) noise level of each window.
            latents: (B, L, 4, h, w) conditioning latents, unscaled.
            embeddings: (B, L, D) image embedding for the spatial cross-attention of each frame; the temporal
                cross-attention uses the first frame's.

        Returns:
            (B, L, 4, h, w), the v-prediction.
        """
        B, L = noised.shape[:2]
        scaled = noised * input_scale(sigma)[:, None, None, None, None]
        sample = torch.cat([scaled, latents], dim=2).flatten(0, 1)
        embedding = self._embed_noise(sigma).repeat_interleave(L, 0)
        context = UNetContext(embeddings.flatten(0, 1)[:, None], embeddings[:, :1], L)
        # The encoder half; each stage's output is kept for the decoder.
        skipped = []
        for stage in stages_of(self.unet):
            for _, module in stage:
                sample = apply_module(module, sample, embedding, context)
            skipped.append(sample)
        skipped.pop()  # the middle block's output is the sample itself
        # The decoder half, written out so that each frame has an embedding of its own.
        for block in self.unet.up_blocks:
            attentions = getattr(block, "attentions", None)
            for number, resnet in enumerate(block.resnets):
                sample = torch.cat([sample, skipped.pop()], dim=1)
                sample = apply_module(resnet, sample, embedding, context)
                if attentions is not None:
                    sample = apply_module(attentions[number], sample, embedding, context)
            for upsampler in block.upsamplers or ():
                sample = upsampler(sample)
        sample = self.unet.conv_out(self.unet.conv_act(self.unet.conv_norm_out(sample)))
        return sample.unflatten(0, (B, L))

    def _embed_noise(self, sigma: Tensor) -> Tensor:
        unet = self.unet
        added = unet.add_time_proj(torch.tensor(ADDED, device=sigma.device)).reshape(1, -1)
        time: Tensor = unet.time_embedding(unet.time_proj(noise_condition(sigma)))
        extra: Tensor = unet.add_embedding(added)
        return time + extra


def denoising_loss(
    model: Denoiser,
    frames: Tensor,
    latents: Tensor,
    options: PretrainingOptions,
    random: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch of windows, and its mean for each range of noise levels.

    Args:
        model: The network.
        frames: (B, L, 3, H, W) in [-1, 1], input of the image encoder.
        latents: (B, L, 4, h, w), the frames' latents, unscaled.
        options: Noise distribution and conditioning.
        random: Random generator of the step.

    Source: Karras et al. 2022 (arXiv 2206.00364), table 1, with SVD's preconditioning, under which the
    denoising error weighted by 1 + sigma^-2 is the plain squared error of v.
    """
    B, L = frames.shape[:2]
    # Noise levels, noise and conditioning are drawn in this order: a step's draws follow from its generator.
    sigma = (options.noise_mean + options.noise_std * torch.randn(B, generator=random)).exp().to(latents)
    noise = torch.randn(latents.shape, generator=random).to(latents)
    chosen = choose_conditioning(B, L, options, random).to(latents.device)
    rows = torch.arange(B)[:, None]
    clean = LATENT_SCALE * latents
    noisy = _noised(latents, options, random)
    # Each frame receives the latent and the embedding of the frame that it is conditioned on.
    conditioning = noisy[rows, chosen.frame] * chosen.latents[:, :, None, None, None]
    embeddings = model.embed(frames)[rows, chosen.frame] * chosen.embedding[:, :, None]
    level = sigma[:, None, None, None, None]
    predicted = model(clean + level * noise, sigma, conditioning, embeddings)
    # (z - c_skip x) / c_out, with x = z + sigma n, c_skip = 1 / (sigma^2 + 1) and c_out = -sigma sqrt(c_skip)
    target = (noise - level * clean) / (level**2 + 1).sqrt()
    errors = (predicted.float() - target).square().mean(dim=(1, 2, 3, 4))
    return errors.mean(), _by_level(errors.detach(), sigma)


def _noised(latents: Tensor, options: PretrainingOptions, random: torch.Generator) -> Tensor:
    """Conditioning latents with noise of one level per window, as in SVD; unchanged without such noise."""
    if options.conditioning_noise_mean is None:
        return latents
    sizes = torch.randn(len(latents), 1, 1, 1, 1, generator=random) * options.conditioning_noise_std
    sigma = (options.conditioning_noise_mean + sizes).exp() / LATENT_SCALE
    return latents + (sigma * torch.randn(latents.shape, generator=random)).to(latents)


def _by_level(errors: Tensor, sigma: Tensor) -> dict[str, float]:
    bins = torch.bucketize(sigma, sigma.new_tensor(_LEVELS))
    names = [f"sigma<{level:g}" for level in _LEVELS] + [f"sigma>={_LEVELS[-1]:g}"]
    return {
        name: float(errors[bins == number].mean())
        for number, name in enumerate(names)
        if (bins == number).any()
    }
