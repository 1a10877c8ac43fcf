"""Damaged videos give as many frames as FFmpeg's own program makes of them, less one at most.

    python benchmarks/mutants.py FOLDER_OF_CLIPS [--mutants 300] [--seed 0] [--keep FOLDER] [--json FILE]

Clips of the folder and the videos of `tests/cases` are damaged as in `faults.py` (flipped bits, cut short,
damaged tables) and read by this package and by `ffmpeg -map 0:N -fps_mode passthrough -f framecrc -`, where N
is the stream that this package chose. Videos that a limit refuses are counted apart. The script needs
`ffmpeg`, and ends with 1 after any violation.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from faults import CASES, LARGEST_MUTANT, REFUSED, mutate, plain_count

from actiondiff.errors import VideoError
from actiondiff.provenance import environment
from actiondiff.types import DecodeReport
from actiondiff.video.container import open_video
from actiondiff.video.decode import iter_video
from actiondiff.video.search import find_videos

NO_FRAME = 10**6  # stride: all frames are decoded, the first one is converted
LONGEST_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path, help="folder of videos")
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="seed of the damage")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="folder to which violations are copied")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to which the figures are written")
    arguments = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        print("skipped: ffmpeg is not installed")
        return
    originals = [*find_videos([arguments.clips]), *find_videos([CASES])]
    sources = [path for path in originals if 0 < path.stat().st_size <= LARGEST_MUTANT]
    with tempfile.TemporaryDirectory() as folder:
        kinds = mutate(sources, Path(folder), arguments.mutants, seed=arguments.seed)
        figures = compare(Path(folder), kinds, arguments.keep)
    figures |= {"sources": len(sources), "ffmpeg": ffmpeg_version(), "machine": environment()}
    print(json.dumps({name: value for name, value in figures.items() if name != "machine"}, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if figures["violations"]:
        sys.exit(1)


def compare(folder: Path, kinds: dict[str, str], kept: Path | None) -> dict[str, Any]:
    """Count the frames of every mutant in both ways."""
    outcomes: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    violations = []
    for name, kind in kinds.items():
        path = folder / name
        stream, report = read(path)
        theirs, ours = ffmpeg_count(path, stream), report.num_frames_decoded
        is_refused = report.status == "failed" and report.reason.startswith(REFUSED)
        outcomes[f"{kind}: {'refused by a limit' if is_refused else report.status}"] += 1
        if is_refused:
            continue
        frames["ours"] += ours
        frames["ffmpeg"] += theirs
        comparison = "as many" if ours == theirs else "more" if ours > theirs else "fewer"
        outcomes[f"{comparison} frames than ffmpeg"] += 1
        if ours < theirs - 1 or (report.status != "ok" and not report.reason):
            alone = plain_count(path)
            problem = (
                f"{name}: {ours} frames, ffmpeg {theirs}, PyAV alone before its first error {alone} "
                f"({report.status}: {report.reason})"
            )
            violations.append(problem)
            print(problem, file=sys.stderr, flush=True)
            if kept:
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, kept / name)
    return {
        "videos": len(kinds),
        "frames": dict(frames),
        "outcomes": dict(sorted(outcomes.items())),
        "violations": violations,
    }


def read(path: Path) -> tuple[int | None, DecodeReport]:
    """The number of the stream that is chosen, and how decoding all of it goes."""
    number = None
    try:
        with open_video(path) as (_, stream):
            number = stream.index
        reader = iter_video(path, stride=NO_FRAME)
        for _ in reader:
            pass
    except VideoError as error:
        return number, DecodeReport("failed", error.reason_for(path))
    return number, reader.report


def ffmpeg_count(path: Path, stream: int | None) -> int:
    """Number of frames that ffmpeg decodes of a stream; of the first video stream if None."""
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-threads", "1", "-i", f"file:{path}"]
    command += ["-map", "0:v:0" if stream is None else f"0:{stream}", "-fps_mode", "passthrough"]
    try:
        done = subprocess.run(
            [*command, "-f", "framecrc", "-"], capture_output=True, timeout=LONGEST_SECONDS, check=False
        )
        lines = done.stdout
    except subprocess.TimeoutExpired as error:
        lines = error.stdout or b""
    return sum(not line.startswith(b"#") for line in lines.splitlines() if line)


def ffmpeg_version() -> str:
    """First line of `ffmpeg -version`."""
    return subprocess.run(
        ["ffmpeg", "-version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]


if __name__ == "__main__":
    main()
