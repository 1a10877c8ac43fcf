"""Distance of a preset's features from those at full size, on your own weights and clip.

    python benchmarks/economy.py clip.mp4 --weights svd_xt.safetensors [--preset economy] [--json FILE]

The backbone processes the same frames at its own size and at the preset's. For each layer the script prints
the relative L2 distance over all tokens, the mean cosine between the two tokens of a frame, and, for
comparison, the mean cosine between full-size tokens of different frames. A preset keeps what distinguishes
frames only if its cosine is clearly above that of different frames. How much a head loses can only be
measured by training on both.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import actiondiff
from actiondiff.provenance import environment


def distances(full: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, float]:
    """Distances between two sets of tokens of the same frames, each (T, C)."""
    a, b = (tokens / np.linalg.norm(tokens, axis=1, keepdims=True) for tokens in (full, other))
    between = a @ a.T
    return {
        "relative_l2": float(np.linalg.norm(other - full) / np.linalg.norm(full)),
        "cosine": float((a * b).sum(1).mean()),
        "cosine_of_other_frames": float(between[~np.eye(len(a), dtype=bool)].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video")
    parser.add_argument("--weights", help="checkpoint: file, folder or hub id")
    parser.add_argument(
        "--backbone", default="svd-xt", help="name of the backbone; random-svd-xt needs no weights"
    )
    parser.add_argument("--preset", default="economy")
    parser.add_argument("--layers", default="3,6,9,13")
    parser.add_argument(
        "--frames", type=int, default=25, help="largest number of frames, every fourth of the clip"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--vae-dtype", default="float32")
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    arguments = parser.parse_args()

    frames = actiondiff.read_video(arguments.video, stride=4)[: arguments.frames]
    layers = [int(layer) for layer in arguments.layers.split(",")]
    tokens = []
    for preset in (None, arguments.preset):
        backbone = actiondiff.load_backbone(
            arguments.backbone,
            weights=arguments.weights,
            preset=preset,
            window=len(frames),
            device=arguments.device,
            dtype=arguments.dtype,
            vae_dtype=arguments.vae_dtype,
        )
        print(f"{preset or 'full size'}: {backbone.options.height} x {backbone.options.width}", flush=True)
        tokens.append(backbone.extract(frames, layers=layers).tokens)
    rows = {str(key): distances(full, tokens[1][key]) for key, full in tokens[0].items()}
    print("| layer | relative L2 | cosine | cosine of other frames |\n|---|---|---|---|")
    for key, row in rows.items():
        print(f"| {key} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps({"layers": rows, "environment": environment()}, indent=2))


if __name__ == "__main__":
    main()
