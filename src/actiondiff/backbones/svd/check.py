"""Are my features right? A built-in golden recomputed here, and what half precision does to real weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import load_file, save_file

from actiondiff.backbones.base import Backbone, load_backbone
from actiondiff.backbones.options import Dtype
from actiondiff.errors import UsageError
from actiondiff.types import Array, FeatureKey, Frames

__all__ = [
    "EXPECTED",
    "Comparison",
    "Half",
    "check_device",
    "check_weights",
    "formula_video",
    "suggested_options",
    "write_golden",
]

Half = Literal["float16", "bfloat16"]

_GOLDEN = "builtin/golden.safetensors"
_TIMESTEPS = (0, 20)
_LAYERS = tuple(range(1, 14))

# Relative L2 errors that are in order, by dtype. float32: rounding of other kernels and thread counts. Half
# precision: three times what was measured on the built-in golden on a CPU (1.9e-3 and 1.7e-2 at layer 13).
EXPECTED = {"float32": 1e-5, "float16": 6e-3, "bfloat16": 5e-2}
_USABLE = 1e-2  # nearness asked of a network's half-precision outputs before it may be used so
_VAE = "VAE encoder"


@dataclass(frozen=True)
class Comparison:
    """One line of a check.

    Attributes:
        name: What was compared, for example `t20.layer9`.
        error: Relative L2 error; NaN or infinite if the values are.
        expected: What is in order.
    """

    name: str
    error: float
    expected: float

    @property
    def passed(self) -> bool:
        """Whether the error is finite and in order."""
        return bool(np.isfinite(self.error) and self.error <= self.expected)


def check_device(device: str = "auto", dtype: Dtype = "auto") -> list[Comparison]:
    """Recompute the built-in golden on a device.

    Its weights and its video are drawn by formula, its features were computed on a CPU in float32.

    Returns:
        One comparison a timestep and layer.
    """
    backbone = load_backbone("random-tiny", device=device, dtype=dtype)
    with resources.as_file(resources.files("actiondiff.backbones").joinpath(_GOLDEN)) as path:
        golden = load_file(path)
    features = backbone.extract(formula_video(), timesteps=_TIMESTEPS, layers=_LAYERS)
    limit = EXPECTED[backbone.options.dtype]
    return [
        Comparison(str(key), _error(tokens, golden[str(key)]), limit)
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
) -> list[Comparison]:
    """Compare half precision with float32 on one's own weights: U-Net with image encoder, and VAE apart.

    Args:
        name: Backbone.
        weights: Its checkpoint.
        dtype: The half precision in question.
        device: Where to compute. float16 on a CPU takes hundreds of times as long as float32.
        height: Of the small formula-drawn window, in pixels.
        width: As above.
        frames: Frames in the window.
        layer: Deepest layer to compare.
        unet_head_dim: Attention head width of the U-Net, for networks of other sizes.
        clip_head_dim: As above, of the image encoder.
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
    at = full.spec.timestep
    lines = [
        Comparison(f"U-Net and image encoder, layer {n}", _error(other[at, n], reference[at, n]), _USABLE)
        for n in wanted
    ]
    latents, other_latents = (_latents(backbone, video) for backbone in (full, half_vae))
    return [*lines, Comparison(_VAE, _error(other_latents, latents), _USABLE)]


def suggested_options(lines: Iterable[Comparison], dtype: Half) -> dict[str, str]:
    """`dtype` and `vae_dtype` for `load_backbone`, by what `check_weights` found of a half precision."""
    lines = list(lines)
    networks = all(line.passed for line in lines if line.name != _VAE)
    vae = all(line.passed for line in lines if line.name == _VAE)
    return {"dtype": dtype if networks else "float32", "vae_dtype": dtype if vae else "float32"}


def _latents(backbone: Backbone, video: Frames) -> Array:
    """The posterior's mean for each frame, (T, 4, h, w); infinite if it is not finite."""
    key = FeatureKey.of(backbone.spec.timestep, "vae")
    try:
        return backbone.extract(video, layers=["vae"], maps=True).maps[key]
    except UsageError:
        return np.full(1, np.inf, dtype=np.float32)


def formula_video(num_frames: int = 8, height: int = 48, width: int = 64) -> Frames:
    """Moving waves, the same everywhere: (T, H, W, 3) uint8."""
    t, y, x, c = np.meshgrid(*(np.arange(n) for n in (num_frames, height, width, 3)), indexing="ij")
    waves = np.sin(0.21 * x + 0.13 * (c + 1) * y + 0.7 * t) * np.cos(0.05 * (x - y) * (c + 1) - 0.3 * t)
    return Frames(np.round(127.5 + 120 * waves).astype(np.uint8), identity="formula")


def write_golden(path: Path) -> None:
    """Compute the built-in golden here, on the CPU in float32, and write it."""
    features = load_backbone("random-tiny", device="cpu", dtype="float32", threads=1).extract(
        formula_video(), timesteps=_TIMESTEPS, layers=_LAYERS
    )
    save_file({str(key): tokens for key, tokens in features.tokens.items()}, path)


def _in_order(item: tuple[FeatureKey, Array]) -> tuple[int, int]:
    return item[0].timestep, int(item[0].layer.removeprefix("layer"))


def _error(ours: Array, theirs: Array) -> float:
    difference = np.asarray(ours, dtype=np.float64) - theirs
    return float(np.linalg.norm(difference) / np.linalg.norm(theirs))
