"""Compares half precision with float32 on a backbone's own weights; for SVD `svd/check.py` does it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from actiondiff.backbones.base import Backbone, WindowBatch, find_spec, load_backbone
from actiondiff.backbones.engine.encoding import TwoStage
from actiondiff.backbones.options import DiTOptions
from actiondiff.errors import UsageError
from actiondiff.types import Array, Frames

__all__ = [
    "USABLE_ERROR",
    "VAE_LINE",
    "Half",
    "PrecisionCheck",
    "check_baseline",
    "formula_video",
    "relative_error",
]

Half = Literal["float16", "bfloat16"]

VAE_LINE = "VAE encoder"
"""Name of the line that compares the autoencoder alone."""
USABLE_ERROR = 1e-2  # relative L2 error up to which half precision may replace float32
_SMALLER: dict[str, dict[str, Any]] = {  # kinds that take any size
    "sd": {"height": 128, "width": 192},
    "dit": {"height": 128, "width": 192, "window": 8},
}


@dataclass(frozen=True)
class PrecisionCheck:
    """One line of a check: how far two computations of the same outputs are apart.

    Attributes:
        name: What was compared, for example `t20.layer9`.
        error: Relative L2 error; NaN or infinite if the values are.
        expected: Largest error with which the check passes.
    """

    name: str
    error: float
    expected: float

    @property
    def passed(self) -> bool:
        """Whether the error is finite and at most the expected one."""
        return bool(np.isfinite(self.error) and self.error <= self.expected)


def check_baseline(
    name: str,
    weights: str | Path | None,
    *,
    dtype: Half = "float16",
    device: str = "auto",
    unet_head_dim: int | None = None,
    clip_head_dim: int | None = None,
) -> list[PrecisionCheck]:
    """Compare half precision with float32 on one window of a video drawn by formula, at four depths.

    Args:
        name: Name of the backbone.
        weights: File, folder or hub id of its checkpoint; None: the machine's folder of weights is searched.
        dtype: The half precision in question.
        device: Device to compute on. float16 on a CPU takes hundreds of times as long as float32.
        unet_head_dim: Option of SVD only; refused for backbones that do not have it.
        clip_head_dim: Option of SVD only; refused for backbones that do not have it.

    Raises:
        UsageError: If the backbone has no network, or an option does not fit.
        WeightsError: If the weights are missing or of another model.
    """
    spec = find_spec(name)
    if spec.weights == "none":
        raise UsageError(
            f"{name} has no network whose precision could be checked. Leave --backbone out to check this "
            "device alone."
        )
    head_dims = {"unet_head_dim": unet_head_dim, "clip_head_dim": clip_head_dim}
    options: dict[str, Any] = {option: value for option, value in head_dims.items() if value is not None}
    options |= {"device": device, **_SMALLER.get(spec.kind, {})}
    # The same network twice, at full and at half precision.
    full, half = (load_backbone(name, weights=weights, dtype=kind, **options) for kind in ("float32", dtype))
    video = formula_video(int(full.options.window or 1))
    # A quarter, half, three quarters of the depth, and the last layer.
    depths = [tap for tap in full.taps if tap.startswith("layer")]
    wanted = list(dict.fromkeys(depths[-1 - len(depths) * part // 4] for part in (3, 2, 1, 0)))
    reference, other = (backbone.extract(video, layers=wanted) for backbone in (full, half))
    timestep = full.spec.timestep
    errors = {tap: relative_error(other[timestep, tap], reference[timestep, tap]) for tap in wanted}
    lines = [PrecisionCheck(f"network, {tap}", error, USABLE_ERROR) for tap, error in errors.items()]
    if isinstance(full.options, DiTOptions):
        half_vae = load_backbone(name, weights=weights, dtype="float32", vae_dtype=dtype, **options)
        error = relative_error(_latents(half_vae, video), _latents(full, video))
        lines.append(PrecisionCheck(VAE_LINE, error, USABLE_ERROR))
    return lines


def _latents(backbone: Backbone, video: Frames) -> Array:
    """Latents of a video of one window; one infinite value if they are not finite."""
    assert isinstance(backbone, TwoStage), "video diffusion transformers encode windows first"
    pixels = backbone.preprocess(torch.from_numpy(video.pixels))[None]
    window = WindowBatch(pixels, (len(video.pixels),), (video.identity,), (0,))
    try:
        return backbone.encode(window).tensors()["latents"].cpu().numpy()
    except UsageError:
        return np.full(1, np.inf, dtype=np.float32)


def formula_video(num_frames: int = 8, height: int = 48, width: int = 64) -> Frames:
    """Moving waves that are the same on every machine: frames (T, H, W, 3) uint8."""
    t, y, x, c = np.meshgrid(*(np.arange(n) for n in (num_frames, height, width, 3)), indexing="ij")
    waves = np.sin(0.21 * x + 0.13 * (c + 1) * y + 0.7 * t) * np.cos(0.05 * (x - y) * (c + 1) - 0.3 * t)
    return Frames(np.round(127.5 + 120 * waves).astype(np.uint8), identity="formula")


def relative_error(values: Array, reference: Array) -> float:
    """Relative L2 error of values against a reference, computed in float64."""
    difference = np.asarray(values, dtype=np.float64) - reference
    return float(np.linalg.norm(difference) / np.linalg.norm(reference))
