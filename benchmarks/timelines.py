"""Accuracy of timelines: behaviours located in rendered videos of several minutes, whose bouts are known.

    python benchmarks/timelines.py WORK [--videos 12] [--minutes 3] [--seconds 2.56] [--json FILE]

Heads of the recipe `demo` are trained on spans of most animals' videos and tested on the timelines of the
others: by frame, by bout, and by the calibration error before and after temperature scaling. Files that an
earlier call left in WORK are used again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

import actiondiff as ad
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.datasets.joining import write_examples
from actiondiff.datasets.spans import cut_spans
from actiondiff.datasets.table import read_table
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.experiments.timelines import evaluate_timelines
from actiondiff.provenance import environment

NETWORK: dict[str, Any] = {"timesteps": [25], "layers": [3]}
FEATURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tiny": ({"latents": "middle"}, NETWORK),
    "random-tiny": ({"latents": "middle"}, NETWORK),
    "pixels": ({}, {}),
}
"""Backbone -> its options, and the timesteps and layers to extract."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for videos, features and runs")
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=2.56, help="length of a span")
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    arguments = parser.parse_args()
    long, spans = tables(arguments.work / "world", arguments)
    result: dict[str, Any] = {"environment": environment(), "rows": {}}
    for name, (options, chosen) in FEATURES.items():
        store, run = arguments.work / "features" / name, arguments.work / "runs" / name
        ad.extract_features(long, store, backbone=ad.load_backbone(name, **options), **chosen)
        metrics = study.train(store, spans, out=run, recipe=load_recipe("demo")).metrics
        scores = evaluate_timelines(run, store, long).metrics
        tested = metrics.calibration.test
        result["rows"][name] = {
            "frame_f1": scores.frames.macro_f1,
            "frame_ap": scores.frames.macro_ap,
            "segment_map": scores.segments.mean_map,
            "segment_map_at": scores.segments.map,
            "calibration_error": {
                "before": tested.before.calibration_error,
                "after": tested.after.calibration_error,
            },
            "num_videos": scores.num_videos,
            "seconds": scores.seconds,
            "num_bouts": sum(row.num_labelled for row in scores.segments.per_class),
        }
    print(json.dumps(result["rows"], indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def tables(world: Path, arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Tables of bouts and of spans, without a split."""
    if not (world / "long.csv").exists():
        write_menagerie(world, train=8, val=8, test=8, num_long=arguments.videos, minutes=arguments.minutes)
    long, spans = world / "bouts.csv", world / "spans.csv"
    pd.read_csv(world / "long.csv").drop(columns="split").to_csv(long, index=False)
    table = read_table(long)
    write_examples(spans, cut_spans(table, span_seconds=arguments.seconds), root=table.root)
    return long, spans


if __name__ == "__main__":
    main()
