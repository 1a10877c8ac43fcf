"""Comparison of two finished runs on the same test clips, with the chance that they do not differ."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from actiondiff.errors import RunError, UsageError
from actiondiff.evaluation.judge import METRICS
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.paired import (
    Contrast,
    McNemar,
    Scored,
    difference,
    mcnemar,
    per_clip,
    sign_flip,
)
from actiondiff.evaluation.results import read_training_metrics
from actiondiff.experiments.run import PREDICTIONS, Run
from actiondiff.provenance import plain_cells
from actiondiff.types import Array

__all__ = ["Comparison", "ScoredRun", "compare", "read_scored"]

_CLIP = ["video", "start_seconds", "end_seconds"]


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """The predictions of a run on its test clips.

    Attributes:
        scored: Probabilities of every seed, targets and groups.
        clips: Video, start and end of each clip, as written in the file of predictions.
        labels: The K classes.
        multi_label: Whether clips can have several labels.
    """

    scored: Scored
    clips: tuple[tuple[str, str, str], ...]
    labels: tuple[str, ...]
    multi_label: bool

    def subset(self, rows: Sequence[int]) -> "ScoredRun":
        """Take the clips at these positions, in this order."""
        chosen = list(rows)
        scored = Scored(
            self.scored.probabilities[:, chosen],
            self.scored.targets[chosen],
            [self.scored.groups[i] for i in chosen],
        )
        return ScoredRun(scored, tuple(self.clips[i] for i in chosen), self.labels, self.multi_label)


@dataclass(frozen=True)
class Comparison:
    """Run A minus run B on the clips that both tested.

    Attributes:
        first: Folder of A.
        second: Folder of B.
        num_clips: Number of clips that both tested.
        num_apart: Number of clips that only one of them tested; they are left out.
        num_groups: Number of groups that the common clips belong to.
        num_seeds: Number of training runs of A and of B.
        differences: Metric -> difference with its interval over groups and seeds, and p.
        sign_flip_p: p of the mean difference per clip, by flipping the signs of whole groups. A clip's value
            is 1 if it is right, else 0; where clips have several labels, it is its average precision.
        mcnemar: Exact test on the clips that one has right and the other wrong; None unless both are a single
            training run on clips of one label.
    """

    first: str
    second: str
    num_clips: int
    num_apart: int
    num_groups: int
    num_seeds: tuple[int, int]
    differences: dict[Metric, Contrast]
    sign_flip_p: float
    mcnemar: McNemar | None


def compare(
    first: Run | str | os.PathLike[str],
    second: Run | str | os.PathLike[str],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two runs on the clips that both tested.

    Args:
        first: Run A, or its folder. A run of several seeds counts with all of them.
        second: Run B, or its folder.
        num_resamples: Number of times that groups and seeds are resampled.
        seed: Seed of the resampling.

    Raises:
        RunError: If a folder holds no predictions.
        UsageError: If the runs share no clip, or have different classes.
    """
    # Read both, and take the clips that both tested, in one order.
    folders = [Path(run.folder if isinstance(run, Run) else run) for run in (first, second)]
    one, other = (read_scored(folder) for folder in folders)
    one, other, num_apart = _common(one, other)
    multi_label = one.multi_label
    metrics = [name for name in METRICS if _applies(name, multi_label)]

    # Clip by clip: a permutation of groups, and the exact test where there is one prediction per clip.
    gains = per_clip(one.scored, multi_label=multi_label) - per_clip(other.scored, multi_label=multi_label)
    num_seeds = (len(one.scored.probabilities), len(other.scored.probabilities))
    exact = None
    if num_seeds == (1, 1) and not multi_label:
        right = [per_clip(run.scored, multi_label=False) == 1 for run in (one, other)]
        exact = mcnemar(*right)
    return Comparison(
        first=str(folders[0]),
        second=str(folders[1]),
        num_clips=len(one.clips),
        num_apart=num_apart,
        num_groups=len(set(one.scored.groups)),
        num_seeds=num_seeds,
        differences={
            name: difference(name, one.scored, other.scored, num_resamples=num_resamples, seed=seed)
            for name in metrics
        },
        sign_flip_p=sign_flip(gains, one.scored.groups, seed=seed),
        mcnemar=exact,
    )


def read_scored(folder: str | os.PathLike[str], *, file: str = PREDICTIONS) -> ScoredRun:
    """Read the predictions of a run of one seed or several.

    Args:
        folder: Folder of the run.
        file: Name of the file of predictions; `in_domain.csv.gz` for the source's clips.

    Raises:
        RunError: If there are no predictions, or its seeds were tested on different clips.
    """
    folder = Path(folder)
    seeds = sorted(folder.glob("seed-*"), key=lambda path: int(path.name[5:])) or [folder]
    frames = []
    for seed_folder in seeds:
        path = seed_folder / file
        if not path.is_file():
            raise RunError(
                f"{path} does not exist, so the run has no such clips. Give a folder of actiondiff train."
            )
        frame = pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys((*_CLIP, "group", "label"), str))
        frame = plain_cells(frame)
        if "group" not in frame:
            raise RunError(f"{path} has no column group: an older version wrote it. Train again.")
        frames.append(frame)
    clips = [tuple(map(tuple, frame[_CLIP].to_numpy())) for frame in frames]
    if len(set(clips)) > 1:
        raise RunError(
            f"the seeds in {folder} were tested on different clips; train them again into a new folder."
        )
    columns = [name for name in map(str, frames[0].columns) if name.startswith("p(")]
    labels = tuple(name[2:-1] for name in columns)
    probabilities = np.stack([frame[columns].to_numpy(np.float32) for frame in frames])
    task = read_training_metrics(seeds[0]).task
    scored = Scored(probabilities, _targets(frames[0]["label"].tolist(), labels), list(frames[0]["group"]))
    return ScoredRun(scored, clips[0], labels, task == "multi-label")


def _targets(texts: Sequence[str], labels: Sequence[str]) -> Array:
    """(N, K) float32, 1 for the classes in each text, which are separated by `;`."""
    column = {label: number for number, label in enumerate(labels)}
    targets = np.zeros((len(texts), len(labels)), dtype=np.float32)
    for row, text in enumerate(texts):
        for label in text.split(";"):
            if label in column:
                targets[row, column[label]] = 1
    return targets


def _common(one: ScoredRun, other: ScoredRun) -> tuple[ScoredRun, ScoredRun, int]:
    """Take the clips that both have, in one order, and count those that only one has."""
    if one.labels != other.labels or one.multi_label != other.multi_label:
        raise UsageError(
            f"the runs have different classes ({len(one.labels)} and {len(other.labels)}); give runs of the "
            "same task."
        )
    row_of = {clip: row for row, clip in enumerate(other.clips)}
    rows = [row for row, clip in enumerate(one.clips) if clip in row_of]
    if not rows:
        raise UsageError("the runs have no test clip in common; compare runs tested on the same clips.")
    num_apart = len(one.clips) + len(other.clips) - 2 * len(rows)
    return one.subset(rows), other.subset([row_of[one.clips[row]] for row in rows]), num_apart


def _applies(metric: str, multi_label: bool) -> bool:
    """Whether a metric exists for the kind of task."""
    if metric in ("accuracy", "balanced_accuracy"):
        return not multi_label
    return multi_label or metric != "charades_map"
