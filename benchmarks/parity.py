"""Differences between our features and the released code's, layer by layer, as a Markdown table.

    python benchmarks/parity.py GOLDENS [--weights CONVERTED] [--dtype float16] [--exact-norm]

GOLDENS is a folder with the golden files: small random weights in the released format, a raw video, noise
draws, and the features that the released code made of them, in float32. Everything is recomputed from the raw
video; only the noise draws are taken from the files. Figures are relative L2 errors per layer. Ours is
computed with `exact_norm=False`, as in the released code; `padded_windows.py` measures what that changes.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from actiondiff import FeatureKey, Frames, load_backbone
from actiondiff.backbones.base import WindowBatch
from actiondiff.backbones.svd.backbone import SVD
from actiondiff.video.windows import iter_windows

LAYERS = range(1, 14)
TIMESTEPS = (0, 10, 20, 29)
OPTIONS = {"height": 128, "width": 192, "window": 5, "threads": 2, "unet_head_dim": 16, "clip_head_dim": 16}
VARIANTS = {
    "noisy": ({}, TIMESTEPS),
    "nonoise": ({}, TIMESTEPS),
    "nocond": ({"conditioning": "none"}, (20,)),
    "sdv2": ({"temporal": False}, (20,)),
}
"""Name in the golden files -> options of our backbone, timesteps that are stored."""


def relative_error(ours: torch.Tensor | np.ndarray, theirs: torch.Tensor) -> float:
    """L2 norm of the difference over that of the reference."""
    ours, theirs = (torch.as_tensor(values).cpu().double() for values in (ours, theirs))
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float((ours - theirs).norm() / theirs.norm())


def load(weights: Path, **options: object) -> SVD:
    """The small network of the golden files."""
    backbone = load_backbone("svd-xt", weights=str(weights), **{"device": "cpu", **OPTIONS, **options})
    assert isinstance(backbone, SVD)
    return backbone


def sampled(stored: dict[str, torch.Tensor]) -> Frames:
    """Every fourth frame of the stored video."""
    index = np.arange(0, len(stored["video"]), 4)
    return Frames(stored["video"].numpy()[index], frame_index=index)


def maps_with_stored_noise(
    backbone: SVD, stored: dict[str, torch.Tensor], keys: list[FeatureKey]
) -> dict[FeatureKey, torch.Tensor]:
    """Maps of both windows, (2, 5, C, h, w), with the golden files' noise draws."""
    outputs = []
    windows = iter_windows([sampled(stored)], length=5, padding="black")
    for number, (window, frames) in enumerate(windows):
        pixels = backbone.preprocess(torch.from_numpy(frames.pixels))[None]
        encoded = backbone.encode(
            WindowBatch(pixels, (window.num_real,), (frames.identity,), (window.start,)),
            pixel_noise=stored[f"w{number}.cond_noise_x16"][None].float() / 16,
            posterior_noise=stored[f"w{number}.posterior_noise"][None],
        )
        outputs.append(backbone.maps_from(encoded, keys))
    return {key: torch.cat([maps[key].cpu() for maps in outputs]) for key in keys}


@torch.inference_mode()
def features(
    goldens: Path, weights: Path | None = None, *, exact: bool = False, **options: object
) -> dict[str, dict[str, torch.Tensor]]:
    """Our numbers for every golden: `variant/means`, `variant/maps` ... -> key (`t20.layer9`) -> values.

    Args:
        goldens: Folder of the golden files.
        weights: The same weights in another form (a converted folder); None for the original file.
        exact: Compute in float64; the caller has to be `in_float64`.
        **options: Options of our backbone.
    """
    torch.set_num_threads(2)  # with one thread GroupNorm sums in another order, see `padded_windows.py`
    stored = read_goldens(goldens)
    columns: dict[str, dict[str, torch.Tensor]] = {}
    for variant, (own, timesteps) in VARIANTS.items():
        backbone = load(weights or goldens / "sgm_tiny_unet.safetensors", **{**options, **own})
        if exact:
            backbone._dtype = backbone.inputs._dtype = torch.float64
        keys = [FeatureKey.of(t, layer) for t in timesteps for layer in LAYERS]
        if variant == "nonoise":
            tokens = backbone.extract(sampled(stored), timesteps=timesteps, layers=LAYERS).tokens
            means = {key: torch.from_numpy(value) for key, value in tokens.items()}
        else:
            maps = maps_with_stored_noise(backbone, stored, keys)
            means = {key: value.mean((-2, -1)).flatten(0, 1)[:8] for key, value in maps.items()}
        columns[f"{variant}/means"] = {str(key): means[key] for key in keys}
        if variant == "noisy":
            last = [FeatureKey.of(20, layer) for layer in LAYERS]
            columns["noisy/maps"] = {str(key): maps[key][0] for key in keys}
            columns["noisy/padded window"] = {str(key): maps[key][1].mean((-2, -1)) for key in last}
    return columns


def read_goldens(goldens: Path) -> dict[str, torch.Tensor]:
    """The tensors of the golden files by name."""
    return load_file(goldens / "features.safetensors") | load_file(goldens / "inputs.safetensors")


def released(goldens: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The released code's numbers, as `features` gives ours; those that are stored in float32."""
    stored = read_goldens(goldens)
    names = {"noisy/means": "{}.mean", "noisy/maps": "{}.map", "noisy/padded window": "w1padded.{}.mean"}
    names |= {f"{variant}/means": f"{variant}.{{}}.mean" for variant in VARIANTS if variant != "noisy"}
    keys = [str(FeatureKey.of(t, layer)) for t in TIMESTEPS for layer in LAYERS]
    return {
        column: {
            key: value
            for key in keys
            if (value := stored.get(name.format(key))) is not None and value.dtype == torch.float32
        }
        for column, name in names.items()
    }


def differences(
    ours: dict[str, dict[str, torch.Tensor]], theirs: dict[str, dict[str, torch.Tensor]]
) -> dict[str, dict[str, float]]:
    """Relative errors of every number that `theirs` has: column -> key -> error."""
    return {
        column: {key: relative_error(ours[column][key], value) for key, value in values.items()}
        for column, values in theirs.items()
    }


def errors(
    goldens: Path,
    weights: Path | None = None,
    *,
    dtype: str = "float32",
    vae_dtype: str = "float32",
    device: str = "cpu",
    exact_norm: bool = False,
) -> dict[str, dict[str, float]]:
    """Relative errors: `variant/means` or `variant/maps` -> key (`t20.layer9`) -> error.

    Args:
        goldens: Folder of the golden files.
        weights: The same weights in another form (a converted folder); None for the original file.
        dtype: Data type of U-Net and image encoder.
        vae_dtype: Data type of the VAE.
        device: Device to compute on.
        exact_norm: Whether what hardly varies is normalised exactly; the released code does not.
    """
    ours = features(goldens, weights, dtype=dtype, vae_dtype=vae_dtype, device=device, exact_norm=exact_norm)
    return differences(ours, released(goldens))


def table(figures: dict[str, dict[str, float]]) -> str:
    """Rows are layers; columns are variants, each with the largest error over its timesteps."""
    lines = ["| layer | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    for layer in LAYERS:
        cells = [
            max(
                (value for key, value in column.items() if key.endswith(f".layer{layer}")),
                default=float("nan"),
            )
            for column in figures.values()
        ]
        lines.append(f"| {layer} | " + " | ".join(f"{cell:.1e}" for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("goldens", type=Path)
    parser.add_argument("--weights", type=Path, help="the same weights in another form")
    parser.add_argument("--dtype", default="float32", help="data type of U-Net and image encoder")
    parser.add_argument("--vae-dtype", default="float32", help="data type of the VAE")
    parser.add_argument(
        "--exact-norm", action="store_true", help="our default: normalise exactly what hardly varies"
    )
    parser.add_argument("--json", type=Path, help="file to which every error is also written")
    arguments = parser.parse_args()
    figures = errors(
        arguments.goldens,
        arguments.weights,
        dtype=arguments.dtype,
        vae_dtype=arguments.vae_dtype,
        exact_norm=arguments.exact_norm,
    )
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
