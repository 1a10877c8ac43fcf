"""How many windows should pass a backbone together on this machine."""

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.engine.network import Network
from actiondiff.backbones.engine.windows import WindowInput
from actiondiff.types import FeatureKey, Window

__all__ = ["choose_batch"]

_MOST = 32
_WORTH = 0.95  # of the time a window takes in half the batch: a larger batch that saves less is not worth it
_ROOM = 0.8  # of a GPU's memory that may be used: the rest is for large frames and for what else runs there


def choose_batch(backbone: Backbone, keys: Sequence[FeatureKey]) -> int:
    """Set the backbone's batch to the size, of 1, 2, 4 .. 32, that is fastest here and fits into memory.

    It belongs to a store's settings, because it decides how sums are rounded: a store is begun with it, and
    goes on with what it records. Windows of noise are timed.

    Args:
        backbone: Its options are changed.
        keys: What is to be extracted.

    Returns:
        The batch.

    Raises:
        UsageError: If memory does not suffice for a single window.
    """
    size, best, least = 1, 1, math.inf
    _seconds_a_window(backbone, keys, size)  # loads weights
    while size <= _MOST:
        seconds = _seconds_a_window(backbone, keys, size)
        if seconds is None or seconds > _WORTH * least:
            break
        best, least, size = size, seconds, 2 * size
    _set(backbone, best)
    return best


def _seconds_a_window(backbone: Backbone, keys: Sequence[FeatureKey], size: int) -> float | None:
    """What a window takes in a batch of a size; None if it does not fit into memory."""
    _set(backbone, size)
    options = backbone.options
    on_gpu = options.device.startswith("cuda")
    network, items = Network(backbone, keys), [_noise(backbone)] * size
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


def _set(backbone: Backbone, size: int) -> None:
    # `Backbone.options` is read-only for type checkers, so that a family may narrow its type.
    setattr(backbone, "options", backbone.options.model_copy(update={"batch": size}))  # noqa: B010


def _noise(backbone: Backbone) -> WindowInput:
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
