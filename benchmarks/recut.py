"""Time to cut a ten-minute video into bouts again, with other thresholds and lengths, from kept features.

    python benchmarks/recut.py WORK [--minutes 10] [--backbone pixels] [--repeats 3] [--json FILE]

A video of two alternating textures, 25 frames a second, is drawn in WORK, and a model that tells them apart
is trained. `actiondiff predict --timeline` is called once, which reads the video, and then again with other
options and formats; each call is a process of its own, so that its start counts as well. The page keeps
scores, so its part is measured within one process: cutting, writing all downloads, and rendering the
timeline. What an earlier call left in WORK is used again.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actiondiff.provenance import environment
from actiondiff.video.write import write_chunks, write_video

FPS, HEIGHT, WIDTH = 25, 240, 320
KINDS = ("fine", "coarse")
BOUT_SECONDS = 6
OPTIONS = [
    ["--threshold", "0.6", "--min-seconds", "1"],
    ["--smooth-seconds", "2", "--max-gap-seconds", "1.5"],
    ["--threshold", "0.8", "--format", "csv,json,boris,deepethogram"],
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for videos, features and runs")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--backbone", default="pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="file to which the figures are also written")
    arguments = parser.parse_args()
    work, run = arguments.work, arguments.work / "run"
    film = work / f"film-{arguments.minutes:g}.mp4"
    if not film.exists():
        write_chunks(film, draw(round(60 * arguments.minutes)), fps=FPS)
    if not (run / "config.json").exists():
        train(work, run, arguments.backbone)
    predict = ["predict", str(run), str(film), "-o", str(work / "out"), "--timeline"]
    first = call(*predict)
    again = [call(*predict, *OPTIONS[n % len(OPTIONS)]) for n in range(arguments.repeats * len(OPTIONS))]
    result = {
        "minutes": arguments.minutes,
        "backbone": arguments.backbone,
        "command": {"first": first, "again": summary(again)},
        **page(run, film, work, arguments.repeats),
        "machine": environment(),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def draw(seconds: int, *, kind: str | None = None, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """A moving texture, one second at a time; its grain changes every few seconds unless a kind is given."""
    rng = np.random.default_rng(seed)
    for second in range(seconds):
        grain = {"fine": 2, "coarse": 16}[kind or KINDS[second // BOUT_SECONDS % 2]]
        noise = rng.integers(0, 256, (HEIGHT // grain, WIDTH // grain + FPS, 3), dtype=np.uint8)
        film = noise.repeat(grain, axis=0).repeat(grain, axis=1)
        yield np.stack([film[:HEIGHT, t : t + WIDTH] for t in range(FPS)])


def train(work: Path, run: Path, backbone: str) -> None:
    """Draw short clips of each kind, and train a model of them."""
    for number in range(24):
        kind = KINDS[number % 2]
        pixels = np.concatenate(list(draw(2, kind=kind, seed=number + 1)))
        write_video(work / "clips" / kind / f"{number}.mp4", pixels, fps=FPS)
    store = str(work / "features")
    call("extract", str(work / "clips"), "-o", store, "--backbone", backbone)
    call("train", store, str(work / "clips"), "-o", str(run))


def call(*arguments: str) -> dict[str, float]:
    """Seconds of wall clock and of the processor that a command takes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "actiondiff", *arguments], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}


def page(run: Path, film: Path, work: Path, repeats: int) -> dict[str, object]:
    """Seconds from a move of a slider to a new timeline: on the page of a video and on that of a folder."""
    from actiondiff.app.analysis import Findings, retime, write_exports
    from actiondiff.app.fragments import show_timeline
    from actiondiff.inference.feature_cache import FeatureCache
    from actiondiff.inference.model import ActionDiff
    from actiondiff.inference.timeline import TimelineOptions, cut_timeline, score_timeline

    model = ActionDiff.from_pretrained(run, device="cpu")
    features = FeatureCache.open(work / "out/features", model.backbone_settings, model.config, [film]).load(
        film
    )
    assert features is not None
    scores = score_timeline(model.head, model.config, features, film.name)
    findings = Findings(film, film, features, model.classify(features, film.name), scores, scores)
    moves = [TimelineOptions(threshold=0.5 + 0.02 * n, min_seconds=0.1 * n) for n in range(3 * repeats)]

    def on_page(options: TimelineOptions) -> None:
        cut = retime(model, findings, options)
        show_timeline(cut, {name: name for name in write_exports("model", cut, work / "exports")})

    def in_folder(options: TimelineOptions) -> None:
        cut_timeline(scores, model.config, options=options)

    return {
        "num_tokens": list(model.config.tokens_of(features).shape),
        "page_of_a_video": summary([timed(on_page, options) for options in moves]),
        "page_of_a_folder_per_video": summary([timed(in_folder, options) for options in moves]),
    }


def timed(act: Callable[..., None], *arguments: object) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    act(*arguments)
    return {"wall_seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}


def summary(calls: list[dict[str, float]]) -> dict[str, float]:
    """Median and largest of the figures of several calls."""
    return {
        f"{what}_{name}": round(float(value([call[name] for call in calls])), 4)
        for name in ("wall_seconds", "cpu_seconds")
        for what, value in (("median", np.median), ("largest", max))
    }


if __name__ == "__main__":
    main()
