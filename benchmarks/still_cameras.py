"""What crops, and taking the background of each camera away, are worth where cameras stand still.

    python benchmarks/still_cameras.py WORK [--train 512] [--test 512] [--backbones pixels,motion] [--seeds 3]
        [--targets development]

Draws clips of small creatures (`dev menagerie write --still`), extracts them whole and cropped by their own
boxes (`extract --boxes`, with the layer `track`), and trains the same heads with `head.input=standardised`
and with `minus-background`, on crops also with the three channels of `track` beside each token. Accuracy is
that of each test: the same cameras and animals, new animals at the same cameras, new cameras in new places,
and new cameras with a new view. Differences from whole pictures with standardised tokens have 95 % intervals,
which resample individuals and seeds; `crops, track` is compared with `crops` as well. The boxes are the true
ones: a detector's would be worse. WORK keeps what is finished, of both targets; a second call continues.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

import actiondiff as ad
from actiondiff.backbones.base import shipped_specs
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.builtin.world.protocols import PROTOCOLS
from actiondiff.builtin.world.world import world_hash
from actiondiff.datasets.boxes import read_boxes
from actiondiff.evaluation.paired import difference
from actiondiff.experiments import study
from actiondiff.experiments.compare import ScoredRun, read_scored
from actiondiff.experiments.recipe import load_recipe
from actiondiff.extraction.crops import write_crops_for_store
from actiondiff.provenance import environment
from actiondiff.types import TRACK, FeatureKey

STANDARDISED, MINUS = "standardised", "minus-background"
BOXES = "boxes"
WHOLE, CROPS, TRACK_TOO = "whole", "crops", "crops, track"
VARIANTS = {
    WHOLE: (None, STANDARDISED, False),
    "whole, minus-background": (None, MINUS, False),
    CROPS: (BOXES, STANDARDISED, False),
    "crops, minus-background": (BOXES, MINUS, False),
    TRACK_TOO: (BOXES, STANDARDISED, True),
}
"""Name -> whether the pictures are crops, input of the head, whether the channels of `track` are read too."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--train", type=int, default=512)
    parser.add_argument("--test", type=int, default=512, help="clips of each of the four tests")
    parser.add_argument("--val", type=int, default=64)
    parser.add_argument("--backbones", default="pixels,motion")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--empty", type=int, default=8, help="clips without creatures of each camera")
    parser.add_argument("--targets", choices=["development", "reserved"], default="development")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    name = "world" if options.targets == "development" else "world-reserved"
    world = options.work / name
    if not (world / "table.csv").is_file():
        write_menagerie(
            world,
            train=options.train,
            test=options.test,
            val=options.val,
            still=True,
            targets=options.targets,
        )
    result = {
        "environment": environment(),
        "world": world_hash(still=True),
        "targets": options.targets,
        "clips": {"train": options.train, "test": options.test, "val": options.val},
        "seeds": options.seeds,
        "backbones": {},
    }
    for backbone in options.backbones.split(","):
        scored = {}
        for variant, (crops, prepared, with_track) in VARIANTS.items():
            store = options.work / "features" / (f"{name}-{crops}" if crops else name) / backbone
            keys = extract(world, store, backbone, is_cropped=crops is not None)
            run = "-".join(filter(None, (backbone, name, crops, prepared, "track" if with_track else "")))
            chosen = keys if with_track else None
            scored[variant] = train(store, world / "table.csv", options, run, prepared, chosen)
        result["backbones"][backbone] = compare(scored, world / "table.csv")
        for test, row in result["backbones"][backbone].items():
            print(backbone, test, row, flush=True)
        if options.json:
            options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def extract(world: Path, store: Path, backbone: str, *, is_cropped: bool) -> list[str]:
    """Extract the clips, whole or cropped; returns the names of the backbone's own feature and of `track`."""
    spec = shipped_specs()[backbone]
    keys = [FeatureKey.of(spec.timestep, layer) for layer in (spec.layer, TRACK)]
    if not is_cropped:
        ad.extract_features(world / "table.csv", store, backbone=backbone)
    elif not (store / "complete").is_file():  # writing the crops takes as long as reading all clips once
        crops = write_crops_for_store([world / "table.csv"], store, read_boxes(world / "boxes.csv"))
        layers = [key.layer for key in keys]
        ad.extract_features(crops.videos, store, root=crops.root, backbone=backbone, layers=layers)
        (store / "complete").touch()
    return [str(key) for key in keys]


def train(
    store: Path, table: Path, options: argparse.Namespace, run: str, prepared: str, keys: list[str] | None
) -> ScoredRun:
    """Train the heads of all seeds and read their predictions, in the order of the clips' names."""
    values = {
        "head.input": prepared,
        "seeds": options.seeds,
        "protocol.domain": "protocol",
        "protocol.source": ["source"],
        **({"features.keys": keys} if keys else {}),
    }
    folder = options.work / "runs" / run
    study.train(store, table, out=folder, recipe=load_recipe("own-videos", values=values))
    scored = read_scored(folder)
    order = sorted(range(len(scored.clips)), key=lambda n: source_of(scored.clips[n][0]))
    return scored.subset(order)


def source_of(video: str) -> str:
    """Name of the drawn clip that a crop is of: `../features/crops/clips/a-mp4_1.crop` -> `clips/a.mp4`."""
    return f"clips/{Path(video).stem.split('-mp4_')[0]}.mp4"


def compare(scored: dict[str, ScoredRun], table: Path) -> dict[str, dict[str, object]]:
    """Accuracy of each variant on each test, and its difference from the first, with the interval."""
    protocols = pd.read_csv(table).set_index("video")["protocol"]
    first = scored[WHOLE]
    clips = [source_of(clip[0]) for clip in first.clips]
    rows: dict[str, dict[str, object]] = {}
    for test in PROTOCOLS:
        chosen = [n for n, clip in enumerate(clips) if protocols[clip] == test]
        one = first.subset(chosen).scored
        rows[test] = {WHOLE: {"accuracy": accuracy(one.probabilities, one.targets)}}
        for name, own in scored.items():
            if name == WHOLE:
                continue
            assert [source_of(clip[0]) for clip in own.clips] == clips
            other = own.subset(chosen).scored
            contrast = difference("accuracy", other, one)
            rows[test][name] = {
                "accuracy": accuracy(other.probabilities, other.targets),
                "difference": contrast.value,
                "interval": [contrast.low, contrast.high],
            }
            if name == TRACK_TOO:
                crops = difference("accuracy", other, scored[CROPS].subset(chosen).scored)
                rows[test][name] |= {
                    "difference_from_crops": crops.value,
                    "interval_from_crops": [crops.low, crops.high],
                }
    return rows


def accuracy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean accuracy over seeds: (seeds, N, K) and (N, K)."""
    return float((probabilities.argmax(-1) == targets.argmax(-1)).mean())


if __name__ == "__main__":
    main()
