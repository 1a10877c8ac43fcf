"""Apply a head to clips: from packed tokens to probabilities. All prediction after training is done here."""

from itertools import pairwise
from typing import Literal, TypeAlias

import torch

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.heads.inputs import Head
from actiondiff.types import Array

__all__ = [
    "Activation",
    "activate",
    "average_spans",
    "clip_spans",
    "predict_probabilities",
    "span_logits",
    "split_spans",
]

Activation: TypeAlias = Literal["softmax", "sigmoid"]
"""`softmax` for single-label tasks and `sigmoid` for multi-label tasks, whatever the loss was."""


def split_spans(num_tokens: int, max_tokens: int) -> list[slice]:
    """Cut a clip into the fewest spans of at most `max_tokens`, of lengths as equal as possible.

    >>> split_spans(7, 3)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    count = -(-num_tokens // max_tokens)
    edges = [num_tokens * i // count for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def clip_spans(
    packed: PackedFeatures, max_tokens: int, *, long_clips: Literal["spans", "cut"] = "spans"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cut clips into spans that are short enough for a head; see `predict_probabilities`.

    Returns:
        For each span, (S,) int64 each: its first row of `packed.tokens`, its length, and its clip's number.
    """
    starts, lengths, owners = [], [], []
    for clip, (offset, length) in enumerate(
        zip(packed.offsets.tolist(), packed.lengths.tolist(), strict=False)
    ):
        spans = (
            split_spans(length, max_tokens) if long_clips == "spans" else [slice(0, min(length, max_tokens))]
        )
        starts += [offset + span.start for span in spans]
        lengths += [span.stop - span.start for span in spans]
        owners += [clip] * len(spans)
    start, length, owner = (torch.tensor(values, dtype=torch.int64) for values in (starts, lengths, owners))
    return start, length, owner


def span_logits(
    head: Head, packed: PackedFeatures, starts: torch.Tensor, lengths: torch.Tensor, *, batch: int = 64
) -> torch.Tensor:
    """Compute the logits of spans of packed tokens; spans of similar length share a batch.

    Args:
        head: The head. Its mode (training or evaluation) is the same afterwards.
        packed: Tokens, which are moved to the head's device batch by batch.
        starts: (S,) int64, the first row of `packed.tokens` of each span.
        lengths: (S,) int64, the length of each span, from 1 to the head's `max_tokens`.
        batch: Number of spans per batch, which affects memory and speed only.

    Returns:
        (S, K) float32 on the CPU, before temperature and activation.
    """
    device = next(head.parameters()).device
    logits = torch.zeros(len(starts), head.num_classes)
    was_training = head.training
    head.eval()
    try:
        with torch.inference_mode():
            for chosen in lengths.argsort(stable=True).split(batch):
                tokens, mask = packed.gather(starts[chosen], lengths[chosen])
                logits[chosen] = head(tokens.to(device), mask.to(device)).float().cpu()
    finally:
        head.train(was_training)
    return logits


def activate(logits: torch.Tensor, activation: Activation, temperature: float) -> torch.Tensor:
    """Turn logits (..., K) into probabilities."""
    scaled = logits / temperature
    return scaled.softmax(-1) if activation == "softmax" else scaled.sigmoid()


def average_spans(values: torch.Tensor, owners: torch.Tensor, count: int) -> torch.Tensor:
    """Average the values of each clip's spans: (S, K) -> (count, K).

    Args:
        values: (S, K), one row per span.
        owners: (S,) int64, the number of the clip that each span belongs to.
        count: Number of clips.
    """
    totals = torch.zeros(count, values.shape[1]).index_add_(0, owners, values)
    return totals / owners.bincount(minlength=count)[:, None]


def predict_probabilities(
    head: Head,
    packed: PackedFeatures,
    activation: Activation,
    *,
    long_clips: Literal["spans", "cut"] = "spans",
    batch_spans: int = 64,
) -> Array:
    """Predict the probabilities of clips, with the head's temperature.

    Spans of similar length share a batch. The other spans of a batch change a result by rounding only (1e-6).

    Args:
        head: The head. Its mode (training or evaluation) is the same afterwards.
        packed: The clips, which are moved to the head's device batch by batch.
        activation: How logits become probabilities.
        long_clips: How clips longer than the head's `max_tokens` are treated. `spans` averages over spans of
            the whole clip; `cut` uses the first `max_tokens` only, as the released code does.
        batch_spans: Number of spans per batch, which affects memory and speed only.

    Returns:
        (N, K) float32, in [0, 1].
    """
    starts, lengths, owners = clip_spans(packed, head.options.max_tokens, long_clips=long_clips)
    logits = span_logits(head, packed, starts, lengths, batch=batch_spans)
    values = activate(logits, activation, head.temperature)
    averages: Array = average_spans(values, owners, len(packed)).numpy()
    return averages
