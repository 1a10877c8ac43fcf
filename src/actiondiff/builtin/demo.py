"""The demo: the whole road on the built-in world and the built-in backbone, with nothing to download."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actiondiff.backbones.base import load_backbone
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.builtin.demo_page import DemoReport, write_demo_page
from actiondiff.builtin.world.protocols import PROTOCOLS
from actiondiff.datasets.base import Table
from actiondiff.datasets.table import read_table
from actiondiff.errors import UsageError
from actiondiff.evaluation.results import TrainingMetrics
from actiondiff.evaluation.scores import SideScores
from actiondiff.experiments import train as study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.experiments.run import Run
from actiondiff.extraction.extract import extract_features
from actiondiff.provenance import check_own_folder, environment
from actiondiff.report.tables import Score
from actiondiff.types import Example, Progress
from actiondiff.video.decode import read_video

__all__ = ["CONTROLS", "LAYERS", "TIMESTEPS", "DemoResult", "DemoRow", "run_demo"]

TIMESTEPS = (18, 22, 25)  # where 24, 86 and 100 % of a frame's own latent are left
LAYERS = ("layer1", "layer3", "layer4")  # deeper ones of the built-in backbone gain nothing (its card)
LATENTS = "middle"
"""Whose latent is concatenated to each frame's: that of each window's middle frame (the backbone's card)."""
CONTROLS = ("pixels", "motion")
"""Features that are no network's."""
_SHOWN = 3  # clips of each protocol on the page


@dataclass(frozen=True)
class DemoRow:
    """One feature's accuracies.

    Attributes:
        features: Backbone, timestep and layer, for example `tiny t20 layer3`.
        validation: Share of held-out source clips named rightly.
        accuracy: Protocol (`in-domain`, `species`, `context`, `view`) -> share of test clips named rightly.
        interval: Protocol -> 95 % interval over individuals.
        run: Folder of the run, below the demo's.
    """

    features: str
    validation: float
    accuracy: dict[str, float]
    interval: dict[str, tuple[float, float]]
    run: str


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        folder: Where everything lies: clips, features, runs, `demo.json`, `report.html`.
        chosen: The network's feature that is best on held-out source clips.
        rows: One a feature.
        prior: Protocol -> what guessing by class frequencies scores.
        num_train: Training clips.
        num_test: Test clips of each protocol.
        seconds: Stage -> how long it took.
    """

    folder: Path
    chosen: DemoRow
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
    progress: Progress = lambda done, total, what: None,
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

    num_clips = train + train // 4 + test * len(PROTOCOLS)
    progress(0, num_clips, f"drawing {num_clips} clips of creatures that act")
    table_path = folder / "clips" / "table.csv"
    if not table_path.exists():
        write_menagerie(folder / "clips", train=train, val=train // 4, test=test, seed=seed)
    lap("draw")
    for number, backbone in enumerate(("tiny", *CONTROLS)):
        progress(number, 1 + len(CONTROLS), f"extracting features of {backbone}")
        _extract(table_path, folder / "features" / backbone, backbone)
    lap("extract")
    table = read_table(table_path)
    wanted = [("tiny", timestep, layer) for timestep in TIMESTEPS for layer in LAYERS]
    wanted += [(backbone, 0, "layer1") for backbone in CONTROLS]
    rows = []
    for number, (backbone, timestep, layer) in enumerate(wanted, start=1):
        progress(number - 1, len(wanted), f"training head {number} of {len(wanted)}, and testing it")
        name = f"runs/{backbone}-t{timestep}-{layer}"
        values = {
            "features.timestep": timestep,
            "features.layer": layer,
            "protocol.domain": "protocol",
            "protocol.source": ["source"],
            "seed": seed,
        }
        recipe = load_recipe("demo", values=values)
        run = study.train(folder / "features" / backbone, table, out=folder / name, recipe=recipe)
        rows.append(_row(backbone if backbone in CONTROLS else f"tiny t{timestep} {layer}", run, name))
    lap("train")
    prior = {name: side.prior_floor.accuracy or 0.0 for name, side in _by_protocol(run).items()}
    chosen = max(rows[: -len(CONTROLS)], key=lambda row: row.validation)
    num_train = run.metrics.counts["train"]
    result = DemoResult(folder, chosen, tuple(rows), prior, num_train, test, seconds)
    write_demo_page(folder / "report.html", _report(result, table, {"train": train, "seed": seed}))
    values = {**asdict(result), "folder": str(folder)}
    (folder / "demo.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return result


def _extract(table: Path, store: Path, backbone: str) -> None:
    """Fill a store, the network's by two processes where there are two cores."""
    if backbone in CONTROLS:
        extract_features(table, store, backbone=backbone)
        return
    network = load_backbone(backbone, latents=LATENTS)
    devices = ["cpu"] * min(2, os.cpu_count() or 1)
    extract_features(table, store, backbone=network, timesteps=TIMESTEPS, layers=LAYERS, devices=devices)


def _row(features: str, run: Run, folder: str) -> DemoRow:
    sides = _by_protocol(run)
    accuracy: dict[str, float] = {name: sides[name].scores.accuracy or 0.0 for name in PROTOCOLS}
    interval: dict[str, tuple[float, float]] = {name: sides[name].intervals["accuracy"] for name in PROTOCOLS}
    validation = run.metrics.validation if isinstance(run.metrics, TrainingMetrics) else None
    return DemoRow(features, (validation and validation.scores.accuracy) or 0.0, accuracy, interval, folder)


def _by_protocol(run: Run) -> dict[str, SideScores]:
    """Protocol -> scores of its test clips, which the demo always has."""
    return (run.metrics.test and run.metrics.test.by_domain) or {}


def _report(result: DemoResult, table: Table, settings: Mapping[str, Any]) -> DemoReport:
    controls = [row for row in result.rows if row.features in CONTROLS]
    grid = np.array([[row.accuracy[name] for name in PROTOCOLS] for row in result.rows[: -len(CONTROLS)]])
    grid = grid.reshape(len(TIMESTEPS), len(LAYERS), len(PROTOCOLS))
    best = result.chosen
    return DemoReport(
        scores={
            row.features: {name: Score(row.accuracy[name], *row.interval[name]) for name in PROTOCOLS}
            for row in (best, *controls)
        },
        floor=result.prior,
        grid={name: grid[:, :, place].T for place, name in enumerate(PROTOCOLS)},
        layers=[layer.removeprefix("layer") for layer in LAYERS],
        timesteps=TIMESTEPS,
        clips={name: _clips(table, name) for name in PROTOCOLS},
        num_train=result.num_train,
        num_test=result.num_test,
        chosen=best.features,
        commands=[
            f"actiondiff predict {result.folder}/{best.run} {result.folder}/clips/clips -o predictions",
            f"actiondiff report {result.folder}/{best.run}",
        ],
        settings={
            **settings,
            "backbone": load_backbone("tiny", device="cpu", latents=LATENTS).settings,
            **environment(),
        },
    )


def _clips(table: Table, protocol: str) -> list[tuple[NDArray[np.uint8], str]]:
    """A few test clips of different actions, with what they show."""
    chosen: dict[str, Example] = {}
    for example in table.examples:
        if example.columns["protocol"] == protocol:
            chosen.setdefault(example.labels[0], example)
    return [
        (
            read_video(table.root / example.video).pixels,
            " · ".join((label, *(example.columns[name] for name in ("species", "context", "view")))),
        )
        for label, example in list(chosen.items())[:_SHOWN]
    ]


def _claim(folder: Path, numbers: dict[str, int]) -> None:
    """Make the folder this demo's own, or make sure that it is."""
    path = folder / "settings.json"
    if path.exists():
        if json.loads(path.read_text("utf-8")) != numbers:
            raise UsageError(
                f"{folder} holds a demo of other numbers; give another folder (--out), or remove it."
            )
        return
    check_own_folder(folder, "demo", [path.name], error=UsageError, option="--out")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers), "utf-8")
