"""What it is worth to take the background of each camera away, on drawn clips of cameras that stand still.

    python benchmarks/backgrounds.py WORK [--train 512] [--test 512] [--backbones pixels,motion] [--seeds 3]

Draws clips (`dev menagerie write --still`), extracts them, trains the same heads with
`head.input=standardised` and with `minus-background`, and compares their accuracy on each test: the same
cameras and animals, new animals at the same cameras, new cameras in new places, and new cameras with a new
view. The differences have 95 % intervals, which resample individuals and seeds. WORK keeps what is
finished; a second call continues.
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
from actiondiff.evaluation.paired import difference
from actiondiff.experiments import study
from actiondiff.experiments.compare import ScoredRun, read_scored
from actiondiff.experiments.recipe import load_recipe
from actiondiff.provenance import environment

INPUTS = ("standardised", "minus-background")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--train", type=int, default=512)
    parser.add_argument("--test", type=int, default=512, help="clips of each of the four tests")
    parser.add_argument("--val", type=int, default=64)
    parser.add_argument("--backbones", default="pixels,motion")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    world = options.work / "world"
    if not (world / "table.csv").is_file():
        write_menagerie(world, train=options.train, test=options.test, val=options.val, still=True)
    result = {
        "environment": environment(),
        "world": world_hash(still=True),
        "clips": {"train": options.train, "test": options.test, "val": options.val},
        "seeds": options.seeds,
        "backbones": {},
    }
    for backbone in options.backbones.split(","):
        store = options.work / "features" / backbone
        ad.extract_features(world / "table.csv", store, backbone=backbone)
        scored = {name: train(store, world / "table.csv", options, backbone, name) for name in INPUTS}
        result["backbones"][backbone] = compare(scored, world / "table.csv")
        for test, row in result["backbones"][backbone].items():
            print(backbone, test, row, flush=True)
        if options.json:
            options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def train(store: Path, table: Path, options: argparse.Namespace, backbone: str, name: str) -> ScoredRun:
    """Train the heads of all seeds and read their predictions."""
    values = {
        "head.input": name,
        "seeds": options.seeds,
        "protocol.domain": "protocol",
        "protocol.source": ["source"],
    }
    run = options.work / "runs" / f"{backbone}-{name}"
    study.train(store, table, out=run, recipe=load_recipe("own-videos", values=values))
    return read_scored(run)


def compare(scored: dict[str, ScoredRun], table: Path) -> dict[str, dict[str, object]]:
    """Accuracy of both inputs on each test, and the difference with its interval."""
    protocols = pd.read_csv(table).set_index("video")["protocol"]
    before, after = (scored[name] for name in INPUTS)
    assert before.clips == after.clips
    rows: dict[str, dict[str, object]] = {}
    for test in PROTOCOLS:
        chosen = [n for n, clip in enumerate(before.clips) if protocols[clip[0]] == test]
        one, other = before.subset(chosen).scored, after.subset(chosen).scored
        contrast = difference("accuracy", other, one)
        rows[test] = {
            INPUTS[0]: accuracy(one.probabilities, one.targets),
            INPUTS[1]: accuracy(other.probabilities, other.targets),
            "difference": contrast.value,
            "interval": [contrast.low, contrast.high],
        }
    return rows


def accuracy(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean accuracy over seeds: (seeds, N, K) and (N, K)."""
    return float((probabilities.argmax(-1) == targets.argmax(-1)).mean())


if __name__ == "__main__":
    main()
