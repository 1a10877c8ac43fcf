"""Trainings side by side in processes of one thread each, so that their number changes no result."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple

import torch

from actiondiff.datasets.base import Table
from actiondiff.errors import ActionDiffError, RunError
from actiondiff.experiments.recipe import Recipe
from actiondiff.experiments.train import Study
from actiondiff.features.store import FeatureStore

__all__ = ["Job", "Task", "do_tasks"]

Told = Callable[["Task", int, int], None]


class Task(NamedTuple):
    """One training: a study's name, and which of its seeds, from 0."""

    name: str
    number: int


@dataclass(frozen=True)
class Job:
    """What all trainings share.

    Attributes:
        store: The features' folder.
        table: Labels.
        root: Folder that the table's paths are relative to.
        recipes: Study's name -> recipe.
        folders: Study's name -> folder.
        threads: CPU threads of a training; rounding depends on it.
    """

    store: Path
    table: Table
    root: Path
    recipes: Mapping[str, Recipe]
    folders: Mapping[str, Path]
    threads: int


def do_tasks(job: Job, tasks: Sequence[Task], *, jobs: int, told: Told) -> dict[Task, str]:
    """Train; what is finished already is not done again.

    Args:
        job: What they share.
        tasks: What to train.
        jobs: Processes; 1 for none but this one.
        told: Called after each with the task, how many are done, and of how many.

    Returns:
        Task -> why it failed, for those that did.

    Raises:
        RunError: If a process dies.
    """
    failed: dict[Task, str] = {}
    if jobs == 1 or len(tasks) < 2:
        threads = torch.get_num_threads()
        torch.set_num_threads(job.threads)
        worker = _Worker(job)
        try:
            for done, task in enumerate(tasks, start=1):
                problem = worker(task)
                if problem is not None:
                    failed[task] = problem
                told(task, done, len(tasks))
        finally:
            torch.set_num_threads(threads)
        return failed
    context = get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(tasks)), context, _start, (job,)) as pool:
        try:
            left = {pool.submit(_do, task): task for task in tasks}
            done = 0
            while left:
                for future in wait(left, return_when=FIRST_COMPLETED).done:
                    task, problem = left.pop(future), future.result()
                    if problem is not None:
                        failed[task] = problem
                    done += 1
                    told(task, done, len(tasks))
        except BrokenProcessPool:
            raise RunError(
                f"a process died ({jobs} were at work), perhaps for want of memory. What is done is kept: "
                "run again, with fewer --jobs if need be."
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


class _Worker:
    """Trains one task after the other; the clips of the last study are kept for its next seed."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.store = FeatureStore.open(job.store)
        self.name = ""
        self.study: Study | None = None

    def __call__(self, task: Task) -> str | None:
        """Do it; why it failed, if it did."""
        if self.study is None or task.name != self.name:
            recipe = self.job.recipes[task.name]
            self.study = Study(self.store, self.job.table, recipe, self.job.root, is_checked=True)
            self.name = task.name
        try:
            self.study.train_seed(self.job.folders[task.name], task.number)
        except ActionDiffError as error:
            return " ".join(str(error).split())
        return None


_worker: _Worker | None = None


def _start(job: Job) -> None:
    """A process begins; it ends with the one that started it, even if that is killed."""
    global _worker
    torch.set_num_threads(job.threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(job)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(task: Task) -> str | None:
    assert _worker is not None  # every process begins with `_start`
    return _worker(task)
