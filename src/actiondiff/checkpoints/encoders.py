"""Checks whether the two VAE encoders of a checkpoint are the same."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

__all__ = ["are_one"]

_LAST = ("encoder.conv_out.weight", "encoder.conv_out.bias")
_ROUNDINGS = 4  # difference in units of the dtype's epsilon that still counts as equal
_LEAST_TOLERANCE = 1e-5  # the order of summation in which the published fold was computed is unknown


def are_one(
    latent: Callable[[str], Tensor], conditioning: Callable[[str], Tensor], names: Collection[str]
) -> bool:
    """Whether `latent` is `conditioning`, whose quantisation convolution may be folded into the last one.

    Then z = quant_conv(encoder(x)) serves for both. The tolerance is a relative L2 difference of each tensor
    of at most 4 epsilon of the coarser dtype, or 1e-5 if that is larger.

    Args:
        latent: Reads a tensor of the first stage's encoder. It has a quantisation convolution of its own in
            the checkpoints with an image decoder; in all others that is folded into its last convolution.
        conditioning: Reads a tensor of the conditioner's encoder, or of `quant_conv`.
        names: Names of the first stage's tensors.

    Source: method section of SVD: W1 = Wq W2, b1 = Wq b2 + bq.
    """
    if "quant_conv.weight" in names:
        return all(_close(latent(name), conditioning(name)) for name in names)
    if not all(_close(latent(name), conditioning(name)) for name in names if name not in _LAST):
        return False
    matrix = conditioning("quant_conv.weight")
    bias = conditioning("quant_conv.bias")
    kernel, offset = conditioning(_LAST[0]), conditioning(_LAST[1])
    fold = matrix.double().flatten(1)
    folded_kernel = torch.einsum("oi,ikhw->okhw", fold, kernel.double())
    folded_offset = fold @ offset.double() + bias.double()
    coarse = max(matrix.dtype, bias.dtype, kernel.dtype, offset.dtype, key=lambda d: torch.finfo(d).eps)
    return _close(latent(_LAST[0]), folded_kernel, coarse) and _close(latent(_LAST[1]), folded_offset, coarse)


def _close(a: Tensor, b: Tensor, dtype: torch.dtype | None = None) -> bool:
    coarser = max(torch.finfo(a.dtype).eps, torch.finfo(dtype or b.dtype).eps)
    tolerance = max(_LEAST_TOLERANCE, _ROUNDINGS * coarser)
    a, b = a.double(), b.double()
    return bool((a - b).norm() <= tolerance * b.norm())
