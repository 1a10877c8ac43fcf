"""What averaging the scores of timelines is worth, for models whose options were not chosen on timelines.

    python benchmarks/smoothing.py WORK [--seeds 1 2 3]

Heads of the recipe `demo` are trained on 160 and on 40 drawn clips, on the features `pixels`, `motion` and
`tiny`. Each is tested on eight videos of 90 s per seed: as it is, with its scores averaged over half a
training clip (what models record), and over a whole one. Features that an earlier call left in WORK are used
again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import actiondiff as ad
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.experiments.timelines import evaluate_timelines

BACKBONES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "pixels": ({}, {}),
    "motion": ({}, {}),
    "tiny": ({"latents": "middle"}, {"timesteps": [25], "layers": [3]}),
}
"""Backbone -> its options, and the timesteps and layers to extract."""
CLIP_SECONDS = 2.56
SHARES = {"as they are": 0.0, "over half a clip": 0.5, "over a clip": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for videos, features and runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="seeds of the drawn videos")
    arguments = parser.parse_args()
    scores: dict[tuple[int, str], list[list[float]]] = {}
    for seed in arguments.seeds:
        work = arguments.work / f"w{seed}"
        tables = draw(work / "world", seed)
        for name, (options, chosen) in BACKBONES.items():
            backbone = ad.load_backbone(name, **options)
            clips, long = work / f"c-{name}", work / f"f-{name}"
            ad.extract_features(tables["clips"], clips, backbone=backbone, **chosen)
            ad.extract_features(tables["bouts"], long, backbone=backbone, **chosen)
            for number, table in ((160, tables["clips"]), (40, tables["few"])):
                out = work / f"run-{number}-{name}"
                run = study.train(clips, table, out=out, recipe=load_recipe("demo"), overwrite=True)
                for title, share in SHARES.items():
                    row = test(run.folder, long, tables["bouts"], share * CLIP_SECONDS)
                    scores.setdefault((number, title), []).append(row)
    for (number, title), rows in scores.items():
        names = ("frame_f1", "frame_ap", "segment_map", "bouts", "labelled_bouts")
        means = dict(zip(names, np.mean(rows, axis=0).round(4).tolist(), strict=True))
        print(json.dumps({"clips": number, "averaged": title, "models": len(rows), **means}))


def draw(world: Path, seed: int) -> dict[str, Path]:
    """Tables of the clips, of the first 40 training clips, and of the long videos' bouts."""
    if not (world / "table.csv").exists():
        write_menagerie(world, train=160, val=40, test=16, num_long=8, minutes=1.5, seed=seed)
    clips = pd.read_csv(world / "table.csv")
    is_training = clips["split"] == "train"
    few = pd.concat([clips[is_training].iloc[:40], clips[~is_training]])
    few.to_csv(world / "few.csv", index=False)
    pd.read_csv(world / "long.csv").drop(columns="split").to_csv(world / "bouts.csv", index=False)
    return {name: world / f"{name}.csv" for name in ("few", "bouts")} | {"clips": world / "table.csv"}


def test(run: Path, store: Path, bouts: Path, smooth_seconds: float) -> list[float]:
    """Frame-wise F1 and AP, segment mAP, and the numbers of predicted and labelled bouts."""
    options = ad.TimelineOptions(smooth_seconds=smooth_seconds)
    metrics = evaluate_timelines(run, store, bouts, options=options).metrics
    counts = metrics.segments.per_class
    values = (
        metrics.frames.macro_f1, metrics.frames.macro_ap, metrics.segments.mean_map,
        sum(row.num_predicted for row in counts), sum(row.num_labelled for row in counts),
    )  # fmt: skip
    return [float("nan") if value is None else float(value) for value in values]


if __name__ == "__main__":
    main()
