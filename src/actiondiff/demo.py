"""The demo: the whole road on the built-in world and the built-in backbone, with nothing to download."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actiondiff import study
from actiondiff.datasets.menagerie import write_menagerie
from actiondiff.datasets.table import read_table
from actiondiff.errors import UsageError
from actiondiff.extraction.local import extract_features
from actiondiff.menagerie.protocols import PROTOCOLS
from actiondiff.recipe import load_recipe

__all__ = ["FEATURES", "DemoResult", "DemoRow", "run_demo"]

FEATURES = {
    "tiny": (20, ("layer3", "layer6", "layer9", "layer12")),
    "pixels": (0, ("layer1",)),
    "motion": (0, ("layer1",)),
}
"""Backbone -> timestep and layers: the built-in network, and two controls that are no networks."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class DemoRow:
    """One feature's accuracies.

    Attributes:
        features: Backbone and layer, for example `tiny layer3`.
        accuracy: Protocol (`in-domain`, `species`, `context`, `view`) -> share of test clips named rightly.
        interval: Protocol -> 95 % interval over individuals.
    """

    features: str
    accuracy: dict[str, float]
    interval: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        folder: Where everything lies: clips, features, runs, `demo.json`.
        rows: One a feature.
        prior: Protocol -> what guessing by class frequencies scores.
        num_train: Training clips.
        num_test: Test clips of each protocol.
        seconds: Stage -> how long it took.
    """

    folder: Path
    rows: tuple[DemoRow, ...]
    prior: dict[str, float]
    num_train: int
    num_test: int
    seconds: dict[str, float]


def run_demo(
    folder: str | os.PathLike[str],
    *,
    train: int = 256,
    test: int = 64,
    seed: int = 0,
    progress: Progress = lambda line: None,
) -> DemoResult:
    """Draw clips, extract features, train a head on each, test in domain and out of it.

    What is in the folder from an earlier demo of the same numbers is used again.

    Args:
        folder: Where to; made if need be.
        train: Clips to train on; a quarter as many again choose the epoch.
        test: Clips of each of the four tests.
        seed: Of everything.
        progress: Called with a line at each step.

    Raises:
        UsageError: If the folder holds a demo of other numbers, or something else.
    """
    folder = Path(folder)
    _claim(folder, {"train": train, "test": test, "seed": seed})
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal clock
        seconds[stage] = round(time.perf_counter() - clock, 1)
        clock = time.perf_counter()

    progress(f"drawing {train + train // 4 + test * len(PROTOCOLS)} clips of creatures that act")
    table_path = folder / "clips" / "table.csv"
    if not table_path.exists():
        write_menagerie(folder / "clips", train=train, val=train // 4, test=test, seed=seed)
    lap("draw")
    table = read_table(table_path)
    for backbone, (timestep, layers) in FEATURES.items():
        progress(f"extracting features of {backbone}: {', '.join(layers)}")
        store = folder / "features" / backbone
        extract_features(table_path, store, backbone=backbone, timesteps=[timestep], layers=layers)
    lap("extract")
    rows = []
    for backbone, (timestep, layers) in FEATURES.items():
        for layer in layers:
            progress(f"training a head on {backbone} {layer}, and testing it")
            values = {
                "features.timestep": timestep,
                "features.layer": layer,
                "protocol.domain": "protocol",
                "protocol.source": ["source"],
                "seed": seed,
            }
            out = folder / "runs" / f"{backbone}-{layer}"
            recipe = load_recipe("demo", values=values)
            run = study.train(folder / "features" / backbone, table, out=out, recipe=recipe)
            rows.append(_row(f"{backbone} {layer}", run.metrics["test"]["by_domain"]))
    lap("train")
    prior = {name: side["prior_floor"]["accuracy"] for name, side in run.metrics["test"]["by_domain"].items()}
    result = DemoResult(folder, tuple(rows), prior, run.metrics["counts"]["train"], test, seconds)
    values = {**asdict(result), "folder": str(folder)}
    (folder / "demo.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return result


def _row(features: str, sides: Mapping[str, Any]) -> DemoRow:
    accuracy = {name: sides[name]["scores"]["accuracy"] for name in sides}
    interval = {name: tuple(sides[name]["intervals"]["accuracy"]) for name in sides}
    return DemoRow(features, accuracy, interval)


def _claim(folder: Path, numbers: dict[str, int]) -> None:
    """Make the folder this demo's own, or make sure that it is."""
    path = folder / "settings.json"
    if path.exists():
        if json.loads(path.read_text("utf-8")) != numbers:
            raise UsageError(
                f"{folder} holds a demo of other numbers; give another folder (--out), or remove it."
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no demo; give another folder (--out).")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers), "utf-8")
