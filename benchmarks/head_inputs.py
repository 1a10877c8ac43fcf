"""Which preparation of the tokens (`head.input`) suits own videos: inputs x features x sets, several seeds.

    python benchmarks/head_inputs.py WORK --videos FOLDER [--seeds 3] [--json FILE]

Heads of the recipe `own-videos` are trained on each backbone with each input. Real sets (see `real_sets.py`,
made from the clips of FOLDER) are scored by the balanced accuracy over held-out groups, in two folds; the
drawn world by the accuracy on its development targets, after training on its source. The last rows are means
over sets and backbones. Features and runs that an earlier call left in WORK are used again.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from real_sets import write_real_sets

import actiondiff as ad
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.datasets.base import Table
from actiondiff.datasets.table import read_table
from actiondiff.evaluation.folds import group_folds
from actiondiff.evaluation.intervals import statistic
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.provenance import environment
from actiondiff.start.comparison import pool_folds

INPUTS = ("standardised", "centred-standardised", "centred", "plain")
BACKBONES = ("pixels", "motion", "lite0", "tiny")
FOLDS = 2
Scores: TypeAlias = dict[str, dict[str, dict[str, list[float]]]]
"""Set -> backbone -> input -> the score of each seed."""
PROTOCOLS = ("in-domain", "species", "context", "view")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for clips, features and runs")
    parser.add_argument("--videos", type=Path, help="folder of real clips with their index.csv")
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    parser.add_argument("--inputs", default=",".join(INPUTS))
    parser.add_argument("--sets", help="sets to score, separated by commas; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=128, help="clips of the drawn world to learn from")
    parser.add_argument("--test", type=int, default=64, help="clips of each of its tests")
    parser.add_argument("--json", type=Path, help="file to which the figures are also written")
    arguments = parser.parse_args()
    backbones, inputs = arguments.backbones.split(","), arguments.inputs.split(",")
    sets = write_real_sets(arguments.videos, arguments.work / "real") if arguments.videos else {}
    world = arguments.work / "world"
    if "drawn" in (arguments.sets or "drawn") and not (world / "table.csv").exists():
        write_menagerie(world, train=arguments.train, val=0, test=arguments.test, seed=200)
    scores: Scores = {}
    # A seed at a time, so that what was measured so far covers every set.
    for seed in range(arguments.seeds):
        for name, path in {**sets, "drawn": world / "table.csv"}.items():
            if arguments.sets and name not in arguments.sets.split(","):
                continue
            for backbone in backbones:
                store = extract(arguments.work, path.stem, path, backbone)
                for prepared in inputs:
                    run = arguments.work / "runs" / path.stem / f"{backbone}-{prepared}-{seed}"
                    if name == "drawn":
                        values = drawn_scores(store, path, run, prepared, seed)
                    else:
                        values = {name: real_score(store, path, run, prepared, seed)}
                    for key, value in values.items():
                        scores.setdefault(key, {}).setdefault(backbone, {}).setdefault(prepared, []).append(
                            value
                        )
                    print(seed, backbone, prepared, values, flush=True)
                    if arguments.json:
                        result = {"environment": environment(), "scores": scores}
                        arguments.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        print(table_of(scores, backbones, inputs), flush=True)


def with_folds(table: Table) -> Table:
    """The table with the fold of each clip as a column; groups stay whole."""
    folds = group_folds(table.examples, FOLDS, salt="0")
    examples = zip(table.examples, folds, strict=True)
    return replace(
        table, examples=tuple(replace(e, columns={**e.columns, "fold": str(fold)}) for e, fold in examples)
    )


def extract(work: Path, name: str, table: Path, backbone: str) -> Path:
    """Fill the store of a backbone."""
    store = work / "features" / name / backbone
    ad.extract_features(table, store, backbone=ad.load_backbone(backbone))
    return store


def train(store: Path, table: Table | Path, run: Path, prepared: str, seed: int, **protocol: Any) -> None:
    """Train a head of `own-videos`."""
    values = {"head.input": prepared, "training.calibration_folds": 0, "seed": seed}
    values |= {f"protocol.{name}": value for name, value in protocol.items()}
    study.train(store, table, out=run, recipe=load_recipe("own-videos", values=values))


def real_score(store: Path, path: Path, run: Path, prepared: str, seed: int) -> float:
    """Balanced accuracy of all folds' test clips together."""
    table = with_folds(read_table(path))
    runs = [run / f"fold-{fold}" for fold in range(FOLDS)]
    for fold, folder in enumerate(runs):
        others = [str(number) for number in range(FOLDS) if number != fold]
        train(store, table, folder, prepared, seed, domain="fold", source=others, target=[str(fold)])
    pooled = pool_folds(prepared, runs)
    ones = np.ones((1, len(pooled.truth)))
    return float(statistic("balanced_accuracy", pooled.probabilities, pooled.truth, ones)[0])


def drawn_scores(store: Path, table: Path, run: Path, prepared: str, seed: int) -> dict[str, float]:
    """Accuracy on the test clips of each protocol."""
    train(store, table, run, prepared, seed, domain="protocol", source=["source"])
    protocols = pd.read_csv(table).set_index("video")["protocol"]
    predictions = pd.read_csv(run / "predictions.csv.gz").set_index("video")
    right = predictions["predicted"] == predictions["label"]
    of_clip = protocols.loc[right.index]
    return {f"drawn: {name}": float(right[of_clip == name].mean()) for name in PROTOCOLS}


def table_of(measured: Scores, backbones: list[str], inputs: list[str]) -> str:
    """The mean scores over seeds as a table in Markdown, with means over sets."""
    scores = {
        name: {b: {i: float(np.mean(rows[b][i])) for i in inputs} for b in backbones}
        for name, rows in measured.items()
    }
    lines = ["| set | features | " + " | ".join(inputs) + " |", "| --- | --- |" + " --- |" * len(inputs)]

    def add(name: str, backbone: str, row: Mapping[str, float]) -> None:
        best = max(row.values())
        cells = [f"**{100 * row[i]:.1f}**" if row[i] == best else f"{100 * row[i]:.1f}" for i in inputs]
        lines.append(f"| {name} | {backbone} | " + " | ".join(cells) + " |")

    for name, rows in scores.items():
        for backbone in backbones:
            add(name, backbone, rows[backbone])
    for kind, names in (
        ("mean of the real sets", [name for name in scores if not name.startswith("drawn")]),
        ("mean of the drawn shifts", [name for name in scores if name.startswith("drawn")]),
        ("mean of all", list(scores)),
    ):
        if names:
            means = {
                b: {i: float(np.mean([scores[name][b][i] for name in names])) for i in inputs}
                for b in backbones
            }
            for backbone in backbones:
                add(kind, backbone, means[backbone])
            add(kind, "all", {i: float(np.mean([means[b][i] for b in backbones])) for i in inputs})
    return "\n".join(lines)


if __name__ == "__main__":
    main()
