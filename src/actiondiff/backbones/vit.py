"""Vision transformers as frozen backbones, run block by block up to the deepest requested layer."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from actiondiff.backbones.base import BackboneSpec, WindowBatch
from actiondiff.backbones.frozen import Frozen, Parts, Weights
from actiondiff.backbones.options import FitOptions, VideoTransformerOptions
from actiondiff.errors import UsageError
from actiondiff.types import FeatureKey

__all__ = ["VideoTransformer", "VisionTransformer", "check_size"]

_MEAN = (0.485, 0.456, 0.406)  # ImageNet's, which all of these networks were trained with
_STD = (0.229, 0.224, 0.225)


class VisionTransformer(Frozen):
    """A vision transformer of the transformers library.

    Its taps are `layer1` .. `layerN`, the outputs of its blocks. Only the last one has passed the final norm,
    as the network's own output has.

    Args:
        spec: The backbone's spec.
        options: Resolved options.
        weights: Source of its tensors.
        model: The network on the meta device.
        depth: Number of blocks.
        tubelet: Number of frames that one step covers.
        extra_taps: Names of further outputs.
    """

    embeddings = "embeddings"
    """Name of the submodule that turns pixels into tokens."""
    blocks = "encoder.layer"
    """Name of the list of blocks."""
    norm = "layernorm"
    """Name of the final norm."""

    def __init__(
        self,
        spec: BackboneSpec,
        options: FitOptions,
        weights: Weights,
        model: Any,
        *,
        depth: int,
        tubelet: int = 1,
        extra_taps: Sequence[str] = (),
    ) -> None:
        taps = [*(f"layer{n}" for n in range(1, depth + 1)), *extra_taps]
        super().__init__(spec, options, taps, weights, tubelet)
        self.parts = Parts(model, "encoder", weights, self.device, self._dtype)
        self._depth = depth

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Un-pooled outputs of a batch of windows; see `Backbone.maps`."""
        pixels = self._normalised((windows.pixels.to(self.device) + 1) / 2)
        wanted = {key.layer for key in keys}
        deepest = min(self._depth, 1 + max(self.taps.index(tap) for tap in wanted))
        outputs: dict[FeatureKey, Tensor] = {}
        tokens, context = self._embed(pixels.to(self._dtype))
        for number in range(1, deepest + 1):
            tokens = self._block(self.parts[f"{self.blocks}.{number - 1}"], tokens, context)
            if number == self._depth:
                tokens = self.parts[self.norm](tokens)
            if f"layer{number}" in wanted:
                outputs[FeatureKey.of(0, number)] = self._grid(tokens, windows)
        extra = wanted - {key.layer for key in outputs}
        return outputs | {FeatureKey(0, tap): self._extra(tokens, windows) for tap in extra}

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Pixels (B, L, 3, H, W) in [0, 1] -> as the network takes them."""
        mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in (_MEAN, _STD))
        return (pixels - mean) / std

    def _embed(self, pixels: Tensor) -> tuple[Tensor, Any]:
        """(B, L, 3, H, W) normalised -> tokens (N, P, C), and the further argument of every block."""
        return self.parts[self.embeddings](pixels), None

    def _block(self, block: Any, tokens: Tensor, context: Any) -> Tensor:
        """One block: (N, P, C) -> (N, P, C)."""
        output: Tensor = block(tokens)
        return output

    @abstractmethod
    def _grid(self, tokens: Tensor, windows: WindowBatch) -> Tensor:
        """Tokens (N, P, C) -> maps (B, S, C, h, w)."""

    def _extra(self, tokens: Tensor, windows: WindowBatch) -> Tensor:
        """The extra tap: tokens of the last block (N, P, C) -> (B, S, C, h, w)."""
        raise UsageError(f"{self.spec.name} has no output beside those of its blocks.")


class VideoTransformer(VisionTransformer):
    """A transformer over tubelets of frames.

    With `tokens: tubelet` one token covers as many frames as the network embeds together (two). With
    `segment` it covers a window: it is the mean over the steps that hold at least one frame that is no
    padding.

    Source: supplement A.2.2 of the paper, which can be read both ways.
    """

    options: VideoTransformerOptions

    def __init__(
        self,
        spec: BackboneSpec,
        options: VideoTransformerOptions,
        weights: Weights,
        model: Any,
        *,
        depth: int,
    ) -> None:
        self._step_frames = int(spec.architecture["encoder"]["tubelet_size"])
        tubelet = int(options.window or 1) if options.tokens == "segment" else self._step_frames
        super().__init__(spec, options, weights, model, depth=depth, tubelet=tubelet)

    def _grid(self, tokens: Tensor, windows: WindowBatch) -> Tensor:
        patch = self.spec.architecture["encoder"]["patch_size"]
        h, w = windows.pixels.shape[-2] // patch, windows.pixels.shape[-1] // patch
        maps = tokens.unflatten(1, (-1, h, w)).permute(0, 1, 4, 2, 3)  # (B, S, C, h, w)
        if self.options.tokens != "segment":
            return maps
        real = [-(-count // self._step_frames) for count in windows.num_real]
        return torch.stack(
            [window[:steps].mean(0, keepdim=True) for window, steps in zip(maps, real, strict=True)]
        )


def check_size(spec: BackboneSpec, options: VideoTransformerOptions, *, side: int | None = None) -> None:
    """Check that frames are squares of whole patches.

    Args:
        spec: The backbone's spec.
        options: Resolved options.
        side: The only side in pixels that is allowed; None for any.

    Raises:
        UsageError: If height and width are not as the network needs them.
    """
    patch = spec.architecture["encoder"]["patch_size"]
    got = f"got {options.height}x{options.width}."
    if options.height != options.width:
        raise UsageError(f"{spec.name} sees squares: height and width must be equal; {got}")
    if side is not None and options.height != side:
        raise UsageError(f"{spec.name} has a table of positions for {side}x{side} pixels only; {got}")
    if (options.height or 0) % patch:
        raise UsageError(f"height and width of {spec.name} must be multiples of {patch}; {got}")
