"""The EDM noise schedule of Stable Video Diffusion, which gives timesteps their meaning.

A timestep is an index in the generative direction: 0 is the noisiest, larger is cleaner.
Source: Karras et al. 2022 (arXiv 2206.00364), equations 5 and 7, with the constants of the SVD release.
"""

import torch
from torch import Tensor

__all__ = ["SIGMA_MAX", "SIGMA_MIN", "input_scale", "noise_condition", "sigmas"]

SIGMA_MIN = 0.002  # SVD's sampler
SIGMA_MAX = 700.0  # SVD's sampler
_RHO = 7.0  # Karras et al. 2022, table 1


def sigmas(num_steps: int) -> Tensor:
    """Noise levels of all timesteps: (num_steps,) float32, falling from 700 to 0.002."""
    ramp = torch.linspace(0, 1, num_steps)
    low, high = SIGMA_MIN ** (1 / _RHO), SIGMA_MAX ** (1 / _RHO)
    return (high + ramp * (low - high)) ** _RHO


def input_scale(sigma: Tensor) -> Tensor:
    """c_in, the factor of the noisy latents: 1 / sqrt(sigma^2 + 1)."""
    return 1 / (sigma**2 + 1).sqrt()


def noise_condition(sigma: Tensor) -> Tensor:
    """c_noise, the noise level as the network sees it: 0.25 ln sigma."""
    return 0.25 * sigma.log()
