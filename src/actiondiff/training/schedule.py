"""The learning rate over the course of training."""

import math

__all__ = ["rate_factor"]


def rate_factor(step: int, *, warmup_steps: int, total_steps: int) -> float:
    """Factor of the highest rate in optimizer step `step` (0-based): up in a line, down in half a cosine.

    The very first step has rate 0.

    Source: the released code.
    """
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
