"""How unlike the pictures that a student learnt from those of a window are.

A student answers what is new with what it knows, so that its tokens look familiar. Its pictures do not: a few
statistics of them, which nothing has learnt, are compared with those of the videos that it learnt from.
"""

import numpy as np
import torch
from torch import Tensor, nn

from actiondiff.types import DoubleArray

__all__ = ["NUM_STATISTICS", "PictureSpace", "picture_statistics"]

NUM_STATISTICS = 15
"""Number of statistics: five of each of the three colours."""
_NUM_CHANGES = 3  # the last of them, which need two frames


class PictureSpace(nn.Module):
    """The distribution of the statistics of the windows that a student learnt from.

    Its distance is a Mahalanobis distance, as a multiple of the bound. Without values it is 0.
    """

    centre: Tensor  # (15,)
    whitening: Tensor  # (15, 15)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(NUM_STATISTICS))
        self.register_buffer("whitening", torch.zeros(NUM_STATISTICS, NUM_STATISTICS))

    def fill(self, centre: DoubleArray, precision: DoubleArray) -> None:
        """Take a centre (15,) and an inverse covariance (15, 15) in which a distance of 1 is the bound."""
        self.centre.copy_(torch.from_numpy(centre))
        self.whitening.copy_(torch.from_numpy(np.linalg.cholesky(precision).T.copy()))

    def forward(self, pixels: Tensor, num_real: Tensor) -> Tensor:
        """Distances of windows: (B, L, 3, H, W) in [-1, 1] and their numbers of real frames (B,) -> (B,)."""
        offsets = picture_statistics(pixels, num_real) - self.centre
        # A single frame does not change; the usual change is assumed.
        rest, changes = offsets.split((NUM_STATISTICS - _NUM_CHANGES, _NUM_CHANGES), dim=-1)
        offsets = torch.cat([rest, torch.where(num_real[:, None] < 2, 0, changes)], dim=-1)
        distances: Tensor = torch.linalg.vector_norm(offsets @ self.whitening.T, dim=-1)
        return distances


def picture_statistics(pixels: Tensor, num_real: Tensor) -> Tensor:
    """What the pictures of windows look like, on average over their real frames.

    Args:
        pixels: (B, L, 3, H, W) in [-1, 1].
        num_real: (B,), numbers of leading frames that are no padding.

    Returns:
        (B, 15) float32: of each colour its mean, its contrast (deviation within a picture), its mean steps
        from pixel to pixel along rows and along columns, and from frame to frame.
    """
    pixels = pixels.float()
    real = (torch.arange(pixels.shape[1], device=pixels.device) < num_real[:, None]).float()  # (B, L)
    whole = (-2, -1)
    frames = torch.cat(
        [
            pixels.mean(whole),
            pixels.std(whole, correction=0),
            pixels.diff(dim=-1).abs().mean(whole),
            pixels.diff(dim=-2).abs().mean(whole),
        ],
        dim=-1,
    )  # (B, L, 12)
    changes = pixels.diff(dim=1).abs().mean(whole)  # (B, L - 1, 3), each with a weight of the later frame
    means = [
        (values * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)
        for values, weights in ((frames, real), (changes, real[:, 1:]))
    ]
    return torch.cat(means, dim=-1)
