"""Which clips stand in which batch: it follows from what they are and the seed, never from their order."""

import math

import numpy as np
import torch

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.types import Example

__all__ = ["by_identity", "draw_batches"]


def by_identity(clips: PackedFeatures) -> PackedFeatures:
    """Clips sorted by video and span, so that a table with its rows in another order trains the same head."""
    order = sorted(range(len(clips)), key=lambda index: _identity(clips.examples[index]))
    return clips if order == list(range(len(clips))) else clips.subset(order)


def draw_batches(
    lengths: torch.Tensor, *, batch_size: int, pool: int, generator: np.random.Generator
) -> list[torch.Tensor]:
    """An epoch's batches: every clip once, at random, in batches of like length.

    Clips are drawn at random for `pool` batches at a time, and these are formed by length. The pool is never
    more than a quarter of the epoch, or the batches of a small set would be the same in every epoch.

    Args:
        lengths: (N,) int64, tokens a clip.
        batch_size: Clips a batch; one batch may be shorter.
        pool: Batches formed together; 1 for batches at random.
        generator: Of what is drawn.

    Returns:
        (B,) int64 each, indices of clips; ceil(N / batch_size) batches.
    """
    order = torch.from_numpy(generator.permutation(len(lengths)))
    pool = min(pool, math.ceil(len(lengths) / batch_size) // 4)
    if pool <= 1:
        return list(order.split(batch_size))
    pools = [drawn[lengths[drawn].argsort(stable=True)] for drawn in order.split(pool * batch_size)]
    batches = torch.cat(pools).split(batch_size)
    return [batches[index] for index in generator.permutation(len(batches))]


def _identity(example: Example) -> tuple[str, float, float, tuple[str, ...]]:
    start = -math.inf if example.start_seconds is None else example.start_seconds
    end = math.inf if example.end_seconds is None else example.end_seconds
    return example.video, start, end, example.labels
