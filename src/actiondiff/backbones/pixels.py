"""Controls without a network: mean colours on a coarse grid, and their changes over time."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from actiondiff.backbones.base import BackboneSpec, WindowBatch, resolve
from actiondiff.backbones.frozen import Frozen
from actiondiff.backbones.options import PixelOptions
from actiondiff.errors import UsageError
from actiondiff.types import FeatureKey

__all__ = ["PixelChanges", "Pixels", "load_motion", "load_pixels"]


class Pixels(Frozen):
    """Mean colours of each frame on a grid of height x width cells, as 3 x height x width channels.

    Its one tap is `layer1`. Whatever a head separates with it is separated by colour and light alone.
    """

    def __init__(self, spec: BackboneSpec, options: PixelOptions) -> None:
        super().__init__(spec, options, ["layer1"])

    def preprocess(self, pixels: Tensor) -> Tensor:
        """(L, H, W, 3) uint8 -> (L, 3, H', W') float32 in [-1, 1]: means over cells."""
        frames = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return F.adaptive_avg_pool2d(frames, (self.options.height, self.options.width)) / 127.5 - 1

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """(B, L, 3 H' W', 1, 1); see `Backbone.maps`."""
        values = self._values(windows.pixels.to(self.device, self._dtype), windows.num_real)
        return {key: values.flatten(2)[..., None, None] for key in keys}

    def _values(self, cells: Tensor, num_real: Sequence[int]) -> Tensor:
        """(B, L, 3, H', W') -> values of the same shape."""
        return cells


class PixelChanges(Pixels):
    """Change of the mean colours from the frame before, in [-2, 2].

    A window sees its own frames only, so its first frame gets the change *to* the second one, or zeros if it
    is alone in its window. The change between two windows is therefore not seen (one per window length), and
    no window begins with zeros that would reveal its length. Padding has no influence.
    """

    def _values(self, cells: Tensor, num_real: Sequence[int]) -> Tensor:
        change = cells.diff(dim=1, prepend=cells[:, :1])
        for window, count in zip(change, num_real, strict=True):
            if count > 1:
                window[0] = window[1]
        return change


def load_pixels(spec: BackboneSpec, options: PixelOptions, weights: str | Path | None) -> Pixels:
    """Load the control of mean colours; it has no weights.

    Raises:
        UsageError: If weights are given or an option does not fit.
    """
    _refuse(spec, weights)
    return Pixels(spec, resolve(spec, options))


def load_motion(spec: BackboneSpec, options: PixelOptions, weights: str | Path | None) -> PixelChanges:
    """Load the control of changes of mean colours; it has no weights.

    Raises:
        UsageError: If weights are given or an option does not fit.
    """
    _refuse(spec, weights)
    return PixelChanges(spec, resolve(spec, options))


def _refuse(spec: BackboneSpec, weights: str | Path | None) -> None:
    if weights is not None:
        raise UsageError(f"{spec.name} has no weights; got {weights}. Leave weights= (--weights) out.")
