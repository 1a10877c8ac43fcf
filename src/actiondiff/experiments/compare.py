"""Two finished runs on the same clips: what differs, and whether chance would do as much."""

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
from actiondiff.types import Array

__all__ = ["Comparison", "ScoredRun", "compare", "read_scored"]

_CLIP = ["video", "start_seconds", "end_seconds"]


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """A run's predictions of its test clips, by clip.

    Attributes:
        scored: Probabilities of every seed, targets and groups.
        clips: Video, start and end of each clip.
        labels: The classes.
        multi_label: Whether clips may have several.
    """

    scored: Scored
    clips: tuple[tuple[str, str, str], ...]
    labels: tuple[str, ...]
    multi_label: bool

    def subset(self, rows: Sequence[int]) -> "ScoredRun":
        """The clips of these positions."""
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
        first: A's folder.
        second: B's folder.
        num_clips: Clips that both tested.
        num_apart: Clips that one of them tested only, which are left out.
        num_groups: Groups that those clips are of.
        num_seeds: Trainings of A and of B.
        differences: Score -> difference with its interval over groups and seeds, and p.
        sign_flip_p: Of the mean difference a clip (right or wrong; average precision where clips have several
            labels), by flipping whole groups.
        mcnemar: The exact test on clips that one has right and the other wrong; None unless each is a single
            training on clips of one label.
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
        first: A run's folder; one with several seeds counts with all of them.
        second: Another's.
        num_resamples: Of groups and seeds.
        seed: Of the draws.

    Raises:
        RunError: If a folder holds no predictions.
        UsageError: If the runs share no clip, or name other classes.
    """
    folders = [Path(run.folder if isinstance(run, Run) else run) for run in (first, second)]
    one, other = (read_scored(folder) for folder in folders)
    one, other, apart = _common(one, other)
    known: list[Metric] = [name for name in METRICS if _applies(name, one.multi_label)]
    gains = per_clip(one.scored, multi_label=one.multi_label) - per_clip(
        other.scored, multi_label=one.multi_label
    )
    seeds = (len(one.scored.probabilities), len(other.scored.probabilities))
    exact = None
    if seeds == (1, 1) and not one.multi_label:
        right = [per_clip(run.scored, multi_label=False) == 1 for run in (one, other)]
        exact = mcnemar(*right)
    return Comparison(
        first=str(folders[0]),
        second=str(folders[1]),
        num_clips=len(one.clips),
        num_apart=apart,
        num_groups=len(set(one.scored.groups)),
        num_seeds=seeds,
        differences={
            name: difference(name, one.scored, other.scored, num_resamples=num_resamples, seed=seed)
            for name in known
        },
        sign_flip_p=sign_flip(gains, one.scored.groups, seed=seed),
        mcnemar=exact,
    )


def read_scored(folder: str | os.PathLike[str], *, file: str = PREDICTIONS) -> ScoredRun:
    """What a run, with one seed or several, says of its test clips.

    Args:
        folder: The run's.
        file: Of predictions; `in_domain.csv.gz` for the source's clips where these were scored.

    Raises:
        RunError: If there are no predictions, or those of its seeds are of other clips.
    """
    folder = Path(folder)
    seeds = sorted(folder.glob("seed-*"), key=lambda path: int(path.name[5:])) or [folder]
    frames = []
    for place in seeds:
        path = place / file
        if not path.is_file():
            raise RunError(
                f"{path} is not there: the run has no such clips. Give a folder that actiondiff train wrote."
            )
        frame = pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys((*_CLIP, "group", "label"), str))
        if "group" not in frame:
            raise RunError(f"{path} names no groups: it is of an older version. Train again.")
        frames.append(frame)
    named = [tuple(map(tuple, frame[_CLIP].to_numpy())) for frame in frames]
    if len(set(named)) > 1:
        raise RunError(f"the seeds in {folder} tested other clips; train them again into a new folder.")
    columns = [name for name in map(str, frames[0].columns) if name.startswith("p(")]
    labels = tuple(name[2:-1] for name in columns)
    probabilities = np.stack([frame[columns].to_numpy(np.float32) for frame in frames])
    task = read_training_metrics(seeds[0]).task
    scored = Scored(probabilities, _targets(frames[0]["label"].tolist(), labels), list(frames[0]["group"]))
    return ScoredRun(scored, named[0], labels, task == "multi-label")


def _targets(texts: Sequence[str], labels: Sequence[str]) -> Array:
    column = {label: number for number, label in enumerate(labels)}
    targets = np.zeros((len(texts), len(labels)), dtype=np.float32)
    for row, text in enumerate(texts):
        for label in text.split(";"):
            if label in column:
                targets[row, column[label]] = 1
    return targets


def _common(one: ScoredRun, other: ScoredRun) -> tuple[ScoredRun, ScoredRun, int]:
    """The clips that both have, in one order, and how many only one has."""
    if one.labels != other.labels or one.multi_label != other.multi_label:
        raise UsageError(
            f"the runs name other classes ({len(one.labels)} and {len(other.labels)}); give runs of one task."
        )
    place = {clip: row for row, clip in enumerate(other.clips)}
    rows = [row for row, clip in enumerate(one.clips) if clip in place]
    if not rows:
        raise UsageError("the runs have no test clip in common; compare runs tested on the same clips.")
    apart = len(one.clips) + len(other.clips) - 2 * len(rows)
    return one.subset(rows), other.subset([place[one.clips[row]] for row in rows]), apart


def _applies(metric: str, multi_label: bool) -> bool:
    if metric in ("accuracy", "balanced_accuracy"):
        return not multi_label
    return multi_label or metric != "charades_map"
