"""Mixup: a batch is mixed with a shuffled copy of itself."""

import numpy as np
import torch

from actiondiff.datasets.packing import Batch

__all__ = ["draw_mixup", "mixup"]


def draw_mixup(alpha: float, batch_size: int, generator: np.random.Generator) -> tuple[float, torch.Tensor]:
    """Draw how a batch is mixed.

    Args:
        alpha: Parameter of the Beta distribution; 0 leaves the batch as it is.
        batch_size: Number of clips in the batch.
        generator: Random generator.

    Returns:
        The share that each clip keeps of itself, drawn from Beta(alpha, alpha), and the index of each clip's
        partner, (batch_size,) int64.
    """
    share = float(generator.beta(alpha, alpha)) if alpha else 1.0
    return share, torch.from_numpy(generator.permutation(batch_size))


def mixup(batch: Batch, *, share: float, partner: torch.Tensor) -> Batch:
    """Mix tokens and targets of each clip with those of its partner. Each clip keeps its own mask.

    Thus the tokens of a longer partner beyond the clip's end are masked, and where the partner is shorter,
    zeros are mixed in.

    Source: Zhang et al. 2018; the mask is treated as in the released code.

    Args:
        batch: B clips.
        share: Share of the clip itself, in [0, 1]; the partner has the rest.
        partner: (B,) int64, index of each clip's partner in the batch.
    """
    partner = partner.to(batch.tokens.device)
    return Batch(
        tokens=share * batch.tokens + (1 - share) * batch.tokens[partner],
        mask=batch.mask,
        targets=share * batch.targets + (1 - share) * batch.targets[partner],
    )
