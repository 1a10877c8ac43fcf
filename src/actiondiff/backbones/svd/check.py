"""Checks of features: recomputes built-in reference features, and compares precisions on real weights."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from actiondiff.backbones.base import Backbone, load_backbone
from actiondiff.backbones.check import (
    USABLE_ERROR,
    VAE_LINE,
    Half,
    PrecisionCheck,
    formula_video,
    relative_error,
)
from actiondiff.backbones.options import Dtype
from actiondiff.backbones.svd.backbone import SVD
from actiondiff.errors import UsageError
from actiondiff.types import Array, FeatureKey, Frames

__all__ = [
    "EXPECTED",
    "check_device",
    "check_weights",
    "suggested_options",
    "write_golden",
]

_GOLDEN = "builtin/golden.safetensors"
_TIMESTEPS = (0, 20)
_LAYERS = tuple(range(1, 14))

# Largest relative L2 errors with which the check passes, by dtype. float32: rounding of other kernels and
# thread counts. Half precision: three times what was measured on a CPU (1.9e-3 and 1.7e-2 at layer 13).
EXPECTED = {"float32": 1e-5, "float16": 6e-3, "bfloat16": 5e-2}
_RANGE = f"{VAE_LINE}, largest value, 1 being float16's limit"


def check_device(device: str = "auto", dtype: Dtype = "auto") -> list[PrecisionCheck]:
    """Recompute the built-in reference features on a device.

    Their weights and their video are drawn by formula; they were computed on a CPU in float32.

    Args:
        device: Device to compute on.
        dtype: Arithmetic.

    Returns:
        One line per timestep and layer.
    """
    backbone = load_backbone("random-tiny", device=device, dtype=dtype)
    with resources.as_file(resources.files("actiondiff.backbones").joinpath(_GOLDEN)) as path:
        golden = load_file(path)
    features = backbone.extract(formula_video(), timesteps=_TIMESTEPS, layers=_LAYERS)
    limit = EXPECTED[backbone.options.dtype]
    return [
        PrecisionCheck(str(key), relative_error(tokens, golden[str(key)]), limit)
        for key, tokens in sorted(features.tokens.items(), key=_in_order)
    ]


def check_weights(
    name: str,
    weights: str | Path | None,
    *,
    dtype: Half = "float16",
    device: str = "auto",
    height: int = 128,
    width: int = 192,
    frames: int = 8,
    layer: int = 9,
    unet_head_dim: int | None = None,
    clip_head_dim: int | None = None,
) -> list[PrecisionCheck]:
    """Compare half precision with float32 on real weights, for the U-Net with image encoder and for the VAE.

    The last line is the largest value in a float32 pass of the VAE as a share of float16's limit of 65504. It
    says on any device whether float16 can hold what the VAE computes, and the window is a small one.

    Args:
        name: Name of the backbone.
        weights: File, folder or hub id of its checkpoint.
        dtype: The half precision in question.
        device: Device to compute on. float16 on a CPU takes hundreds of times as long as float32.
        height: Height in pixels of the small window that is drawn by formula.
        width: Width in pixels of that window.
        frames: Number of frames in that window.
        layer: Deepest layer to compare.
        unet_head_dim: Attention head width of the U-Net, for networks of other sizes.
        clip_head_dim: Attention head width of the image encoder, for networks of other sizes.
    """
    size: dict[str, Any] = {"height": height, "width": width, "window": frames, "device": device}
    size |= {"unet_head_dim": unet_head_dim, "clip_head_dim": clip_head_dim}
    video = formula_video(frames)
    full, half, half_vae = (
        load_backbone(name, weights=weights, dtype=kind, vae_dtype=vae_kind, **size)
        for kind, vae_kind in (("float32", "float32"), (dtype, "float32"), ("float32", dtype))
    )
    wanted = [number for number in (3, 6, 9, 13) if number <= layer]
    reference, other = (b.extract(video, layers=wanted) for b in (full, half))
    timestep = full.spec.timestep
    lines = [
        PrecisionCheck(
            f"U-Net and image encoder, layer {n}",
            relative_error(other[timestep, n], reference[timestep, n]),
            USABLE_ERROR,
        )
        for n in wanted
    ]
    assert isinstance(full, SVD), f"{name} is of SVD's family"
    with _largest_value(full.inputs.latent_vae) as largest:
        latents = _latents(full, video)
    share = max(largest) / torch.finfo(torch.float16).max
    return [
        *lines,
        PrecisionCheck(VAE_LINE, relative_error(_latents(half_vae, video), latents), USABLE_ERROR),
        PrecisionCheck(_RANGE, share, 1.0),
    ]


@contextmanager
def _largest_value(model: nn.Module) -> Iterator[list[float]]:
    """Yield a list that gets the largest magnitude of every module's result, while the model computes."""
    largest: list[float] = []

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        values = output if isinstance(output, tuple) else (output,)
        largest.extend(float(value.abs().max()) for value in values if isinstance(value, Tensor))

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        yield largest
    finally:
        for hook in hooks:
            hook.remove()


def suggested_options(lines: Iterable[PrecisionCheck], dtype: Half) -> dict[str, str]:
    """`dtype` and `vae_dtype` for `load_backbone`, according to the lines of `check_weights`.

    The largest value counts for float16 only, because bfloat16 has the range of float32.
    """
    lines = list(lines)
    networks = all(line.passed for line in lines if not line.name.startswith(VAE_LINE))
    counted = (VAE_LINE, _RANGE) if dtype == "float16" else (VAE_LINE,)
    vae = all(line.passed for line in lines if line.name in counted)
    return {"dtype": dtype if networks else "float32", "vae_dtype": dtype if vae else "float32"}


def _latents(backbone: Backbone, video: Frames) -> Array:
    """Mean of the posterior for each frame, (T, 4, h, w); one infinite value if it is not finite."""
    key = FeatureKey.of(backbone.spec.timestep, "vae")
    try:
        return backbone.extract(video, layers=["vae"], maps=True).maps[key]
    except UsageError:
        return np.full(1, np.inf, dtype=np.float32)


def write_golden(path: Path) -> None:
    """Compute the built-in reference features on this CPU in float32, and write them to a file."""
    features = load_backbone("random-tiny", device="cpu", dtype="float32", threads=1).extract(
        formula_video(), timesteps=_TIMESTEPS, layers=_LAYERS
    )
    save_file({str(key): tokens for key, tokens in features.tokens.items()}, path)


def _in_order(item: tuple[FeatureKey, Array]) -> tuple[int, int]:
    return item[0].timestep, int(item[0].layer.removeprefix("layer"))
