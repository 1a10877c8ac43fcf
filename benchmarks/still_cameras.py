"""What crops, and taking the background of each camera away, are worth where cameras stand still.

    python benchmarks/still_cameras.py WORK [--train 512] [--test 512] [--backbones pixels,motion] [--seeds 3]
        [--empty 8] [--reserved] [--extract-only] [--json FILE]

Draws clips of small creatures (`dev menagerie write --still`), extracts them whole and cropped by their own
boxes (`extract --boxes`, with the layer `track`), and trains the same head on each of `VARIANTS`. The
background of a camera is that of the clips themselves, or of clips of it without creatures (`--empty`, how
many of each). Accuracy is that of each test: the same cameras and animals, new animals at the same cameras,
new cameras in new places, and new cameras with a new view. Differences from whole pictures with standardised
tokens (and from others, see `FURTHER`) have 95 % intervals, which resample individuals and seeds. The boxes
are the true ones: a detector's would be worse.

`--reserved` tests the same heads once more, on clips of the reserved targets. WORK keeps what is finished; a
second call continues.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

import actiondiff as ad
from actiondiff.backbones.base import shipped_specs
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.builtin.world.protocols import PROTOCOLS
from actiondiff.builtin.world.world import world_hash
from actiondiff.datasets.boxes import read_boxes
from actiondiff.evaluation.paired import Scored, difference
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.extraction.crops import write_crops_for_store
from actiondiff.provenance import environment
from actiondiff.types import TRACK, FeatureKey


@dataclass(frozen=True)
class Variant:
    """A way to train a head.

    Attributes:
        pictures: `whole` or `boxes`.
        prepared: Input of the head.
        is_empty: Whether the background is that of clips without creatures.
        read: Which features are read: the backbone's own, the layer `track`, or both.
    """

    pictures: str = "whole"
    prepared: str = "standardised"
    is_empty: bool = False
    read: Literal["own", "both", "track"] = "own"

    @property
    def slug(self) -> str:
        """Part of the name of the run's folder."""
        further = {"own": [], "both": ["track"], "track": ["track", "alone"]}[self.read]
        return "-".join([self.pictures, self.prepared, *["empty"] * self.is_empty, *further])


WHOLE = "whole"
VARIANTS = {
    WHOLE: Variant(),
    "whole, scaled": Variant(prepared="scaled"),
    "whole, minus-background": Variant(prepared="minus-background"),
    "whole, minus empty background": Variant(prepared="minus-background", is_empty=True),
    "crops": Variant("boxes"),
    "crops, minus-background": Variant("boxes", "minus-background"),
    "crops, track": Variant("boxes", read="both"),
    "track alone": Variant("boxes", read="track"),
}
FURTHER = {
    "whole, minus-background": "whole, scaled",
    "whole, minus empty background": "whole, minus-background",
    "crops, minus-background": "crops",
    "crops, track": "crops",
    "track alone": "crops, track",
}
"""Variant -> the one that it is compared with as well."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--train", type=int, default=512)
    parser.add_argument("--test", type=int, default=512, help="clips of each of the four tests")
    parser.add_argument("--val", type=int, default=64)
    parser.add_argument("--backbones", default="pixels,motion")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--empty", type=int, default=8, help="clips without creatures of each camera")
    parser.add_argument("--reserved", action="store_true", help="test on the reserved targets instead")
    parser.add_argument("--extract-only", action="store_true", help="stop when the features are there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    world = draw(options.work / "world", options.train, options.val, options, "development")
    tested, features = world, options.work / "features"
    if options.reserved:
        tested, features = options.work / "reserved", options.work / "reserved-features"
        draw(tested, 0, 0, options, "reserved")
    result: dict[str, object] = {
        "environment": environment(),
        "world": world_hash(still=True),
        "targets": "reserved" if options.reserved else "development",
        "clips": {"train": options.train, "test": options.test, "val": options.val},
        "empty_per_camera": options.empty,
        "seeds": options.seeds,
    }
    by_backbone = result["backbones"] = {}
    for backbone in options.backbones.split(","):
        for pictures in ("whole", "boxes"):
            extract(tested, features / pictures / backbone, backbone, is_cropped=pictures == "boxes")
        if options.extract_only:
            continue
        scored = {}
        for name, variant in VARIANTS.items():
            run = train(options.work, backbone, variant, options.seeds)
            scored[name] = predictions(run, tested, features / variant.pictures / backbone, variant)
            if options.reserved:
                continue
            print(backbone, name, accuracies(scored[name]), flush=True)
        by_backbone[backbone] = compare(scored)
        for test, row in by_backbone[backbone].items():
            print(backbone, test, row, flush=True)
        if options.json:
            options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def draw(world: Path, train: int, val: int, options: argparse.Namespace, targets: str) -> Path:
    """Draw clips, if they are not drawn yet."""
    if not (world / "empty.csv").is_file():
        write_menagerie(
            world, train=train, test=options.test, val=val, still=True, num_empty=options.empty,
            targets="reserved" if targets == "reserved" else "development",
        )  # fmt: skip
    return world


def extract(world: Path, store: Path, backbone: str, *, is_cropped: bool) -> None:
    """Extract the clips, whole (also those without creatures) or cropped with the layer `track`."""
    if not is_cropped:
        ad.extract_features(world / "table.csv", store, backbone=backbone)
        ad.extract_features(world / "empty.csv", store, backbone=backbone)
    elif not (store / "complete").is_file():  # writing the crops takes as long as reading all clips once
        crops = write_crops_for_store([world / "table.csv"], store, read_boxes(world / "boxes.csv"))
        layers = [shipped_specs()[backbone].layer, TRACK]
        ad.extract_features(crops.videos, store, root=crops.root, backbone=backbone, layers=layers)
        (store / "complete").touch()


def train(work: Path, backbone: str, variant: Variant, seeds: int) -> Path:
    """Train the heads of all seeds; returns the folder of the run."""
    spec = shipped_specs()[backbone]
    keys = [str(FeatureKey.of(spec.timestep, layer)) for layer in (spec.layer, TRACK)]
    values = {
        "head.input": variant.prepared,
        "seeds": seeds,
        "protocol.domain": "protocol",
        "protocol.source": ["source"],
        **({} if variant.read == "own" else {"features.keys": keys if variant.read == "both" else keys[1:]}),
        **({"protocol.background": str(work / "world" / "empty.csv")} if variant.is_empty else {}),
    }
    run = work / "runs" / f"{backbone}-{variant.slug}"
    study.train(
        work / "features" / variant.pictures / backbone, work / "world" / "table.csv", out=run,
        recipe=load_recipe("own-videos", values=values),
    )  # fmt: skip
    return run


def predictions(run: Path, world: Path, store: Path, variant: Variant) -> dict[str, Scored]:
    """Predictions of all seeds' heads for the test clips of a world, by test, in the order of the clips."""
    frames = []
    for folder in sorted(run.glob("seed-*")) or [run]:
        if world.name == "reserved":
            background = world / "empty.csv" if variant.is_empty else None
            frame = study.evaluate(folder, store, world / "table.csv", background=background).predictions
        else:
            frame = pd.read_csv(folder / "predictions.csv.gz")
        frames.append(frame.set_index(frame["video"].map(source_of)).sort_index())
    table = pd.read_csv(world / "table.csv").set_index("video")
    columns = [name for name in frames[0].columns if name.startswith("p(")]
    labels = [name[2:-1] for name in columns]
    scored = {}
    for test in PROTOCOLS:
        clips = table[table.protocol == test].sort_index()
        probabilities = np.stack([frame.loc[clips.index, columns].to_numpy(np.float32) for frame in frames])
        targets = np.array([[label == own for label in labels] for own in clips.label], dtype=np.float32)
        scored[test] = Scored(probabilities, targets, [str(name) for name in clips["group"]])
    return scored


def source_of(video: str) -> str:
    """Name of the drawn clip that a crop is of: `../features/crops/clips/a-mp4_1.crop` -> `clips/a.mp4`."""
    return f"clips/{Path(video).stem.split('-mp4_')[0]}.mp4"


def compare(scored: Mapping[str, Mapping[str, Scored]]) -> dict[str, dict[str, object]]:
    """Accuracy of each variant on each test, and its differences from others, with their intervals."""
    rows: dict[str, dict[str, object]] = {}
    for test in PROTOCOLS:
        rows[test] = {WHOLE: {"accuracy": accuracy(scored[WHOLE][test])}}
        for name, own in scored.items():
            if name == WHOLE:
                continue
            row: dict[str, object] = {"accuracy": accuracy(own[test])}
            for other in dict.fromkeys((WHOLE, FURTHER.get(name, WHOLE))):
                contrast = difference("accuracy", own[test], scored[other][test])
                row[f"minus {other}"] = [round(v, 4) for v in (contrast.value, contrast.low, contrast.high)]
            rows[test][name] = row
    return rows


def accuracies(scored: Mapping[str, Scored]) -> dict[str, float]:
    """Mean accuracy over seeds, by test."""
    return {test: accuracy(own) for test, own in scored.items()}


def accuracy(scored: Scored) -> float:
    """Mean accuracy over seeds."""
    right = scored.probabilities.argmax(-1) == scored.targets.argmax(-1)
    return round(float(right.mean()), 4)


if __name__ == "__main__":
    main()
