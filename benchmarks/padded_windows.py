"""Windows that end in black frames: the released code's numbers and ours, on CPU and CUDA, against float64.

    python benchmarks/padded_windows.py GOLDENS [--windows] [--json FILE]

GOLDENS is a folder with the golden files, see `parity.py`. The last window of their video ends in two black
frames, whose groups hardly vary in the VAE's normalisation: their variance is rounding and `eps`. Figures are
relative L2 differences from our network in float64, with the golden files' own noise draws: of both windows
per layer, and of everything that the golden files hold, the largest per golden.
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from parity import LAYERS, differences, features, load, maps_with_stored_noise, read_goldens, relative_error
from parity import released as released_features

from actiondiff import FeatureKey
from actiondiff.backbones.svd.inputs import InputEncoder

TIMESTEP = 20


@contextmanager
def in_float64() -> Iterator[None]:
    """Let the network compute in float64 where it says float32."""
    with (
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
        mock.patch.object(InputEncoder, "_vae_dtype", property(lambda self: torch.float64)),
    ):
        yield


def means(goldens: Path, stored: dict[str, torch.Tensor], *, exact: bool = False, **options: object) -> list:
    """Spatial means of both windows by layer, (2, 5, C)."""
    backbone = load(goldens / "sgm_tiny_unet.safetensors", **options)
    keys = [FeatureKey.of(TIMESTEP, layer) for layer in LAYERS]
    if exact:
        backbone._dtype = backbone.inputs._dtype = torch.float64
    maps = maps_with_stored_noise(backbone, stored, keys)
    return [maps[key].double().mean((-2, -1)) for key in keys]


@torch.inference_mode()
def compare(goldens: Path) -> dict[str, dict[str, list[float]]]:
    """Column -> `whole window` and `padded window` -> difference from float64 by layer."""
    stored = read_goldens(goldens)
    with in_float64():
        exact = means(goldens, stored, exact=True)
    columns = {
        "released, CPU": [
            torch.stack(
                [
                    stored[f"t{TIMESTEP}.layer{layer}.mean"][:5],
                    stored[f"w1padded.t{TIMESTEP}.layer{layer}.mean"],
                ]
            )
            for layer in LAYERS
        ]
    }
    for exact_norm in (False, True):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            name = f"ours, CPU, {'exact' if exact_norm else 'plain'} norm, {threads} threads"
            columns[name] = means(goldens, stored, threads=threads, exact_norm=exact_norm)
    if torch.cuda.is_available():
        columns["ours, CUDA float32"] = means(goldens, stored, device="cuda", dtype="float32")
        half = {"dtype": "float16", "vae_dtype": "auto-float16"}
        columns["ours, CUDA default"] = means(goldens, stored, device="cuda", **half)
    return {
        name: {
            window: [relative_error(ours[row], truth[row]) for ours, truth in zip(values, exact, strict=True)]
            for row, window in enumerate(("whole window", "padded window"))
        }
        for name, values in columns.items()
    }


def compare_goldens(goldens: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Column -> golden (`noisy/means`) -> key -> difference from float64."""
    with in_float64():
        truth = features(goldens, exact=True)
    stored = released_features(goldens)
    exact = {name: {key: truth[name][key] for key in values} for name, values in stored.items()}
    return {
        "released, CPU": differences(stored, exact),
        "ours, CPU, plain norm": differences(features(goldens, exact_norm=False), exact),
        "ours, CPU, exact norm": differences(features(goldens), exact),
    }


def table(columns: dict[str, dict[str, list[float]]]) -> str:
    """Rows are layers, with each column's whole and padded window."""
    heads = [f"{name}, {window}" for name, column in columns.items() for window in column]
    lines = ["| layer | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for number, layer in enumerate(LAYERS):
        cells = [f"{errors[number]:.1e}" for column in columns.values() for errors in column.values()]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table_of_goldens(columns: dict[str, dict[str, dict[str, float]]]) -> str:
    """Rows are goldens, with each column's largest difference over timesteps and layers."""
    lines = ["| golden | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for golden in next(iter(columns.values())):
        cells = [f"{max(column[golden].values()):.1e}" for column in columns.values()]
        lines.append(f"| {golden} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("goldens", type=Path)
    parser.add_argument("--json", type=Path, help="file to which every figure is also written")
    parser.add_argument("--windows", action="store_true", help="leave out the goldens, which takes less time")
    arguments = parser.parse_args()
    windows = compare(arguments.goldens)
    figures: dict[str, object] = {"windows": windows}
    print(table(windows))
    if not arguments.windows:
        figures["goldens"] = goldens = compare_goldens(arguments.goldens)
        print(f"\n{table_of_goldens(goldens)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
