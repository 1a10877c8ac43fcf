"""The demo: the whole road on the built-in world and the built-in backbone, with nothing to download."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from actiondiff import study
from actiondiff.datasets.menagerie import write_menagerie
from actiondiff.datasets.table import read_table
from actiondiff.errors import UsageError
from actiondiff.extraction.local import extract_features
from actiondiff.menagerie.protocols import PROTOCOLS
from actiondiff.recipe import load_recipe

__all__ = ["LAYERS", "DemoResult", "DemoRow", "run_demo"]

LAYERS = ("layer3", "layer6", "layer9", "layer12")
_TIMESTEP = 20
Progress = Callable[[str], None]


@dataclass(frozen=True)
class DemoRow:
    """One layer's accuracies.

    Attributes:
        layer: The layer.
        accuracy: Protocol (`in-domain`, `species`, `context`, `view`) -> share of test clips named rightly.
        interval: Protocol -> 95 % interval over individuals.
    """

    layer: str
    accuracy: dict[str, float]
    interval: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        folder: Where everything lies: clips, features, runs, `demo.json`.
        rows: One a layer.
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
    """Draw clips, extract features, train a head a layer, test in domain and out of it.

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
    progress(f"extracting features at timestep {_TIMESTEP} from layers {', '.join(LAYERS)}")
    table = read_table(table_path)
    store = folder / "features"
    extract_features(table_path, store, backbone="tiny", timesteps=[_TIMESTEP], layers=LAYERS)
    lap("extract")
    rows, prior = [], {}
    for layer in LAYERS:
        progress(f"training a head on {layer}, and testing it")
        recipe = load_recipe(
            "demo",
            values={
                "features.timestep": _TIMESTEP,
                "features.layer": layer,
                "protocol.domain": "protocol",
                "protocol.source": ["source"],
                "seed": seed,
            },
        )
        run = study.train(store, table, out=folder / "runs" / layer, recipe=recipe)
        protocols: tuple[str, ...] = PROTOCOLS
        sides = run.metrics["test"]["by_domain"]
        accuracy = {name: sides[name]["scores"]["accuracy"] for name in protocols}
        interval = {name: tuple(sides[name]["intervals"]["accuracy"]) for name in protocols}
        rows.append(DemoRow(layer, accuracy, interval))
        prior = {name: sides[name]["prior_floor"]["accuracy"] for name in protocols}
    lap("train")
    result = DemoResult(folder, tuple(rows), prior, run.metrics["counts"]["train"], test, seconds)
    values = {**asdict(result), "folder": str(folder)}
    (folder / "demo.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return result


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
