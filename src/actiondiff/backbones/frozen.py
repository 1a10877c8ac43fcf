"""Base of all backbones but SVD: options, weights, preprocessing, and networks that load part by part."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actiondiff.backbones.base import BackboneSpec, WindowBatch
from actiondiff.backbones.engine.run import extract
from actiondiff.backbones.options import BackboneOptions, FitOptions
from actiondiff.backbones.random_weights import RandomTensors
from actiondiff.checkpoints.baselines import open_baseline
from actiondiff.checkpoints.locate import VARIABLE, find_weights
from actiondiff.errors import UsageError, WeightsError
from actiondiff.types import JSON, FeatureKey, Features, Frames

__all__ = ["Build", "Frozen", "Parts", "Weights", "find_tensors", "fit_to"]

Build = Mapping[str, Callable[[], nn.Module]]
"""Component -> function that makes its module on the meta device."""


class Weights(Protocol):
    """Source of tensors: a checkpoint or random draws."""

    @property
    def identity(self) -> str: ...  # noqa: D102

    def tensors(  # noqa: D102
        self, component: str, names: Collection[str], *, dtype: torch.dtype | None = None
    ) -> Mapping[str, Tensor]: ...


class Frozen(ABC):
    """Base of a `Backbone`; subclasses define `maps`, and `preprocess` where theirs differs.

    Args:
        spec: The backbone's spec.
        options: Resolved options.
        taps: Names of its outputs, from shallow to deep.
        weights: Source of its tensors; None for backbones without weights.
        tubelet: Number of frames that one step of its output covers.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        options: BackboneOptions,
        taps: Sequence[str],
        weights: Weights | None = None,
        tubelet: int = 1,
    ) -> None:
        self.spec = spec
        self.options: BackboneOptions = options
        self.taps = tuple(taps)
        self.tubelet = tubelet
        self.num_timesteps = spec.num_timesteps
        self.device = torch.device(options.device)
        self._weights = weights
        self._dtype: torch.dtype = getattr(torch, options.dtype)

    @property
    def settings(self) -> dict[str, JSON]:
        """Everything that the features depend on; see `Backbone.settings`."""
        ignored = {"device", *self.options.without_effect} | (set() if self._random else {"seed"})
        chosen: dict[str, JSON] = self.options.model_dump(exclude=ignored, exclude_none=True)
        identity: dict[str, JSON] = {} if self._weights is None else {"weights": self._weights.identity}
        return {"name": self.spec.name, **identity, **chosen}

    @property
    def _random(self) -> bool:
        """Whether the seed has an effect."""
        return isinstance(self._weights, RandomTensors)

    def preprocess(self, pixels: Tensor) -> Tensor:
        """(L, H, W, 3) uint8 -> (L, 3, H', W') float32 in [-1, 1]."""
        options = self.options
        crop = isinstance(options, FitOptions) and options.fit == "crop"
        return fit_to(pixels, options.height or 0, options.width or 0, crop=crop)

    @abstractmethod
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Un-pooled outputs of a batch of windows; see `Backbone.maps`."""

    def extract(
        self,
        frames: Frames,
        *,
        timesteps: Sequence[int] | None = None,
        layers: Sequence[int | str] | None = None,
        maps: bool = False,
    ) -> Features:
        """Features of one video's frames; see `Backbone.extract`."""
        return extract(self, frames, timesteps=timesteps, layers=layers, maps=maps)


class Parts:
    """Submodules of a network on the meta device, each of which gets its weights when it is first used.

    The weights of what is never used (deeper blocks, decoders) are never read.

    Args:
        model: The network.
        component: Name of the network in the weights.
        weights: Source of its tensors.
        device: Device to compute on.
        dtype: Arithmetic to compute in.
        in_float32: Names of tensors of the network that stay in float32.

    Attributes:
        dtype: Arithmetic to compute in.
    """

    def __init__(
        self,
        model: nn.Module,
        component: str,
        weights: Weights,
        device: torch.device,
        dtype: torch.dtype,
        *,
        in_float32: Collection[str] = (),
    ) -> None:
        self.model: Any = model.requires_grad_(False).eval()
        self._component = component
        self._weights = weights
        self._device = device
        self.dtype = dtype
        self._in_float32 = frozenset(in_float32)
        self._loaded: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        """The submodule with that dotted name, ready to run; the empty name is the whole network."""
        module = self.model.get_submodule(name)
        if name not in self._loaded:
            names = {(f"{name}.{key}" if name else key): key for key in module.state_dict()}
            tensors = dict(self._weights.tensors(self._component, list(names), dtype=self.dtype))
            if exact := self._in_float32 & names.keys():
                tensors |= self._weights.tensors(self._component, sorted(exact), dtype=torch.float32)
            state = {key: tensors[full].to(self._device) for full, key in names.items()}
            module.load_state_dict(state, strict=True, assign=True)
            module.requires_grad_(False).to(self._device)
            self._loaded.add(name)
        return module

    @property
    def loaded(self) -> frozenset[str]:
        """Names of the submodules that were used."""
        return frozenset(self._loaded)


def fit_to(pixels: Tensor, height: int, width: int, *, crop: bool) -> Tensor:
    """Scale frames to [-1, 1] and bring them to a size.

    Args:
        pixels: (L, H, W, 3) uint8.
        height: Height H' in pixels.
        width: Width W' in pixels.
        crop: Whether to keep the aspect ratio and crop to the centre; else the whole frame is squashed.

    Returns:
        (L, 3, H', W') float32 in [-1, 1]; interpolated bilinearly, antialiased where frames shrink.

    Deviation: V-JEPA's own evaluation crops a little more (the short side is scaled to 256/224 of the crop).
    The published processors of transformers squash for DINOv3 and crop for the others, as here.
    """
    frames = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 127.5 - 1
    size = (height, width)
    if crop:
        scale = max(height / frames.shape[-2], width / frames.shape[-1])
        size = (max(height, round(frames.shape[-2] * scale)), max(width, round(frames.shape[-1] * scale)))
    if frames.shape[-2:] != size:
        frames = F.interpolate(frames, size, mode="bilinear", align_corners=False, antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return frames[..., top : top + height, left : left + width].contiguous()


def find_tensors(
    spec: BackboneSpec,
    options: BackboneOptions,
    weights: str | Path | None,
    kind: str,
    build: Build,
) -> Weights:
    """Find the tensors of a backbone: random ones for `random-...`, else those of a checkpoint.

    Args:
        spec: The backbone's spec.
        options: Resolved options; random tensors are drawn from the seed.
        weights: File, folder or hub id; None: the machine's folder of weights is searched for the backbone's
            name.
        kind: Name of the key map of its checkpoints.
        build: Component -> function that makes its module on the meta device.

    Raises:
        UsageError: If weights are given for a backbone with random weights.
        WeightsError: If there are no weights, or they do not fit.
    """
    if spec.weights == "random":
        if weights is not None:
            raise UsageError(f"{spec.name} draws its weights from the seed; got weights {weights} too.")
        return RandomTensors(build, spec.architecture, options.seed, shapes_only=options.device == "meta")
    source = weights or find_weights(spec.name)
    if source is None:
        raise WeightsError(
            f"{spec.name} needs weights: give weights= (--weights) the file, folder or hub id of "
            f"{spec.title}; or name in {VARIABLE} a folder that holds them as {spec.name}/, "
            f"{spec.name}.safetensors or {spec.name}.pth.tar. `actiondiff weights get {spec.name}` says "
            f"where they are. random-{spec.name} needs none."
        )
    expected = {
        component: {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}
        for component, make in build.items()
    }
    return open_baseline(source, kind, expected, spec.architecture)
