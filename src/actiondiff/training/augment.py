"""Mixup: a batch mixed with a shuffled copy of itself."""

import numpy as np
import torch

from actiondiff.datasets.packing import Batch

__all__ = ["draw_mixup", "mixup"]


def draw_mixup(alpha: float, batch_size: int, generator: np.random.Generator) -> tuple[float, torch.Tensor]:
    """Share that clips keep, from Beta(alpha, alpha), and each clip's partner: (batch_size,) int64."""
    share = float(generator.beta(alpha, alpha)) if alpha else 1.0
    return share, torch.from_numpy(generator.permutation(batch_size))


def mixup(batch: Batch, *, share: float, partner: torch.Tensor) -> Batch:
    """Mix tokens and targets; the mask stays each clip's own.

    So what a longer partner has beyond a clip's end is hidden, and zeros are mixed in where it is shorter.

    Source: Zhang et al. 2018; the mask's part in it as in the released code.

    Args:
        batch: B clips.
        share: Of a clip itself, in [0, 1]; the partner has the rest.
        partner: (B,) int64, index of each clip's partner in the batch.
    """
    partner = partner.to(batch.tokens.device)
    return Batch(
        tokens=share * batch.tokens + (1 - share) * batch.tokens[partner],
        mask=batch.mask,
        targets=share * batch.targets + (1 - share) * batch.targets[partner],
    )
