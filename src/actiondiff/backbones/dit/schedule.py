"""What each timestep of a video diffusion transformer stands for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusers import CogVideoXDDIMScheduler

__all__ = ["NoiseLevel", "noise_levels"]


@dataclass(frozen=True)
class NoiseLevel:
    """One timestep.

    Attributes:
        signal: Factor of the latents.
        noise: Factor of the noise, where noise is added.
        model_timestep: The number that the network is given.
    """

    signal: float
    noise: float
    model_timestep: float


def noise_levels(scheduler: Mapping[str, Any]) -> list[NoiseLevel]:
    """All timesteps of training, noisiest first, as everywhere in this package.

    Flow matching with N timesteps: index i is sigma = (N - i) / N, latents have the factor 1 - sigma, and the
    network is given N sigma. A sampler's shift only chooses which of these timesteps it visits, so it is not
    applied. Diffusion with `prediction_type: v_prediction`: index i is the published schedule's N - 1 - i.

    Args:
        scheduler: Fields of the published scheduler_config.json.
    """
    count = int(scheduler["num_train_timesteps"])
    if scheduler["prediction_type"] == "flow_prediction":
        shares = [(count - index) / count for index in range(count)]
        return [NoiseLevel(1 - share, share, count * share) for share in shares]
    powers = CogVideoXDDIMScheduler(**scheduler).alphas_cumprod.double().tolist()
    return [
        NoiseLevel(math.sqrt(max(powers[step], 0)), math.sqrt(1 - powers[step]), float(step))
        for step in reversed(range(count))
    ]
