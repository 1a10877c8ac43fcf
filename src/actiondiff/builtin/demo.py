"""The demo: from clips of the built-in world to a report, with the built-in backbone and no download."""

import json
import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from actiondiff import outputs
from actiondiff.backbones.base import load_backbone
from actiondiff.backbones.engine.precision import cpu_threads
from actiondiff.builtin.dataset import write_menagerie
from actiondiff.builtin.demo_page import DemoClip, DemoReport, write_demo_page
from actiondiff.builtin.world.protocols import PROTOCOLS
from actiondiff.datasets.base import Table
from actiondiff.datasets.table import read_table
from actiondiff.errors import UsageError
from actiondiff.evaluation.results import METRICS_FILE, TrainingMetrics
from actiondiff.evaluation.scores import SideScores
from actiondiff.experiments import study
from actiondiff.experiments.recipe import load_recipe
from actiondiff.experiments.run import Run
from actiondiff.extraction.api import extract_features
from actiondiff.processes import map_in_processes, num_cores
from actiondiff.provenance import check_own_folder, environment, write_text
from actiondiff.report.tables import Score
from actiondiff.types import Example, Progress
from actiondiff.video.decode import read_video

__all__ = ["CONTROLS", "LAYERS", "TIMESTEPS", "DemoResult", "DemoRow", "run_demo"]

TIMESTEPS = (18, 22, 25)  # 24, 86 and 100 % of a frame's own latent are left at these
LAYERS = ("layer1", "layer3", "layer4")
"""Deeper layers of the built-in backbone gain nothing (see its model card)."""
LATENTS = "middle"
"""Every frame is conditioned on the latent of its window's middle frame (see the model card)."""
CONTROLS = ("pixels", "motion")
"""Features that do not come from a network."""
_FILES = ("settings.json", "demo.json", "report.html")
_CLIPS_PER_PROTOCOL = 3  # clips on the page


@dataclass(frozen=True)
class DemoRow:
    """Accuracies of one feature.

    Attributes:
        features: Backbone, timestep and layer, for example `tiny t20 layer3`.
        validation: Share of held-out source clips that are classified correctly.
        accuracy: Protocol (`in-domain`, `species`, `context`, `view`) -> share of its test clips that are
            classified correctly.
        interval: Protocol -> 95 % interval over individuals.
        run: Folder of the run, relative to the demo's.
    """

    features: str
    validation: float
    accuracy: dict[str, float]
    interval: dict[str, tuple[float, float]]
    run: str


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        folder: Folder with the clips, features, runs, `demo.json` and `report.html`.
        chosen: The network's feature with the highest accuracy on held-out source clips.
        rows: Accuracies of every feature, the controls last.
        prior: Protocol -> expected accuracy of guessing by class frequencies.
        num_train: Number of training clips.
        num_test: Number of test clips of each protocol.
        seconds: Stage -> its duration.
    """

    folder: Path
    chosen: DemoRow
    rows: tuple[DemoRow, ...]
    prior: dict[str, float]
    num_train: int
    num_test: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Settings:
    """Numbers that make a demo what it is; a folder holds one demo."""

    train: int
    test: int
    seed: int


class _Feature(NamedTuple):
    """A feature that a head is trained on."""

    backbone: str
    timestep: int
    layer: str

    @property
    def name(self) -> str:
        return (
            self.backbone if self.backbone in CONTROLS else f"{self.backbone} t{self.timestep} {self.layer}"
        )

    @property
    def run(self) -> str:
        """Folder of its run, relative to the demo's."""
        return f"runs/{self.backbone}-t{self.timestep}-{self.layer}"


_FEATURES = (
    *(_Feature("tiny", timestep, layer) for timestep in TIMESTEPS for layer in LAYERS),
    *(_Feature(backbone, 0, "layer1") for backbone in CONTROLS),
)


class _Stopwatch:
    """Durations of stages that follow each other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._start, 1)
        self._start = now


def run_demo(
    folder: str | os.PathLike[str],
    *,
    train: int = 256,
    test: int = 64,
    seed: int = 0,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress = lambda done, total, what: None,
) -> DemoResult:
    """Render clips, extract features, train a head on each feature, and test it in domain and under shifts.

    Clips, features and runs of an earlier demo in the folder with the same numbers are used again.

    Args:
        folder: Folder to write to; created if it does not exist.
        train: Number of training clips; a quarter as many further clips choose the epoch.
        test: Number of test clips of each of the four protocols.
        seed: Seed of clips and training.
        overwrite: Whether files of others in the folder may be replaced.
        workers: Number of processes that draw, extract and train; None for one per core. Changes no number.
        progress: Called at each step with a line for people to read.

    Raises:
        UsageError: If the folder holds a demo with other numbers, or something else.
    """
    folder = Path(folder)
    settings = _Settings(train, test, seed)
    with outputs.claim(folder, "demo", _FILES, overwrite=overwrite) as held:
        _claim(folder, settings)
        return _run_demo(folder, held, settings, workers, progress)


def _run_demo(
    folder: Path,
    held: outputs.OutputClaim,
    settings: _Settings,
    workers: int | None,
    progress: Progress,
) -> DemoResult:
    """Run the demo in a folder that is claimed; see `run_demo`."""
    train, test, seed = settings.train, settings.test, settings.seed
    stopwatch = _Stopwatch()

    num_clips = train + train // 4 + test * len(PROTOCOLS)
    progress(0, num_clips, f"drawing {num_clips} clips of creatures that act")
    table_path = folder / "clips" / "table.csv"
    if not table_path.exists():
        write_menagerie(folder / "clips", train=train, val=train // 4, test=test, seed=seed, workers=workers)
    stopwatch.lap("draw")

    for number, backbone in enumerate(("tiny", *CONTROLS)):
        progress(number, 1 + len(CONTROLS), f"extracting features of {backbone}")
        _extract(table_path, folder / "features" / backbone, backbone, workers=workers or num_cores())
    stopwatch.lap("extract")

    table = read_table(table_path)
    rows = []
    progress(0, len(_FEATURES), f"training and testing {len(_FEATURES)} heads")
    is_done = all((folder / feature.run / METRICS_FILE).is_file() for feature in _FEATURES)
    trained = map_in_processes(
        partial(_train, held, table, seed), _FEATURES, workers=1 if is_done else workers
    )
    for number, (feature, run) in enumerate(zip(_FEATURES, trained, strict=True), start=1):
        progress(number, len(_FEATURES), f"{number} of {len(_FEATURES)} heads are trained and tested")
        rows.append(_row(feature, run))
    stopwatch.lap("train")

    # The last run stands for all where they agree: in the number of clips, and in what guessing scores.
    result = DemoResult(
        folder=folder,
        chosen=max(rows[: -len(CONTROLS)], key=lambda row: row.validation),
        rows=tuple(rows),
        prior={name: side.prior_floor.accuracy or 0.0 for name, side in _by_protocol(run).items()},
        num_train=run.metrics.counts["train"],
        num_test=test,
        seconds=stopwatch.seconds,
    )
    write_demo_page(folder / "report.html", _report(result, table, settings))
    fields = {**asdict(result), "folder": str(folder)}
    write_text(folder / "demo.json", json.dumps(fields, indent=2) + "\n")
    return result


def _extract(table: Path, store: Path, backbone: str, *, workers: int) -> None:
    """Fill a store; the network runs in several processes."""
    if backbone in CONTROLS:
        extract_features(table, store, backbone=backbone)
        return
    network = load_backbone(backbone, latents=LATENTS)
    extract_features(table, store, backbone=network, timesteps=TIMESTEPS, layers=LAYERS, workers=workers)


def _train(held: outputs.OutputClaim, table: Table, seed: int, feature: _Feature) -> Run:
    """Train a head on one feature of the source clips, and test it on every protocol."""
    store, out = held.folder / "features" / feature.backbone, held.folder / feature.run
    values = {
        "features.timestep": feature.timestep,
        "features.layer": feature.layer,
        "protocol.domain": "protocol",
        "protocol.source": ["source"],
        "seed": seed,
    }
    with outputs.join(held), cpu_threads(1):  # the number of threads changes rounding
        return study.train(store, table, out=out, recipe=load_recipe("demo", values=values))


def _row(feature: _Feature, run: Run) -> DemoRow:
    sides = _by_protocol(run)
    validation = run.metrics.validation if isinstance(run.metrics, TrainingMetrics) else None
    return DemoRow(
        features=feature.name,
        validation=(validation and validation.scores.accuracy) or 0.0,
        accuracy={name: sides[name].scores.accuracy or 0.0 for name in PROTOCOLS},
        interval={name: sides[name].intervals["accuracy"] for name in PROTOCOLS},
        run=feature.run,
    )


def _by_protocol(run: Run) -> dict[str, SideScores]:
    """Protocol -> scores of its test clips, which the demo always has."""
    return (run.metrics.test and run.metrics.test.by_domain) or {}


def _report(result: DemoResult, table: Table, settings: _Settings) -> DemoReport:
    """Everything that the page shows."""
    best = result.chosen
    compared = (best, *(row for row in result.rows if row.features in CONTROLS))
    network_rows = result.rows[: -len(CONTROLS)]
    grid = np.array([[row.accuracy[name] for name in PROTOCOLS] for row in network_rows])
    grid = grid.reshape(len(TIMESTEPS), len(LAYERS), len(PROTOCOLS))
    return DemoReport(
        scores={
            row.features: {name: Score(row.accuracy[name], *row.interval[name]) for name in PROTOCOLS}
            for row in compared
        },
        floor=result.prior,
        grid={name: grid[:, :, number].T for number, name in enumerate(PROTOCOLS)},
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
            "train": settings.train,
            "seed": settings.seed,
            "backbone": load_backbone("tiny", device="cpu", latents=LATENTS).settings,
            **environment(),
        },
    )


def _clips(table: Table, protocol: str) -> list[DemoClip]:
    """A few test clips of different actions."""
    by_action: dict[str, Example] = {}
    for example in table.examples:
        if example.columns["protocol"] == protocol:
            by_action.setdefault(example.labels[0], example)
    return [
        DemoClip(
            read_video(table.root / example.video).pixels,
            " · ".join((action, *(example.columns[name] for name in ("species", "context", "view")))),
        )
        for action, example in list(by_action.items())[:_CLIPS_PER_PROTOCOL]
    ]


def _claim(folder: Path, settings: _Settings) -> None:
    """Make an empty folder this demo's own, or check that it is."""
    path = folder / "settings.json"
    if path.exists():
        if json.loads(path.read_text("utf-8")) != asdict(settings):
            raise UsageError(
                f"{folder} holds a demo with other numbers of clips or another seed. Use another folder "
                "(--out), or remove this one."
            )
        return
    check_own_folder(folder, "demo", [path.name], error=UsageError, option="--out")
    write_text(path, json.dumps(asdict(settings)))
