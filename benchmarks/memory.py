"""Peak memory of extracting features of a one-minute and of a sixty-minute video.

    python benchmarks/memory.py [--minutes 60] [--json FILE]

Both videos are made by the script: 30 different frames per second of 96x64 pixels. The features of each are
extracted in a process of its own, with the built-in backbone at 32x32. Only the features themselves should
grow with the length of the video.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import actiondiff
from actiondiff.provenance import environment
from actiondiff.video.write import write_video

LIMIT_MB = 100
HEIGHT, WIDTH, FPS = 64, 96, 30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=60, help="duration of the longer video")
    parser.add_argument("--json", help="file to which the figures are also written")
    parser.add_argument("--extract", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.extract:
        extract(Path(arguments.extract))
        return
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (1, arguments.minutes):
            video = Path(folder) / f"{minutes}-minutes.mp4"
            write(video, minutes * 60 * FPS)
            done = subprocess.run(
                [sys.executable, __file__, "--extract", str(video)],
                check=True,
                capture_output=True,
                text=True,
            )
            figures[f"{minutes}_minutes"] = json.loads(done.stdout)
    first, second = (entry["peak_memory_mb"] for entry in figures.values())
    figures |= {
        "difference_mb": second - first,
        "limit_mb": LIMIT_MB,
        "machine": environment(),
    }
    print(json.dumps(figures, indent=2))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if second - first >= LIMIT_MB:
        sys.exit(1)


def write(path: Path, num_frames: int) -> None:
    """Write a video of moving noise, whose frames share one small block of memory."""
    noise = np.random.default_rng(0).integers(0, 256, 3 * (num_frames + HEIGHT * WIDTH), dtype=np.uint8)
    noise = np.convolve(noise, np.ones(48) / 48, mode="same").astype(
        np.uint8
    )  # soft, so that the file is small
    strides = (3, 3 * WIDTH, 3, 1)
    shape = (num_frames, HEIGHT, WIDTH, 3)
    write_video(path, np.lib.stride_tricks.as_strided(noise, shape, strides, writeable=False), fps=FPS)


def extract(video: Path) -> None:
    backbone = actiondiff.load_backbone("tiny", height=32, width=32, threads=1, device="cpu")
    start = time.perf_counter()
    store = video.with_suffix(".features")
    summary = actiondiff.extract_features(video, store, backbone=backbone)
    assert summary.ok
    features = actiondiff.FeatureStore.open(store).read(video.name)
    figures = {
        "tokens": len(features),
        "features_mb": sum(tokens.nbytes for tokens in features.tokens.values()) / 1e6,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "seconds": time.perf_counter() - start,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
