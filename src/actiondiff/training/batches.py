"""Which clips make up which batch. It depends on the clips and the seed, never on the order of the clips."""

import math

import numpy as np
import torch

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.types import Example

__all__ = ["by_identity", "draw_batches"]


def by_identity(clips: PackedFeatures) -> PackedFeatures:
    """Sort clips by video, span and labels, so that the order of a table's rows does not change the head."""
    order = sorted(range(len(clips)), key=lambda index: _sort_key(clips.examples[index]))
    return clips if order == list(range(len(clips))) else clips.subset(order)


def draw_batches(
    lengths: torch.Tensor, *, batch_size: int, pool: int, generator: np.random.Generator
) -> list[torch.Tensor]:
    """Draw the batches of one epoch: every clip occurs once, and the clips of a batch have similar lengths.

    Clips are drawn at random for `pool` batches at a time, then sorted into these batches by length. The pool
    is at most a quarter of the epoch; otherwise the batches of a small set would be the same in every epoch.

    Args:
        lengths: (N,) int64, number of tokens of each clip.
        batch_size: Number of clips per batch; one batch may be smaller.
        pool: Number of batches that are formed together; 1 forms all batches at random.
        generator: Random generator.

    Returns:
        ceil(N / batch_size) batches, each (B,) int64 indices of clips.
    """
    order = torch.from_numpy(generator.permutation(len(lengths)))
    pool = min(pool, math.ceil(len(lengths) / batch_size) // 4)
    if pool <= 1:
        return list(order.split(batch_size))
    pools = [drawn[lengths[drawn].argsort(stable=True)] for drawn in order.split(pool * batch_size)]
    batches = torch.cat(pools).split(batch_size)
    return [batches[index] for index in generator.permutation(len(batches))]


def _sort_key(example: Example) -> tuple[str, float, float, tuple[str, ...]]:
    """Sort key of an example: its video, its span and its labels."""
    start = -math.inf if example.start_seconds is None else example.start_seconds
    end = math.inf if example.end_seconds is None else example.end_seconds
    return example.video, start, end, example.labels
