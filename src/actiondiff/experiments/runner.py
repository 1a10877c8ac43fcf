"""Runs the studies of a sweep: extracts what is missing, then trains every seed, several side by side.

Training runs side by side each have a process and a fixed number of threads, so that their number changes no
result.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from actiondiff.backbones.base import Backbone
from actiondiff.datasets.base import Table
from actiondiff.errors import ActionDiffError, RunError, UnknownNameError
from actiondiff.evaluation.results import METRICS_FILE, TrainingMetrics, read_training_metrics
from actiondiff.experiments.grid import Cell
from actiondiff.experiments.recipe import Recipe
from actiondiff.experiments.run import SeedRun
from actiondiff.experiments.study import Study
from actiondiff.extraction.api import extract_features
from actiondiff.features.joined import further_stores, open_joined, own_keys
from actiondiff.features.store import FeatureStore
from actiondiff.processes import ScriptlessContext, end_with_parent, num_cores
from actiondiff.types import FeatureKey, Progress, Sampling

__all__ = ["StudyRunner", "twin"]


_WORTH_A_PROCESS = 3  # training runs; fewer take hardly longer than a process takes to start


class SeedTask(NamedTuple):
    """One training run.

    Attributes:
        study: Name of the study.
        number: Which of the study's seeds, from 0.
    """

    study: str
    number: int

    def __str__(self) -> str:
        """For messages."""
        return f"{self.study}, seed {self.number}"


@dataclass(frozen=True)
class SharedInputs:
    """What all training runs share, in a form that goes to another process.

    Attributes:
        store: Folder of the feature store.
        further: Name -> folder of a further store that it is joined with.
        table: Clips and their labels.
        root: Folder that the table's paths are relative to.
        recipes: Study -> recipe.
        folders: Study -> folder.
        threads: Number of CPU threads of a training run; rounding depends on it.
    """

    store: Path
    further: Mapping[str, Path]
    table: Table
    root: Path
    recipes: Mapping[str, Recipe]
    folders: Mapping[str, Path]
    threads: int


class StudyRunner:
    """Runs studies on one store and one table.

    Args:
        store: Feature store to read from.
        table: Clips and their labels.
        root: Folder that the table's paths are relative to.
        jobs: Number of training runs side by side; None for one per core.
        threads: Number of CPU threads of each.
        backbones: Name of a further store, empty for the first one -> the backbone that extracts what it
            lacks. Without one, its absence is an error.
        progress: Called with each step and a line about it.
    """

    def __init__(
        self,
        store: FeatureStore,
        table: Table,
        root: Path,
        *,
        jobs: int | None,
        threads: int,
        backbones: Mapping[str, Backbone],
        progress: Progress,
    ) -> None:
        self.store, self.table, self.root = store, table, root
        self.jobs, self.threads = jobs, threads
        self.backbones, self.progress = backbones, progress
        self._metrics: dict[Path, TrainingMetrics] = {}  # of finished runs, by folder

    def keys(self, cell: Cell) -> list[FeatureKey]:
        """The features that a study reads."""
        return cell.recipe.features.all_keys(self.store)

    def run(self, cells: Sequence[Cell], folder: Path, *, table: Table | None = None) -> dict[str, str]:
        """Train and test every seed of some studies.

        Args:
            cells: The studies.
            folder: Gets one folder for each study.
            table: Clips to take in place of the runner's.

        Returns:
            Study and seed -> why it failed, for those that did.

        Raises:
            UnknownNameError: If the store lacks features, and there is no backbone to extract them.
            RunError: If a process dies.
        """
        # Extract first, for all studies together: then a video is decoded once for all its features.
        table = table or self.table
        self._provide_features(cells, table)

        # Train every seed. Of two studies that are trained alike, one is enough.
        trained = [cell for cell in cells if twin(cell, cells) is None]
        inputs = SharedInputs(
            store=self.store.folder.resolve(),
            further={name: other.folder.resolve() for name, other in further_stores(self.store).items()},
            table=table,
            root=self.root.resolve(),
            recipes={cell.name: cell.recipe for cell in trained},
            folders={cell.name: folder.resolve() / cell.slug for cell in trained},
            threads=self.threads,
        )
        tasks = [SeedTask(cell.name, number) for cell in trained for number in range(cell.recipe.seeds)]
        self.progress(0, len(tasks), f"{len(tasks)} training runs of {len(trained)} studies")
        problems = {}
        for task, outcome in run_tasks(inputs, tasks, jobs=self.jobs, progress=self.progress).items():
            if isinstance(outcome, SeedRun):
                self._metrics[outcome.folder] = outcome.metrics
            else:
                problems[str(task)] = outcome

        # Summarise the studies of several seeds that are complete.
        for cell in trained:
            runs = self.finished(cell, folder)
            if cell.recipe.seeds > 1 and len(runs) == cell.recipe.seeds:
                study = Study(self.store, table, cell.recipe, self.root, is_checked=True)
                study.write_summary(folder / cell.slug, runs)
        return problems

    def finished(self, cell: Cell, folder: Path) -> list[SeedRun]:
        """Return the finished runs of a study, in the order of seeds, those of earlier sweeps among them."""
        study_folder, count = folder / cell.slug, cell.recipe.seeds
        seed_folders = [study_folder / f"seed-{number}" for number in range(count)]
        runs = []
        for seed_folder in seed_folders if count > 1 else [study_folder]:
            metrics = self._metrics.get(seed_folder.resolve())
            if metrics is None and (seed_folder / METRICS_FILE).is_file():
                metrics = read_training_metrics(seed_folder)
            if metrics is not None:
                runs.append(SeedRun(seed_folder, metrics))
        return runs

    def _provide_features(self, cells: Sequence[Cell], table: Table) -> None:
        """Extract the features that the studies read, where the store lacks them.

        Raises:
            UnknownNameError: If features are missing, and there is no backbone.
        """
        every = {key for cell in cells for key in self.keys(cell)}
        stores = {"": self.store, **further_stores(self.store)}
        for name, store in stores.items():
            wanted = sorted(key.within() for key in every if key.store == name)
            backbone = self.backbones.get(name)
            if backbone is not None:
                self._extract(store, backbone, wanted, table)
            elif not name:  # what further stores lack is found as they are read
                stored = own_keys(store)
                missing = [str(key) for key in wanted if key not in stored]
                if missing:
                    hint = "Extract it first (actiondiff extract), or let the sweep do so (--extract)."
                    raise UnknownNameError(f"feature of {store.folder}", ", ".join(missing), stored, hint)
        if self.backbones:  # opened again, to see the new features
            folders = {name: store.folder for name, store in further_stores(self.store).items()}
            self.store = open_joined(self.store.folder, folders)

    def _extract(
        self, store: FeatureStore, backbone: Backbone, wanted: Sequence[FeatureKey], table: Table
    ) -> None:
        """Extract features into one of the stores."""
        settings: Any = store.settings["sampling"]
        sampling = Sampling.from_settings(settings)
        groups = _timesteps_by_layers(wanted)
        for number, (layers, timesteps) in enumerate(groups.items()):
            listed = ", ".join(map(str, timesteps))
            what = f"extracting timesteps {listed} of {len(table)} clips into {store.folder.name}"
            self.progress(number, len(groups), what)
            extract_features(
                list(table.examples),
                store.folder,
                backbone=backbone,
                timesteps=timesteps,
                layers=layers,
                root=self.root,
                stride=sampling.stride,
                fps=sampling.fps,
                store_dtype=store.dtype,
                workers=self.jobs or num_cores(),
            )


def _timesteps_by_layers(keys: Sequence[FeatureKey]) -> dict[tuple[str, ...], list[int]]:
    """Group features that can be extracted together: layers -> timesteps of which all these are wanted."""
    layers_of: dict[int, list[str]] = {}
    for key in keys:
        layers_of.setdefault(key.timestep, []).append(key.layer)
    groups: dict[tuple[str, ...], list[int]] = {}
    for timestep, layers in layers_of.items():
        groups.setdefault(tuple(layers), []).append(timestep)
    return groups


def twin(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """Find the study with rule `released` that is trained in the same way as one with rule `oracle`."""
    if cell.recipe.protocol.selection != "oracle":
        return None
    for other in cells:
        protocol = other.recipe.protocol.model_copy(update={"selection": "oracle"})
        same_recipe = other.recipe.model_copy(update={"protocol": protocol}) == cell.recipe
        same_inputs = (other.case, other.data, other.extraction) == (cell.case, cell.data, cell.extraction)
        if other.recipe.protocol.selection == "released" and same_recipe and same_inputs:
            return other
    return None


def run_tasks(
    inputs: SharedInputs, tasks: Sequence[SeedTask], *, jobs: int | None, progress: Progress
) -> dict[SeedTask, SeedRun | str]:
    """Train and test; runs that are finished are not repeated.

    Args:
        inputs: What the runs share.
        tasks: The runs.
        jobs: Number of processes; with 1, everything happens in this process. None for one per core, if each
            has several runs to do.
        progress: Called after each run.

    Returns:
        Task -> its run, or why it failed.

    Raises:
        RunError: If a process dies.
    """
    outcomes: dict[SeedTask, SeedRun | str] = {}
    if jobs is None:
        jobs = max(1, min(num_cores() // inputs.threads, len(tasks) // _WORTH_A_PROCESS))
    if jobs == 1 or len(tasks) < 2:
        threads = torch.get_num_threads()
        torch.set_num_threads(inputs.threads)
        try:
            worker = _SeedWorker(inputs)
            for done, task in enumerate(tasks, start=1):
                outcomes[task] = worker.run(task)
                progress(done, len(tasks), f"{done} of {len(tasks)}: {task}")
        finally:
            torch.set_num_threads(threads)
        return outcomes
    with ProcessPoolExecutor(min(jobs, len(tasks)), ScriptlessContext(), _start_process, (inputs,)) as pool:
        try:
            pending = {pool.submit(_run_in_process, task): task for task in tasks}
            done = 0
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    task = pending.pop(future)
                    outcomes[task] = future.result()
                    done += 1
                    progress(done, len(tasks), f"{done} of {len(tasks)}: {task}")
        except BrokenProcessPool:
            raise RunError(
                f"a process died ({jobs} were running), perhaps because memory ran out. Finished runs are "
                "kept: run the command again, with fewer --jobs if it fails again."
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {task: outcomes[task] for task in tasks}


class _SeedWorker:
    """Trains one task after the other. It keeps the data of the last study for that study's next seed."""

    def __init__(self, inputs: SharedInputs) -> None:
        self.inputs = inputs
        self.store = open_joined(inputs.store, inputs.further)
        self.study: tuple[str, Study] | None = None

    def run(self, task: SeedTask) -> SeedRun | str:
        """Train and test one seed; if it fails, return why."""
        if self.study is None or self.study[0] != task.study:
            recipe = self.inputs.recipes[task.study]
            study = Study(self.store, self.inputs.table, recipe, self.inputs.root, is_checked=True)
            self.study = task.study, study
        try:
            return self.study[1].train_seed(self.inputs.folders[task.study], task.number)
        except ActionDiffError as error:
            return " ".join(str(error).split())


_worker: _SeedWorker | None = None  # of a process of the pool


def _start_process(inputs: SharedInputs) -> None:
    """Set up a process of the pool. It ends with its parent, even if that is killed."""
    global _worker
    torch.set_num_threads(inputs.threads)
    end_with_parent()
    _worker = _SeedWorker(inputs)


def _run_in_process(task: SeedTask) -> SeedRun | str:
    assert _worker is not None  # every process of the pool starts with `_start_process`
    return _worker.run(task)
