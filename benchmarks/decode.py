"""Speed of ActionDiff's video reader against PyAV alone.

    python benchmarks/decode.py [CLIP ...] [--repeats 7] [--json FILE]

Every fourth frame is read as RGB in one thread, in three ways: by our reader, which also hashes the file,
checks the time of every packet, turns rotated frames, reports missing ones and gathers frames in arrays of
32; by PyAV alone, as a careful user writes it (decode in order, `to_ndarray(format="rgb24")` of the frames
that are wanted), dropping each frame at once; and by PyAV with frames gathered in arrays of 32, as our reader
returns them. The three take turns on each clip; the best of the repeats counts, in processor time. Without
clips, two of 300 frames are made: 320x240 and 1280x720.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import av
import numpy as np

from actiondiff.provenance import environment
from actiondiff.video.decode import iter_video
from actiondiff.video.write import write_video

STRIDE = 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", help="file to which the figures are also written")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = arguments.clips or [make(Path(folder), *size) for size in ((240, 320), (720, 1280))]
        figures = {clip.name: compare(clip, arguments.repeats) for clip in clips}
    result = {
        "clips": figures,
        **{
            name: {"median": float(np.median(ratios)), "lowest": min(ratios)}
            for name in ("ours_by_raw", "ours_by_raw_gathered")
            for ratios in [[entry[name] for entry in figures.values()]]
        },
        "machine": environment(),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def make(folder: Path, height: int, width: int) -> Path:
    """Make a video of a moving texture."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8 + 300, 3), dtype=np.uint8)
    film = noise.repeat(8, axis=0).repeat(8, axis=1)
    path = folder / f"{width}x{height}.mp4"
    write_video(path, np.stack([film[:, 2 * t : 2 * t + width] for t in range(300)]), fps=30)
    return path


def ours(clip: Path) -> Iterator[np.ndarray]:
    for chunk in iter_video(clip, stride=STRIDE):
        yield from chunk.pixels


def raw(clip: Path) -> Iterator[np.ndarray]:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for number, frame in enumerate(container.decode(stream)):
            if number % STRIDE == 0:
                yield frame.to_ndarray(format="rgb24")


def raw_gathered(clip: Path) -> Iterator[np.ndarray]:
    for _, frames in groupby(enumerate(raw(clip)), key=lambda item: item[0] // 32):
        yield from np.stack([frame for _, frame in frames])


WAYS = {"ours": ours, "raw": raw, "raw_gathered": raw_gathered}


def compare(clip: Path, repeats: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    counts = {}
    for _ in range(repeats):
        for name, read in WAYS.items():
            seconds[name].append(timed(lambda read=read, name=name: counts.update({name: drain(read(clip))})))
    assert len(set(counts.values())) == 1, f"{clip.name}: {counts}"
    rates = {name: STRIDE * counts[name] / min(values) for name, values in seconds.items()}
    return {
        "kept_frames": counts["ours"],
        **{f"{name}_source_frames_a_second": rate for name, rate in rates.items()},
        "ours_by_raw": rates["ours"] / rates["raw"],
        "ours_by_raw_gathered": rates["ours"] / rates["raw_gathered"],
    }


def drain(frames: Iterator[np.ndarray]) -> int:
    return sum(1 for _ in frames)


def timed(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


if __name__ == "__main__":
    main()
