"""What `actiondiff detect` finds on drawn clips, what it costs, and what padding to a square would change.

    python benchmarks/detector.py WORK [--videos VIDEO ...] [--json FILE]

Draws 48 clips of the built-in world, and 48 of its still cameras, into WORK, detects animals in them and
compares boxes of 0.2 or more with the true ones: a box is right if its overlap (intersection over union) with
a true box is at least 0.5. With --videos, detects animals in these twice, once with pictures padded to a
square as zamba pads them. Times are processor times of one thread, decoding included.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from actiondiff.builtin.dataset import write_menagerie
from actiondiff.datasets.boxes import Box, VideoBoxes, read_boxes
from actiondiff.datasets.cropping import overlap
from actiondiff.detection import detector
from actiondiff.detection.run import detect_videos
from actiondiff.detection.yolox import IMAGE_SIDE
from actiondiff.provenance import environment
from actiondiff.video.probe import probe
from actiondiff.video.search import find_videos

LEAST_OVERLAP = 0.5


def detected(out: Path, videos: Sequence[Path]) -> tuple[VideoBoxes, dict[str, float]]:
    """Boxes of 0.2 or more, and what they cost."""
    start = time.process_time()
    result = detect_videos(out, videos, device="cpu", overwrite=True)
    seconds = time.process_time() - start
    return read_boxes(out), {
        "num_frames": result.num_frames,
        "seconds_per_frame": seconds / max(1, result.num_frames),
    }


def matched(boxes: Sequence[Box], others: Sequence[Box]) -> int:
    """Number of boxes that have one of the others, each of which counts once."""
    left = list(others)
    count = 0
    for box in sorted(boxes, key=lambda box: -box.score):
        best = max(left, key=lambda other: overlap(box, other), default=None)
        if best is not None and overlap(box, best) >= LEAST_OVERLAP:
            left.remove(best)
            count += 1
    return count


def by_frame(boxes: Sequence[Box], size: tuple[int, int] = (1, 1)) -> Mapping[int, list[Box]]:
    """The boxes of each frame, as shares of a picture of this width and height."""
    frames: dict[int, list[Box]] = {}
    width, height = size
    for box in boxes:
        edges = box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height
        frames.setdefault(int(box.at), []).append(Box(box.at, *edges, score=box.score))
    return frames


def world(work: Path, *, still: bool) -> dict[str, float]:
    """Precision and recall on drawn clips."""
    folder = work / ("still" if still else "moving")
    write_menagerie(folder, train=16, test=8, val=0, still=still, workers=1)
    videos = find_videos(folder)
    out = work / f"{folder.name}.json"
    boxes, costs = detected(out, videos)
    truth = read_boxes(folder / "boxes.csv")
    looked_at = {
        str(entry["file"]): entry["frames_processed"]
        for entry in json.loads(out.read_text("utf-8"))["images"]
    }
    right = num_boxes = num_true = 0
    for video in videos:
        about = probe(video)
        size = (about.width_px, about.height_px) if truth.in_pixels else (1, 1)
        true = by_frame(truth.boxes[video.absolute()], size)
        own = by_frame(boxes.boxes[video.absolute()])
        for number in looked_at[video.relative_to(work).as_posix()]:
            right += matched(own.get(number, ()), true.get(number, ()))
            num_boxes += len(own.get(number, ()))
            num_true += len(true.get(number, ()))
    return {"precision": right / max(1, num_boxes), "recall": right / num_true, "num_true": num_true, **costs}


def padding(work: Path, videos: Sequence[Path]) -> dict[str, float]:
    """How boxes change if pictures are padded to a square."""
    usual, costs = detected(work / "usual.json", videos)
    multiple = detector._MULTIPLE
    detector._MULTIPLE = IMAGE_SIDE
    try:
        square, square_costs = detected(work / "square.json", videos)
    finally:
        detector._MULTIPLE = multiple
    same = count = 0
    differences: list[float] = []
    for video, boxes in square.boxes.items():
        ours, theirs = by_frame(usual.boxes[video]), by_frame(boxes)
        for number in ours.keys() | theirs.keys():
            mine, other = ours.get(number, []), theirs.get(number, [])
            same += matched(mine, other)
            count += max(len(mine), len(other))
            best = [max((box.score for box in part), default=0.0) for part in (mine, other)]
            differences += [abs(best[0] - best[1])] if min(best) else []
    return {
        "num_boxes": count,
        "same_boxes": same / max(1, count),
        "score_difference": float(np.mean(differences)) if differences else 0.0,
        **costs,
        "square_seconds_per_frame": square_costs["seconds_per_frame"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder to write to")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="videos for the second comparison")
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = arguments.work.absolute()
    figures: dict[str, dict[str, float]] = {
        "drawn": world(work, still=False),
        "drawn, still cameras": world(work, still=True),
    }
    if arguments.videos:
        figures["padding"] = padding(work, find_videos(arguments.videos))
    for name, values in figures.items():
        print(f"{name}: {', '.join(f'{key} {value:.3g}' for key, value in values.items())}", flush=True)
    if arguments.json:
        result = {"figures": figures, "environment": environment()}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
