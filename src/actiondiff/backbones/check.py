"""What half precision does to the weights of the backbones beside SVD."""

from pathlib import Path
from typing import Any

import numpy as np

from actiondiff.backbones.base import find_spec, load_backbone
from actiondiff.backbones.svd.check import Comparison, Half, formula_video
from actiondiff.errors import UsageError
from actiondiff.types import Array

__all__ = ["check_baseline"]

_USABLE = 1e-2  # relative error up to which half precision may stand for float32, as for SVD
_SMALLER: dict[str, dict[str, Any]] = {"sd": {"height": 128, "width": 192}}  # kinds that take any size


def check_baseline(
    name: str,
    weights: str | Path | None,
    *,
    dtype: Half = "float16",
    device: str = "auto",
    unet_head_dim: int | None = None,
    clip_head_dim: int | None = None,
) -> list[Comparison]:
    """Compare half precision with float32 on one window drawn by formula, at four depths.

    Args:
        name: Backbone.
        weights: File, folder or hub id of its checkpoint; None: what the machine's folder of weights holds.
        dtype: The half precision in question.
        device: Where to compute. float16 on a CPU takes hundreds of times as long as float32.
        unet_head_dim: Of SVD alone; refused where it would have no effect.
        clip_head_dim: As above.

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
    given: dict[str, Any] = {"unet_head_dim": unet_head_dim, "clip_head_dim": clip_head_dim}
    options = {option: value for option, value in given.items() if value is not None}
    options |= {"device": device, **_SMALLER.get(spec.kind, {})}
    full, half = (load_backbone(name, weights=weights, dtype=kind, **options) for kind in ("float32", dtype))
    video = formula_video(int(full.options.window or 1))
    depths = [tap for tap in full.taps if tap.startswith("layer")]
    wanted = list(dict.fromkeys(depths[-1 - len(depths) * part // 4] for part in (3, 2, 1, 0)))
    reference, other = (backbone.extract(video, layers=wanted) for backbone in (full, half))
    at = full.spec.timestep
    return [
        Comparison(f"network, {tap}", _error(other[at, tap], reference[at, tap]), _USABLE) for tap in wanted
    ]


def _error(ours: Array, theirs: Array) -> float:
    difference = ours.astype(np.float64) - theirs
    return float(np.linalg.norm(difference) / np.linalg.norm(theirs))
