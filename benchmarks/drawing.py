"""Speed at which clips of the built-in world are drawn, and how much several processes save.

    python benchmarks/drawing.py [--against SRC] [--clips 60] [--repeats 5] [--json FILE]

Clips of 16 frames of 64x64 pixels, as in pre-training, are drawn in one process; clips per second of CPU
time count, as the median of repeats. With `--against`, the package in another source folder (such as that of
an older commit) takes turns with this one, and both must draw the same pixels. Then a dataset of clips of 64
frames is written by one process and by one process per core, in turns, and the files must be the same.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from actiondiff.builtin.dataset import write_menagerie
from actiondiff.outputs.claims import STATE_FOLDER
from actiondiff.processes import num_cores
from actiondiff.provenance import environment

_HERE = Path(__file__).parents[1] / "src"
_PROGRAM = """
import hashlib, sys, time
try:
    from actiondiff.builtin.pretraining.clips import clip_specs
    from actiondiff.builtin.world.world import render_clip
except ModuleNotFoundError:  # the folders of older versions
    from actiondiff.pretraining.clips import clip_specs
    from actiondiff.menagerie.world import render_clip
specs = clip_specs(int(sys.argv[1]), seed=5)
render_clip(specs[0], num_frames=16, fps=6.25)
digest, start = hashlib.sha256(), time.process_time()
for spec in specs:
    digest.update(render_clip(spec, num_frames=16, fps=6.25).pixels.tobytes())
print(len(specs) / (time.process_time() - start), digest.hexdigest())
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="source folder of another version")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="file to which the figures are also written")
    arguments = parser.parse_args()
    folders = {"ours": _HERE} | ({"other": arguments.against} if arguments.against else {})
    speeds: dict[str, list[float]] = {name: [] for name in folders}
    digests = set()
    for _ in range(arguments.repeats):
        for name, folder in folders.items():
            speed, digest = draw(folder, arguments.clips)
            speeds[name].append(speed)
            digests.add(digest)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    result = {
        "clips_per_core_second": medians,
        "times_faster": medians["ours"] / medians["other"] if arguments.against else None,
        "same_pixels": len(digests) == 1,
        "dataset": datasets(arguments.clips, arguments.repeats),
        "machine": environment(),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def draw(folder: Path, clips: int) -> tuple[float, str]:
    """Clips per second of processor time of the package in a folder, and a digest of their pixels."""
    line = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(clips)],
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return float(line[0]), line[1]


def datasets(clips: int, repeats: int) -> dict[str, object]:
    """Time to write a dataset with one process and with one per core."""
    seconds: dict[int, list[float]] = {1: [], num_cores(): []}
    digests = set()
    for _ in range(repeats):
        for workers, times in seconds.items():
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                write_menagerie(folder, train=clips, test=8, val=8, workers=workers)
                times.append(time.perf_counter() - start)
                digests.add(digest_of(Path(folder)))
    one, all_cores = (statistics.median(times) for times in (seconds[1], seconds[num_cores()]))
    return {
        "videos": clips + 8 + 4 * 8,
        "cores": num_cores(),
        "wall_seconds": {"one_process": one, "one_per_core": all_cores},
        "times_faster": one / all_cores,
        "same_files": len(digests) == 1,
    }


def digest_of(folder: Path) -> str:
    """Digest of the videos and tables in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        # The record of what was written holds times.
        if path.is_file() and path.name != "world.json" and STATE_FOLDER not in path.parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
