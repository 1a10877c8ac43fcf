"""The verdicts of `actiondiff start` where the right one is known, and the time it takes.

    python benchmarks/start.py WORK [--videos FOLDER] [--cases good,shuffled,...] [--clips 96]
                                    [--options "OPTIONS OF start"] [--json FILE]

Cases on clips of the drawn world:

- `good`: the true labels. Right: works, or not better than a control that is named.
- `shuffled`: the same labels in another order. Right: not better than guessing.
- `few`: 12 clips of two classes. Right: too few recordings to tell.
- `leaky`: each clip cut into four files, whose label names nothing but the recording. Right: the recordings
  are proposed as groups, and the verdict is not better than guessing.
- `leaky-flattered`: the same with every file as a group of its own, which shows what the leak is worth.
- `motion`: the label is how much moves in the picture. Right: not better than simple motion.

Cases on the real clips of FOLDER, which has an `index.csv` (columns `file`, `class`, `duration_s`):

- `real-index`: the classes of the index. Most have a single recording, and those that are left come from
  different collections. Right: too few recordings to tell, or not better than a control, since colours alone
  can tell collections apart.
- `real-animals`, `real-limbs`: coarse classes (see `real_sets.py`), of which enough recordings exist.

Each case is one command in a process of its own. What an earlier call left in WORK is used again, so a time
is only that of a first run.
"""

import argparse
import csv
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from real_sets import write_real_sets

import actiondiff as ad
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.provenance import environment
from actiondiff.video.write import write_video

PARTS = 4  # files that a recording is cut into
RECORDING_LABELS = ("a", "b", "c", "d")
UNLABELLED = 4  # clips of the drawn world that get no label, for the ethogram


@dataclass(frozen=True)
class Case:
    """One call of `actiondiff start`.

    Attributes:
        folder: Folder of the videos.
        labels: Table of their labels.
        right: Verdicts that are right.
        options: Further options.
    """

    folder: Path
    labels: Path
    right: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a case came to."""

    outcome: str
    sentence: str
    is_right: bool
    seconds: float
    processor_seconds: float
    lines: tuple[str, ...] = field(repr=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for clips, features and runs")
    parser.add_argument("--videos", type=Path, help="folder of real clips with their index.csv")
    parser.add_argument("--cases", help="cases to run, separated by commas; all by default")
    parser.add_argument("--clips", type=int, default=96, help="clips of the drawn world")
    parser.add_argument("--json", type=Path, help="file to which the verdicts are also written")
    parser.add_argument("--options", default="", help="further options of start, as in '--backbone pixels'")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    makers: dict[str, Callable[[], Case]] = {
        "good": lambda: drawn(work, arguments.clips, "good"),
        "shuffled": lambda: drawn(work, arguments.clips, "shuffled"),
        "few": lambda: few(work, arguments.clips),
        "leaky": lambda: leaky(work, arguments.clips),
        "leaky-flattered": lambda: leaky(work, arguments.clips, "--groups", "videos", "--backbone", "pixels"),
        "motion": lambda: drawn(work, arguments.clips, "motion"),
    }
    if arguments.videos:
        videos = arguments.videos.resolve()
        makers |= {
            "real-index": lambda: real_index(work, videos),
            "real-animals": lambda: real(work, videos, "animals or people"),
            "real-limbs": lambda: real(work, videos, "arms or whole body"),
        }
    names = arguments.cases.split(",") if arguments.cases else list(makers)
    outcomes = {}
    for name in names:
        outcomes[name] = run(makers[name](), work, name, shlex.split(arguments.options))
        done = outcomes[name]
        print(f"== {name}: {'right' if done.is_right else 'WRONG'}, {done.seconds:.0f} s", flush=True)
        print("\n".join(done.lines[-3:]), flush=True)
        if arguments.json:
            result = {
                "environment": environment(),
                "clips": arguments.clips,
                "options": arguments.options,
                "cases": {key: asdict(value) for key, value in outcomes.items()},
            }
            arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def run(case: Case, work: Path, name: str, options: Sequence[str]) -> Outcome:
    """Call `actiondiff start`, and read its verdict."""
    out = work / "out" / name
    command = ["start", str(case.folder), str(case.labels), "-o", str(out), *case.options, *options]
    started, used = time.perf_counter(), processor_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "actiondiff", *command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    verdict = json.loads((out / "verdict.json").read_text("utf-8"))
    printed = done.stdout.replace(str(work), "WORK").replace(str(case.folder), "VIDEOS")
    relative = os.path.relpath(case.folder, case.labels.parent)
    if relative.startswith(".."):
        printed = printed.replace(relative, "VIDEOS")
    return Outcome(
        outcome=verdict["outcome"],
        sentence=verdict["sentence"],
        is_right=verdict["outcome"] in case.right,
        seconds=round(time.perf_counter() - started, 1),
        processor_seconds=round(processor_seconds() - used, 1),
        lines=tuple(printed.splitlines()),
    )


def processor_seconds() -> float:
    """Processor time of finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def drawn(work: Path, clips: int, name: str) -> Case:
    """Clips of the drawn world with their own labels, with the same shuffled, or with how much moves."""
    rows, rest = world(work, clips)
    labels = [row["label"] for row in rows]
    if name == "shuffled":
        np.random.default_rng(0).shuffle(labels)
    if name == "motion":
        moving = [motion(work / "world" / row["video"]) for row in rows]
        bounds = np.quantile(moving, [1 / 3, 2 / 3])
        labels = [("still", "slow", "fast")[np.searchsorted(bounds, value)] for value in moving]
    path = work / "world" / f"{name}.csv"
    write(path, [{**row, "label": label} for row, label in zip(rows, labels, strict=True)] + rest)
    right = {
        "good": ("works", "not better than controls"),
        "shuffled": ("not better than guessing",),
        "motion": ("not better than controls", "works"),
    }
    return Case(work / "world" / "clips", path, right[name])


def few(work: Path, clips: int) -> Case:
    """Twelve clips of two classes."""
    rows, _ = world(work, clips)
    names = sorted({row["label"] for row in rows})[:2]
    chosen = [row for name in names for row in [r for r in rows if r["label"] == name][:6]]
    folder = work / "few"
    copied = [{**row, "video": Path(row["video"]).name} for row in chosen]
    folder.mkdir(parents=True, exist_ok=True)
    for row, copy in zip(chosen, copied, strict=True):
        shutil.copyfile(work / "world" / row["video"], folder / copy["video"])
    write(folder / "labels.csv", copied)
    return Case(folder, folder / "labels.csv", ("too few",))


def leaky(work: Path, clips: int, *options: str) -> Case:
    """Recordings cut into files; the labels are drawn for each recording, so that they name nothing else."""
    rows, _ = world(work, clips)
    folder, written = work / "leaky", []
    random = np.random.default_rng(0)
    labels = random.permutation(np.resize(RECORDING_LABELS, len(rows)))
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        paths = [folder / f"rec{number:02d}_{part}.mp4" for part in range(PARTS)]
        if not paths[-1].exists():
            pixels = ad.read_video(work / "world" / row["video"], stride=1).pixels
            for path, part in zip(paths, np.array_split(pixels, PARTS), strict=True):
                write_video(path, part, fps=25)
        written += [{"video": path.name, "label": str(label)} for path in paths]
    write(folder / "labels.csv", written)
    right = ("works",) if options else ("not better than guessing",)
    return Case(folder, folder / "labels.csv", right, options)


def world(work: Path, clips: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows of the drawn world's clips with labels, and of those without; drawn if they are not there."""
    folder = work / "world"
    if not (folder / "table.csv").exists():
        write_menagerie(folder, train=clips + UNLABELLED, val=0, test=0, seed=300)
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name: row[name] for name in ("video", "label", "group")} for row in csv.DictReader(file)]
    return rows[:clips], [{**row, "label": ""} for row in rows[clips:]]


def motion(video: Path) -> float:
    """Mean change of a pixel from frame to frame."""
    pixels = ad.read_video(video, stride=1).pixels.astype(np.float32)
    return float(np.abs(np.diff(pixels, axis=0)).mean())


def real_index(work: Path, videos: Path) -> Case:
    """The classes of the index, one row per clip."""
    with (videos / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["class"]]
    path = work / "real" / "index.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    named = [os.path.relpath(videos / row["file"], path.parent) for row in rows]
    write(path, [{"video": name, "label": row["class"]} for name, row in zip(named, rows, strict=True)])
    return Case(videos, path, ("too few", "not better than controls"))


def real(work: Path, videos: Path, name: str) -> Case:
    """A set of coarse classes."""
    right = ("works", "not better than controls", "too few")
    return Case(videos, write_real_sets(videos, work / "real")[name], right)


def write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
