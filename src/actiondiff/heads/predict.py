"""From a head and clips to probabilities: the one place where a head is applied outside training."""

from itertools import pairwise
from typing import Literal, TypeAlias

import torch

from actiondiff.datasets.loading import PackedFeatures
from actiondiff.heads.inputs import Head
from actiondiff.types import Array

__all__ = ["Activation", "predict_probabilities", "split_spans"]

Activation: TypeAlias = Literal["softmax", "sigmoid"]
"""`softmax` for single-label tasks, `sigmoid` for multi-label ones, whatever the loss was."""


def split_spans(num_tokens: int, max_tokens: int) -> list[slice]:
    """Cut a clip into as few spans of at most `max_tokens` as hold it, as equal in length as can be.

    >>> split_spans(7, 3)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    count = -(-num_tokens // max_tokens)
    edges = [num_tokens * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def predict_probabilities(
    head: Head,
    packed: PackedFeatures,
    activation: Activation,
    *,
    long_clips: Literal["spans", "cut"] = "spans",
    batch_clips: int = 64,
) -> Array:
    """Probabilities of clips.

    Clips of like length share a batch; what else is in a batch changes a result by rounding only (1e-6).

    Args:
        head: Any; it is left in the mode (training or not) it was in.
        packed: The clips; moved to the head's device batch by batch.
        activation: From logits to probabilities.
        long_clips: Clips longer than the head's `max_tokens`: `spans` averages over spans of the whole clip,
            `cut` sees the first `max_tokens` only, as the released code does.
        batch_clips: Spans a batch; a matter of memory.

    Returns:
        (N, K) float32, in [0, 1].
    """
    limit = head.options.max_tokens
    starts, lengths, owners = [], [], []
    for clip, (offset, length) in enumerate(
        zip(packed.offsets.tolist(), packed.lengths.tolist(), strict=False)
    ):
        spans = split_spans(length, limit) if long_clips == "spans" else [slice(0, min(length, limit))]
        starts += [offset + span.start for span in spans]
        lengths += [span.stop - span.start for span in spans]
        owners += [clip] * len(spans)
    start, length, owner = (torch.tensor(values, dtype=torch.int64) for values in (starts, lengths, owners))
    device = next(head.parameters()).device
    totals = torch.zeros(len(packed), head.num_classes)
    was_training = head.training
    head.eval()
    try:
        with torch.inference_mode():
            for chosen in length.argsort(stable=True).split(batch_clips):
                tokens, mask = packed.gather(start[chosen], length[chosen])
                logits = head(tokens.to(device), mask.to(device)).float()
                values = logits.softmax(-1) if activation == "softmax" else logits.sigmoid()
                totals.index_add_(0, owner[chosen], values.cpu())
    finally:
        head.train(was_training)
    averages: Array = (totals / owner.bincount(minlength=len(packed))[:, None]).numpy()
    return averages
