"""Sample pictures that show what the network has learnt so far."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from actiondiff.backbones.svd.backbone import LATENT_SCALE
from actiondiff.backbones.svd.schedule import sigmas
from actiondiff.builtin.pretraining.diffusion import Denoiser
from actiondiff.builtin.pretraining.options import WINDOW
from actiondiff.builtin.pretraining.vae import Autoencoder
from actiondiff.builtin.world.sheets import sheet

__all__ = ["denoise", "sample_sheet"]

_LEVELS = (0.5, 2.0, 10.0)
_STEPS = 25
_LAST_SIGMA = 0.02


def denoise(model: Denoiser, noised: Tensor, sigma: Tensor, latents: Tensor, embeddings: Tensor) -> Tensor:
    """The network's estimate of the clean latents; the arguments are those of `Denoiser.forward`.

    Source: Karras et al. 2022 (arXiv 2206.00364), equation 7, with SVD's c_skip and c_out.
    """
    level = sigma[:, None, None, None, None]
    predicted = model(noised, sigma, latents, embeddings)
    return noised / (level**2 + 1) - predicted * level / (level**2 + 1).sqrt()


@torch.no_grad()
def sample_sheet(
    model: Denoiser, autoencoder: Autoencoder, undo: tuple[Tensor, Tensor], clip: Tensor, *, seed: int = 0
) -> Image.Image:
    """A sheet of one clip: its frames, its reconstruction, denoised versions, and a sample from frame 1.

    Args:
        model: The network.
        autoencoder: The autoencoder, after `standardise`.
        undo: Scale and shift that its decoder expects; see `standardise`.
        clip: (T, 3, H, W) in [-1, 1]; its first window is used.
        seed: Seed of the noise.
    """
    frames = clip[None, :WINDOW]
    latents = autoencoder.encode(frames[0])[0][None]
    embeddings = model.embed(frames)
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(latents.shape, generator=random).to(latents)
    clean = LATENT_SCALE * latents

    def picture(values: Tensor) -> NDArray[np.uint8]:
        scale, shift = undo
        decoded = autoencoder.decode(values[0] / LATENT_SCALE * scale + shift)
        return _pixels(decoded)

    rows = {"clip": _pixels(frames[0]), "kept": picture(clean)}
    # What the network makes out through noise of several levels, without conditioning.
    nothing = torch.zeros_like(latents), torch.zeros_like(embeddings)
    for sigma in _LEVELS:
        estimate = denoise(model, clean + sigma * noise, latents.new_tensor([sigma]), *nothing)
        rows[f"noise {sigma:g}"] = picture(estimate)
    # A clip sampled from pure noise, conditioned on the first frame as in SVD.
    first = latents[:, :1].expand_as(latents), embeddings[:, :1].expand_as(embeddings)
    sample = noise * float(sigmas(_STEPS)[0])
    levels = [float(sigma) for sigma in sigmas(_STEPS) if sigma > _LAST_SIGMA]
    for sigma, following in zip(levels, [*levels[1:], 0.0], strict=True):
        estimate = denoise(model, sample, latents.new_tensor([sigma]), *first)
        sample = estimate + (sample - estimate) * (following / sigma)
    rows["from frame 1"] = picture(sample)
    return sheet(list(rows.values()), list(rows), [f"frame {number + 1}" for number in range(WINDOW)])


def _pixels(frames: Tensor) -> NDArray[np.uint8]:
    """(T, 3, H, W) in [-1, 1] -> (T, H, W, 3) uint8."""
    values: NDArray[np.float32] = frames.float().clamp(-1, 1).movedim(1, -1).cpu().numpy()
    return ((values + 1) * 127.5).round().astype(np.uint8)
