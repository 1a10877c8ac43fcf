"""Processor time of the built-in backbone on one core, next to another version of the package.

    python benchmarks/tiny.py [--against FOLDER] [--rounds 5] [--json FILE]

FOLDER is the `src` of another checkout, for example of an earlier commit. A new process for each round and
version extracts the features of drawn clips, one batch of four windows at a time, the versions in turns.
Figures are medians of processor time (user and system) per batch, which other work on the machine disturbs
least, and page faults per batch. The hash of the features shows whether the versions give the same bits.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BATCHES = 20
FRAMES = 32  # of a clip: four windows, one batch


def measure() -> dict[str, Any]:
    """Figures of this process, whose package is that of its `PYTHONPATH`."""
    import torch
    from released_path import measured, our_parts

    import actiondiff
    from actiondiff.builtin.world.protocols import sample_specs
    from actiondiff.builtin.world.world import render_clip
    from actiondiff.provenance import environment

    torch.set_num_threads(1)
    backbone = actiondiff.load_backbone("tiny", device="cpu")
    pictures = [render_clip(spec).pixels for spec in sample_specs("train", 4)]
    clips = [actiondiff.Frames(pixels[:FRAMES]) for pixels in pictures]
    digest = hashlib.sha256()
    for clip in clips:  # also a warm-up
        digest.update(backbone.extract(clip, layers=[3, "clip", "vae"])[20, 3].tobytes())
    start = resource.getrusage(resource.RUSAGE_SELF)
    for number in range(BATCHES):
        backbone.extract(clips[number % len(clips)])
    end = resource.getrusage(resource.RUSAGE_SELF)
    with measured(our_parts(backbone), time.process_time) as seconds:
        for number in range(BATCHES):
            backbone.extract(clips[number % len(clips)])
    return {
        "parts_ms": {part: 1e3 * float(value) / BATCHES for part, value in seconds.items()},
        "user_ms": 1e3 * (end.ru_utime - start.ru_utime) / BATCHES,
        "system_ms": 1e3 * (end.ru_stime - start.ru_stime) / BATCHES,
        "page_faults": (end.ru_minflt - start.ru_minflt) / BATCHES,
        "peak_memory_mb": end.ru_maxrss / 1024,
        "features": digest.hexdigest(),
        "frames_per_clip": len(clips[0]),
        "environment": environment(),
    }


def run(source: Path) -> dict[str, Any]:
    """Figures of a new process with this version of the package."""
    command = [sys.executable, __file__, "--measure"]
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="`src` of another checkout")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to which every figure is also written")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure()))
        return
    versions = {"this": Path(__file__).parents[1] / "src"}
    if arguments.against:
        versions["other"] = arguments.against.resolve()
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in versions}
    for _ in range(arguments.rounds):
        for name, source in versions.items():
            rounds[name].append(run(source))
    summary: dict[str, Any] = {}
    for name, figures in rounds.items():
        names = ("user_ms", "system_ms", "page_faults", "peak_memory_mb")
        summary[name] = {key: statistics.median(one[key] for one in figures) for key in names}
        parts = figures[0]["parts_ms"]
        summary[name]["parts_ms"] = {
            part: statistics.median(one["parts_ms"][part] for one in figures) for part in parts
        }
        summary[name]["processor_ms"] = statistics.median(
            one["user_ms"] + one["system_ms"] for one in figures
        )
    if arguments.against:
        ratios = [
            (other["user_ms"] + other["system_ms"]) / (this["user_ms"] + this["system_ms"])
            for this, other in zip(rounds["this"], rounds["other"], strict=True)
        ]
        hashes = {one["features"] for figures in rounds.values() for one in figures}
        summary |= {"times_as_fast": statistics.median(ratios), "same_bits": len(hashes) == 1}
    print(json.dumps(summary, indent=2))
    if arguments.json:
        text = json.dumps({"summary": summary, "rounds": rounds}, indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
