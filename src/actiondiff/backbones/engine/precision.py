"""Settings of PyTorch that decide how results are rounded: float32 precision on CUDA, and CPU threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from actiondiff.errors import UsageError

__all__ = ["autoencoder_arithmetic", "cpu_threads", "float32_mode"]


@contextmanager
def float32_mode(*, tf32: bool = False) -> Iterator[None]:
    """Compute float32 convolutions and matrix products in full precision, or all of them in TF32.

    PyTorch's own default on CUDA is neither: convolutions run in TF32, which keeps 10 bits of the mantissa
    (an error near float16's, 1e-3, where float32 rounds at 1e-7), and matrix products in full precision. A
    CPU has no TF32, so this changes nothing there.

    Args:
        tf32: Whether to use TF32 instead of full precision.
    """
    backends: Any = torch.backends
    switches = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    before = [switch.fp32_precision for switch in switches]
    _allow_tf32(tf32)
    try:
        yield
    finally:
        _allow_tf32(before[0] == "tf32", before[2] == "tf32")
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def _allow_tf32(convolutions: bool, products: bool | None = None) -> None:
    """Set PyTorch's older switches, which also set the newer ones, so that readers of either agree."""
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = convolutions if products is None else products


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute with this many CPU threads, which decides how some sums are rounded."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autoencoder_arithmetic(asked: str | None, *, default: str, device: str) -> str:
    """The arithmetic of an autoencoder (`vae_dtype`), where None takes the default.

    Raises:
        UsageError: If it is one that only CUDA devices have, and the device is another.
    """
    chosen = asked or default
    if chosen in ("tf32", "auto-float16") and not device.startswith("cuda"):
        raise UsageError(
            f"vae_dtype {chosen} is for CUDA devices; got device {device}. Use vae_dtype float32; "
            "a model that was trained on a GPU computes here with dtype float32 (--dtype float32)."
        )
    return chosen
