"""Scaling and resizing of decoded pixels for the networks."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["blur_and_resize", "scale_and_resize"]

_LEAST_SIGMA = 0.001  # of the blur, in pixels


def scale_and_resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Scale to [-1, 1], then resize without keeping the aspect ratio.

    Args:
        pixels: (N, H, W, 3) uint8.
        height: H' in pixels.
        width: W' in pixels.

    Returns:
        (N, 3, H', W') float32 in [-1, 1]; bilinear, corners aligned, no antialiasing.

    Source: the released code's order of operations (scale first, resize second).
    """
    # Made contiguous, since the memory layout decides how later sums round.
    scaled = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 255 * 2 - 1
    if scaled.shape[-2:] == (height, width):
        return scaled
    return F.interpolate(scaled, (height, width), mode="bilinear", align_corners=True)


def blur_and_resize(images: Tensor, size: int) -> Tensor:
    """Antialiased resize to a square, as the conditioner of Stable Video Diffusion does it.

    A Gaussian blur (reflected borders) whose width follows the reduction factor, then bicubic sampling with
    corners aligned.

    Args:
        images: (N, C, H, W) floating point, any range.
        size: Side of the result in pixels.

    Returns:
        (N, C, size, size), same dtype; bicubic sampling may overshoot the input's range.

    Source: kornia's antialiased resize, on which the released code's image embedder relies:
    sigma = max((side / size - 1) / 2, 0.001), kernel = int(max(4 sigma, 3)), made odd.
    """
    height, width = images.shape[-2:]
    for axis, side in ((-2, height), (-1, width)):
        sigma = max((side / size - 1) / 2, _LEAST_SIGMA)
        if sigma == _LEAST_SIGMA:  # weights of exactly 0, 1, 0
            continue
        length = int(max(4 * sigma, 3))
        images = _blur(images, sigma, length + 1 - length % 2, axis)
    return F.interpolate(images, (size, size), mode="bicubic", align_corners=True)


def _blur(images: Tensor, sigma: float, length: int, axis: int) -> Tensor:
    """One-dimensional Gaussian filter along a spatial axis, borders reflected."""
    half = length // 2
    offsets = torch.arange(-half, half + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-(offsets**2) / (2 * sigma * sigma))
    weights = weights / weights.sum()
    channels = images.shape[1]
    shape, pad = ((1, 1, -1, 1), (0, 0, half, half)) if axis == -2 else ((1, 1, 1, -1), (half, half, 0, 0))
    padded = F.pad(images, pad, mode="reflect")
    return F.conv2d(padded, weights.reshape(shape).repeat(channels, 1, 1, 1), groups=channels)
