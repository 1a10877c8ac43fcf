"""What crops, and taking the background of each camera away, are worth where cameras stand still.

    python benchmarks/still_cameras.py WORK [--train 512] [--test 512] [--backbones pixels,motion] [--seeds 3]
        [--empty 8]

Draws clips of small creatures (`dev menagerie write --still`), crops them by their own boxes
(`videos crop`), extracts both, and trains the same heads with `head.input=standardised` and with
`minus-background`. The background is that of the clips themselves, or of clips of each camera without
creatures (`--empty`, how many of each). Accuracy is that of each test: the same cameras and animals, new
animals at the same cameras, new cameras in new places, and new cameras with a new view. Differences from
whole pictures with standardised tokens have 95 % intervals, which resample individuals and seeds. The boxes
are the true ones: a detector's would be worse. WORK keeps what is finished; a second call continues.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

import actiondiff as ad
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.builtin.world.protocols import PROTOCOLS
from actiondiff.builtin.world.world import world_hash
from actiondiff.datasets.boxes import read_boxes
from actiondiff.datasets.crop_folder import crop_videos
from actiondiff.datasets.cropping import CropOptions
from actiondiff.datasets.table import read_table
from actiondiff.evaluation.paired import difference
from actiondiff.experiments import study
from actiondiff.experiments.compare import ScoredRun, read_scored
from actiondiff.experiments.recipe import load_recipe
from actiondiff.provenance import environment

STANDARDISED, MINUS = "standardised", "minus-background"
VARIANTS = {
    "whole": ("world", STANDARDISED, None),
    "whole, minus-background": ("world", MINUS, None),
    "whole, minus empty background": ("world", MINUS, "empty.csv"),
    "crops": ("crops", STANDARDISED, None),
    "crops, minus-background": ("crops", MINUS, None),
}
"""Name -> folder of the clips, input of the head, table of clips without creatures."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--train", type=int, default=512)
    parser.add_argument("--test", type=int, default=512, help="clips of each of the four tests")
    parser.add_argument("--val", type=int, default=64)
    parser.add_argument("--backbones", default="pixels,motion")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--empty", type=int, default=8, help="clips without creatures of each camera")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    world = options.work / "world"
    if not (world / "empty.csv").is_file():
        write_menagerie(
            world,
            train=options.train,
            test=options.test,
            val=options.val,
            still=True,
            num_empty=options.empty,
        )
    crops = options.work / "crops"
    if not (crops / "table.csv").is_file():
        labels = read_table(world / "table.csv")
        videos = [world / example.video for example in labels.examples]
        crop_videos(crops, videos, read_boxes(world / "boxes.csv"), CropOptions(), labels=labels)
    result = {
        "environment": environment(),
        "world": world_hash(still=True),
        "clips": {"train": options.train, "test": options.test, "val": options.val},
        "empty_per_camera": options.empty,
        "seeds": options.seeds,
        "backbones": {},
    }
    for backbone in options.backbones.split(","):
        scored = {}
        for name, (folder, prepared, empty) in VARIANTS.items():
            store = options.work / "features" / folder / backbone
            table = options.work / folder / "table.csv"
            ad.extract_features(table, store, backbone=backbone)
            background = None if empty is None else options.work / folder / empty
            if background is not None:
                ad.extract_features(background, store, backbone=backbone)
            scored[name] = train(store, table, options, f"{backbone}-{folder}", prepared, background)
        result["backbones"][backbone] = compare(scored, world / "table.csv")
        for test, row in result["backbones"][backbone].items():
            print(backbone, test, row, flush=True)
        if options.json:
            options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def train(
    store: Path,
    table: Path,
    options: argparse.Namespace,
    name: str,
    prepared: str,
    background: Path | None,
) -> ScoredRun:
    """Train the heads of all seeds and read their predictions, in the order of the clips' names."""
    values = {
        "head.input": prepared,
        "seeds": options.seeds,
        "protocol.domain": "protocol",
        "protocol.source": ["source"],
        "protocol.background": None if background is None else str(background),
    }
    run = options.work / "runs" / f"{name}-{prepared}{'' if background is None else '-empty'}"
    study.train(store, table, out=run, recipe=load_recipe("own-videos", values=values))
    scored = read_scored(run)
    order = sorted(range(len(scored.clips)), key=lambda n: source_of(scored.clips[n][0]))
    return scored.subset(order)


def source_of(video: str) -> str:
    """Name of the drawn clip that a crop was made from: `clips/a-mp4_1.mp4` -> `clips/a.mp4`."""
    return video.split("-mp4_")[0].removesuffix(".mp4") + ".mp4"


def compare(scored: dict[str, ScoredRun], table: Path) -> dict[str, dict[str, object]]:
    """Accuracy of each variant on each test, and its difference from the first, with the interval."""
    protocols = pd.read_csv(table).set_index("video")["protocol"]
    first = scored["whole"]
    clips = [source_of(clip[0]) for clip in first.clips]
    rows: dict[str, dict[str, object]] = {}
    for test in PROTOCOLS:
        chosen = [n for n, clip in enumerate(clips) if protocols[clip] == test]
        one = first.subset(chosen).scored
        rows[test] = {"whole": {"accuracy": accuracy(one.probabilities, one.targets)}}
        for name, own in scored.items():
            if name == "whole":
                continue
            assert [source_of(clip[0]) for clip in own.clips] == clips
            other = own.subset(chosen).scored
            contrast = difference("accuracy", other, one)
            rows[test][name] = {
                "accuracy": accuracy(other.probabilities, other.targets),
                "difference": contrast.value,
                "interval": [contrast.low, contrast.high],
            }
    return rows


def accuracy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean accuracy over seeds: (seeds, N, K) and (N, K)."""
    return float((probabilities.argmax(-1) == targets.argmax(-1)).mean())


if __name__ == "__main__":
    main()
