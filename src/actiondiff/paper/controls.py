"""Controls of a stand-in: does a study learn more than class frequencies, and only from its labels?"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from actiondiff.datasets.base import Table
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.paired import Contrast, Scored, contrast
from actiondiff.evaluation.results import read_training_metrics
from actiondiff.experiments.compare import ScoredRun, read_scored
from actiondiff.experiments.grid import Cell, DataChoice, Grid
from actiondiff.experiments.sweep import sweep
from actiondiff.experiments.tables import headline
from actiondiff.features.store import FeatureStore
from actiondiff.heads.bundle import read_config
from actiondiff.paper.plan import ReproductionPlan
from actiondiff.paper.results import ControlResult, Interval
from actiondiff.paper.verdicts import SweptStudy

__all__ = ["judge_control", "permute_labels", "run_controls"]

_PERMUTATIONS = 3
_RESAMPLES = 1000


def run_controls(plan: ReproductionPlan, swept: Sequence[SweptStudy], folder: Path) -> list[ControlResult]:
    """Train and judge one control study per protocol.

    The control study is one that reads the backbone's own feature, if there is any. Its epoch is chosen on
    held-out clips of the source: chosen on the test clips, the best of many guesses would be no guess.

    Args:
        plan: The reproduction.
        swept: The studies that were trained.
        folder: Folder of the reproduction.
    """
    first: dict[DataChoice, SweptStudy] = {}
    for entry in sorted(swept, key=_reads_own_feature, reverse=True):
        if entry.cell.data is not None and entry.is_trained:
            first.setdefault(entry.cell.data, entry)
    results = []
    for choice, entry in first.items():
        cell, table = _by_validation(entry.cell), plan.tables[choice]
        planned = next(planned for planned in plan.sweeps if entry.cell in planned.cells)
        store = FeatureStore.open(folder / "features" / planned.store_slug)
        grid = Grid("control", "", (cell,), tree={"recipe": plan.grid.name})
        # The same study on the labels as they are, and on labels that were exchanged among training clips.
        tables = [table, *(permute_labels(table, seed=seed) for seed in range(_PERMUTATIONS))]
        runs = []
        for number, clips in enumerate(tables):
            out = folder / "controls" / f"{choice.protocol}-{number}"
            runs.append(SweptStudy(cell, sweep(grid, store, clips, out=out)))
        if all(run.is_trained for run in runs):
            real, *permuted = [run.folder for run in runs]
            metric = headline(cell, read_training_metrics(real))
            results.append(judge_control(cell, metric, real, permuted))
    return results


def permute_labels(table: Table, *, seed: int = 0) -> Table:
    """The same clips with exchanged labels; in a table with splits, those of the test clips stay."""
    marked = any(clip.split for clip in table.examples)
    moved = [i for i, clip in enumerate(table.examples) if not marked or clip.split != "test"]
    order = list(moved)
    random.Random(seed).shuffle(order)
    labels = {i: table.examples[j].labels for i, j in zip(moved, order, strict=True)}
    clips = (replace(clip, labels=labels.get(i, clip.labels)) for i, clip in enumerate(table.examples))
    return replace(table, examples=tuple(clips))


def judge_control(cell: Cell, metric: Metric, real: Path, permuted: Sequence[Path]) -> ControlResult:
    """Set a study beside the prior, and beside itself with permuted labels.

    Args:
        cell: The study.
        metric: Metric that it is judged by.
        real: Folder of its run.
        permuted: Folders of the runs on permuted labels, one per permutation.
    """
    run, others = read_scored(real), [read_scored(folder).scored for folder in permuted]
    other = replace(others[0], probabilities=np.concatenate([scored.probabilities for scored in others]))
    counts = read_config(real).train_counts
    assert cell.data is not None  # every recipe of the paper names its clips
    guesses = _prior(run, [counts[label] for label in run.labels])
    score, prior = _interval(metric, run.scored), _interval(metric, guesses)
    excess = contrast(metric, [(1, other), (-1, guesses)], num_resamples=_RESAMPLES)
    return ControlResult(
        study=cell.name,
        protocol=cell.data.protocol,
        metric=metric,
        score=Interval.of(score),
        prior=Interval.of(prior),
        permuted=Interval.of(_interval(metric, other)),
        excess=Interval.of(excess),
        num_test=len(run.clips),
        above=bool(score.value > prior.high),
        permuted_at_prior=bool(excess.low <= 0),
    )


def _reads_own_feature(entry: SweptStudy) -> bool:
    features = entry.cell.recipe.features
    return features.timestep in (None, 20) and features.layer in (None, 9)


def _by_validation(cell: Cell) -> Cell:
    protocol = cell.recipe.protocol.model_copy(update={"selection": "source-validation"})
    return replace(cell, recipe=cell.recipe.model_copy(update={"protocol": protocol}))


def _interval(metric: Metric, scored: Scored) -> Contrast:
    return contrast(metric, [(1, scored)], num_resamples=_RESAMPLES)


def _prior(run: ScoredRun, counts: Sequence[int]) -> Scored:
    """Every clip scored by the class frequencies; classes tied at the top make one guess each."""
    shares = np.asarray(counts, dtype=np.float32) / max(1, max(counts))
    guesses = [shares]
    if not run.multi_label:
        tied = np.flatnonzero(shares == shares.max())
        guesses = [np.where(np.arange(len(shares)) == guess, np.float32(1), shares / 2) for guess in tied]
    probabilities = np.stack([np.tile(guess, (len(run.clips), 1)) for guess in guesses])
    return Scored(probabilities.astype(np.float32), run.scored.targets, run.scored.groups)
