"""What float32 means on CUDA: full precision, unless TF32 is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["float32_mode"]


@contextmanager
def float32_mode(*, tf32: bool = False) -> Iterator[None]:
    """Compute float32 convolutions and matrix products in full precision, or all of them in TF32.

    PyTorch's own default on CUDA is neither: convolutions in TF32, which keeps 10 bits of the mantissa (an
    error near float16's, 1e-3, where float32 rounds at 1e-7), matrix products in full precision. On a CPU
    there is no TF32, and this changes nothing.
    """
    backends: Any = torch.backends
    places = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    before = [place.fp32_precision for place in places]
    _allow(tf32)
    try:
        yield
    finally:
        _allow(before[0] == "tf32", before[2] == "tf32")
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def _allow(convolutions: bool, products: bool | None = None) -> None:
    """Set the older switches, which set the newer ones too: so whoever reads either finds them sound."""
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = convolutions if products is None else products
