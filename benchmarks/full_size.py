"""One window of a video through the full-size SVD-XT architecture with random weights.

    python benchmarks/full_size.py [clip.mp4] [--json FILE]

The window has 8 frames of 128 x 192 pixels and is computed in float32 up to layer 9. Random weights, scaled
by fan-in, cost the same time and memory as trained ones.
"""

import argparse
import json
import resource
import time

import numpy as np

import actiondiff
from actiondiff.builtin.world.protocols import sample_specs
from actiondiff.builtin.world.world import render_clip
from actiondiff.provenance import environment


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "video", nargs="?", help="video file; by default a clip of the built-in world is rendered"
    )
    parser.add_argument("--json", help="file to which the figures are also written")
    arguments = parser.parse_args()

    if arguments.video:
        frames = actiondiff.read_video(arguments.video, stride=4)[:8]
    else:
        frames = actiondiff.Frames(render_clip(sample_specs("train", 1)[0]).pixels[::4])[:8]
    backbone = actiondiff.load_backbone("random-svd-xt", height=128, width=192, window=8, device="cpu")
    start = time.perf_counter()
    tokens = backbone.extract(frames)[20, 9]
    first = time.perf_counter() - start
    start = time.perf_counter()
    again = backbone.extract(frames)[20, 9]
    figures = {
        "shape": list(tokens.shape),
        "finite": bool(np.isfinite(tokens).all()),
        "mean_abs": float(np.abs(tokens).mean()),
        "same_bits_again": bool(np.array_equal(tokens, again)),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "seconds_with_drawing_weights": first,
        "seconds": time.perf_counter() - start,
        "environment": environment(),
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)


if __name__ == "__main__":
    main()
