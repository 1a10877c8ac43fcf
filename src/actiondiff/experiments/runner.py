"""Trains the studies of a grid: features seen to first, then every seed, then each study's own summary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actiondiff.backbones.base import Backbone
from actiondiff.datasets.base import Table
from actiondiff.errors import UnknownNameError
from actiondiff.evaluation.results import METRICS_FILE, read_training_metrics
from actiondiff.experiments.grid import Cell
from actiondiff.experiments.run import SeedRun
from actiondiff.experiments.train import Study
from actiondiff.experiments.workers import Job, Task, do_tasks
from actiondiff.extraction.local import extract_features
from actiondiff.features.store import FeatureStore
from actiondiff.types import FeatureKey, Progress, Sampling

__all__ = ["Fleet", "twin"]


class Fleet:
    """What trains studies on one store and table.

    Args:
        store: Features.
        table: Labels.
        root: Folder that the table's paths are relative to.
        jobs: Trainings side by side.
        threads: CPU threads of each.
        backbone: Makes features that the store lacks; None: they are missed.
        progress: Called with a line now and then.
    """

    def __init__(
        self,
        store: FeatureStore,
        table: Table,
        root: Path,
        *,
        jobs: int,
        threads: int,
        backbone: Backbone | None,
        progress: Progress,
    ) -> None:
        self.store, self.table, self.root = store, table, root
        self.jobs, self.threads = jobs, threads
        self.backbone, self.progress = backbone, progress

    def key(self, point: Cell) -> FeatureKey:
        """The feature that a study reads."""
        return point.recipe.features.key(self.store)

    def train(self, points: Sequence[Cell], folder: Path, *, table: Table | None = None) -> dict[str, str]:
        """Train every seed of some studies.

        Args:
            points: The studies.
            folder: Gets one of theirs each.
            table: Other clips than all.

        Returns:
            Study and seed -> why it failed.

        Raises:
            UnknownNameError: If features are missing, and there is no backbone to make them.
            RunError: If a process dies.
        """
        table = table or self.table
        self._provide(points, table)
        trained = [point for point in points if twin(point, points) is None]
        job = Job(
            store=self.store.folder.resolve(),
            table=table,
            root=self.root.resolve(),
            recipes={point.name: point.recipe for point in trained},
            folders={point.name: folder.resolve() / point.slug for point in trained},
            threads=self.threads,
        )
        tasks = [Task(point.name, number) for point in trained for number in range(point.recipe.seeds)]
        self.progress(0, len(tasks), f"{len(tasks)} trainings of {len(trained)} studies")
        problems = do_tasks(
            job,
            tasks,
            jobs=self.jobs,
            told=lambda task, done, total: self.progress(
                done, total, f"{done} of {total}: {task.name}, seed {task.number}"
            ),
        )
        for point in trained:
            runs = self.finished(point, folder)
            if point.recipe.seeds > 1 and len(runs) == point.recipe.seeds:
                study = Study(self.store, table, point.recipe, self.root, is_checked=True)
                study.summarise(folder / point.slug, runs)
        return {f"{task.name}, seed {task.number}": problem for task, problem in problems.items()}

    def finished(self, point: Cell, folder: Path) -> list[SeedRun]:
        """The trainings of a study that are there, in the order of seeds."""
        place, count = folder / point.slug, point.recipe.seeds
        seeds = [place / f"seed-{number}" for number in range(count)] if count > 1 else [place]
        return [
            SeedRun(seed, read_training_metrics(seed)) for seed in seeds if (seed / METRICS_FILE).is_file()
        ]

    def _provide(self, points: Sequence[Cell], table: Table) -> None:
        wanted = sorted({self.key(point) for point in points})
        if self.backbone is None:
            known = self.store.keys()
            missing = [str(key) for key in wanted if key not in known]
            if missing:
                hint = "Extract it first (actiondiff extract), or let the sweep do so (--extract)."
                raise UnknownNameError(f"feature of {self.store.folder}", ", ".join(missing), known, hint)
            return
        layers: dict[int, list[str]] = {}
        for key in wanted:
            layers.setdefault(key.timestep, []).append(key.layer)
        alike: dict[tuple[str, ...], list[int]] = {}
        for timestep, found in layers.items():
            alike.setdefault(tuple(found), []).append(timestep)
        settings: Any = self.store.settings["sampling"]
        sampling = Sampling.from_settings(settings)
        for number, (taps, timesteps) in enumerate(alike.items()):
            self.progress(
                number,
                len(alike),
                f"extracting timesteps {', '.join(map(str, timesteps))} of {len(table)} clips",
            )
            extract_features(
                list(table.examples),
                self.store.folder,
                backbone=self.backbone,
                timesteps=timesteps,
                layers=taps,
                root=self.root,
                stride=sampling.stride,
                fps=sampling.fps,
                store_dtype=self.store.dtype,
            )
        self.store = FeatureStore.open(self.store.folder)  # it knows of what was written


def twin(point: Cell, points: Sequence[Cell]) -> Cell | None:
    """For a study of the rule `oracle` the same one of the rule `released`, which is trained alike."""
    if point.recipe.protocol.selection != "oracle":
        return None
    for other in points:
        protocol = other.recipe.protocol.model_copy(update={"selection": "oracle"})
        same = other.recipe.model_copy(update={"protocol": protocol}) == point.recipe
        told_apart = (other.case, other.data, other.extraction) == (point.case, point.data, point.extraction)
        if other.recipe.protocol.selection == "released" and same and told_apart:
            return other
    return None
