"""Finds the batch size that is fastest for a backbone on this machine."""

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.engine.network import Network
from actiondiff.backbones.engine.track import network_keys
from actiondiff.backbones.engine.windows import WindowInput
from actiondiff.types import FeatureKey, Window

__all__ = ["choose_batch"]

_MOST = 32
_WORTH = 0.95  # a batch twice as large must take less than this share of the time per window
_ROOM = 0.8  # share of a GPU's memory that may be used; the rest is for large frames and other programs


def choose_batch(backbone: Backbone, keys: Sequence[FeatureKey]) -> int:
    """Set the backbone's batch to the size of 1, 2, 4 .. 32 that is fastest here and fits into memory.

    The batch belongs to a store's settings, because it decides how sums are rounded: a new store records it,
    and an existing store keeps what it recorded. Windows of noise are timed.

    Args:
        backbone: The backbone, whose options are changed.
        keys: Features that are to be extracted.

    Returns:
        Number of windows per batch.

    Raises:
        UsageError: If memory does not suffice for a single window.
    """
    size, best, least = 1, 1, math.inf
    _seconds_per_window(backbone, keys, size)  # loads the weights, which is not to be timed
    while size <= _MOST:
        seconds = _seconds_per_window(backbone, keys, size)
        if seconds is None or seconds > _WORTH * least:
            break
        best, least, size = size, seconds, 2 * size
    _set_batch(backbone, best)
    return best


def _seconds_per_window(backbone: Backbone, keys: Sequence[FeatureKey], size: int) -> float | None:
    """Time per window in a batch of this size; None if the batch does not fit into memory."""
    _set_batch(backbone, size)
    options = backbone.options
    on_gpu = options.device.startswith("cuda")
    network, items = Network(backbone, network_keys(keys)), [_noise_window(backbone)] * size
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(options.device)
    start = time.perf_counter()
    outputs = network.launch(items)
    for value in outputs.pooled.values():
        value.cpu()  # waits for the device
    seconds = (time.perf_counter() - start) / size
    if outputs.batch is not None:
        return None
    if on_gpu and size > 1:
        total = torch.cuda.get_device_properties(options.device).total_memory
        if torch.cuda.max_memory_allocated(options.device) > _ROOM * total:
            return None
    return seconds


def _set_batch(backbone: Backbone, size: int) -> None:
    # `Backbone.options` is read-only for type checkers, so that a family may narrow its type.
    setattr(backbone, "options", backbone.options.model_copy(update={"batch": size}))  # noqa: B010


def _noise_window(backbone: Backbone) -> WindowInput:
    options = backbone.options
    length = int(options.window or 1)
    shape = (length, options.height or 64, options.width or 64, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return WindowInput(
        window=Window(tuple(range(length)), length),
        identity="0" * 64,
        frame_index=np.arange(length),
        seconds=None,
        pixels=torch.from_numpy(pixels),
    )
