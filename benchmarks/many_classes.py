"""Time and size of the report of a training run with many classes.

    python benchmarks/many_classes.py [--classes 1000] [--clips 6] [--json FILE]

A store of drawn features is filled, one cluster per class, and a linear head is trained on it. Printed are
the processor time of `actiondiff report` on the run, with that of starting Python and loading the libraries,
and the sizes of what it writes.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from actiondiff.features.store import FORMAT, FeatureStore
from actiondiff.provenance import environment
from actiondiff.types import DecodeReport, FeatureKey, Features

WIDTH, TOKENS = 32, 2
QUICK = ("head.name=mean-linear", "head.input=plain", "head.project=null", "training.epochs=6")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--clips", type=int, default=6, help="clips per class")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to which the figures are written")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fill(root, arguments.classes, arguments.clips)
        settings = [
            part for setting in (*QUICK, "training.learning_rate=0.05") for part in ("--set", setting)
        ]
        run("train", str(root / "store"), str(root / "table.csv"), "-o", str(root / "run"), *settings)
        seconds = run("report", str(root / "run"))
        files = {path.name: path.stat().st_size for path in (root / "run/report-figures").iterdir()}
        figures = {
            "classes": arguments.classes,
            "clips": arguments.classes * arguments.clips,
            "processor_seconds": round(seconds, 1),
            "page_bytes": (root / "run/report.html").stat().st_size,
            "figures_bytes": sum(files.values()),
            "largest_figure": max(files, key=lambda name: files[name]),
            "machine": environment(),
        }
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", "utf-8")


def fill(root: Path, num_classes: int, num_clips: int) -> None:
    """Write a store and a table: clips of a class lie around a point of its own."""
    rng = np.random.default_rng(0)
    settings = {
        "format": FORMAT, "backbone": {"name": "pixels"}, "sampling": {"stride": 4}, "store_dtype": "float32",
    }  # fmt: skip
    store = FeatureStore.create(root / "store", settings=settings, root=root)
    lines = ["video,label"]
    for number, centre in enumerate(rng.normal(size=(num_classes, WIDTH))):
        for clip in range(num_clips):
            name = f"{number:04}/{clip}.mp4"
            tokens = (centre + 1.5 * rng.normal(size=(TOKENS, WIDTH))).astype(np.float32)
            features = Features(
                tokens={FeatureKey(0, "pixels"): tokens},
                seconds=np.arange(TOKENS) / 7.5,
                frame_index=np.arange(TOKENS) * 4,
                identity=hashlib.sha256(name.encode()).hexdigest(),
                num_windows=1,
                window_length=TOKENS,
                report=DecodeReport("ok", "", 4 * TOKENS, 4 * TOKENS),
            )
            store.write(name, features)
            lines.append(f"{name},action number {number:04}")
    store.tidy()
    (root / "table.csv").write_text("\n".join(lines) + "\n", "utf-8")


def run(*arguments: str) -> float:
    """Run a command of the product; returns its processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "actiondiff", *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


if __name__ == "__main__":
    main()
