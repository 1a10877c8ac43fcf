"""Whether heads read tokens as they are, or without the background of their camera: a choice by the source.

The clips of the fold that a head is tested on play no part in the choice. Heads of both kinds are trained
without two folds at a time, and are tested on these two. For a fold, that kind of input is chosen whose heads
score better on the other folds; no head that is counted there has learnt from the fold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from actiondiff.datasets.base import Table
from actiondiff.evaluation.intervals import statistic
from actiondiff.evaluation.options import Metric, ProtocolOptions
from actiondiff.evaluation.protocols import group_of
from actiondiff.heads.background import MINUS_BACKGROUND
from actiondiff.start.cameras import CameraProposal
from actiondiff.start.comparison import Candidate, pool_folds
from actiondiff.types import Array, Example

__all__ = [
    "INPUTS",
    "LABELS",
    "STANDARDISED",
    "FoldTraining",
    "InputChoice",
    "can_choose",
    "choose_inputs",
    "usable_place",
]

LABELS = "labels.csv"
"""File of the clips that are compared, with their folds."""
STANDARDISED = "standardised"
INPUTS = (STANDARDISED, MINUS_BACKGROUND)
_SCALED = ("motion",)
"""Features whose heads read scaled tokens in place of standardised ones. Where a camera stands still, few
cells move, and standardised tokens make the others as loud. A control is to be as good as it can be."""
_LEAST_FOLDS = 3


@dataclass(frozen=True)
class InputChoice:
    """The inputs of one feature's heads.

    Attributes:
        by_fold: Input of the head that is tested on each fold.
        overall: Input of a head that is trained on all clips.
        sentence: The choice in words; empty if there was none.
    """

    by_fold: tuple[str, ...]
    overall: str
    sentence: str = ""

    @property
    def note(self) -> str:
        """What qualifies the score of the feature; empty if every head reads tokens as they are."""
        count = self.by_fold.count(MINUS_BACKGROUND)
        if not count:
            return ""
        return f"without the place in {count} of {len(self.by_fold)} folds"


def usual_input(name: str) -> str:
    """Input of a feature's heads where no background is taken away."""
    return "scaled" if name in _SCALED else STANDARDISED


def can_choose(examples: Sequence[Example], folds: Sequence[int]) -> bool:
    """Whether every class occurs outside any two folds, so that heads can be trained without these.

    Args:
        examples: The clips.
        folds: Fold of each clip, from 0.
    """
    labels: list[set[str]] = [set() for _ in range(max(folds) + 1)]
    for example, fold in zip(examples, folds, strict=True):
        labels[fold].update(example.labels)
    every = set().union(*labels)
    return len(labels) >= _LEAST_FOLDS and all(
        set().union(*(own for fold, own in enumerate(labels) if fold not in pair)) == every
        for pair in combinations(range(len(labels)), 2)
    )


def choose_inputs(
    name: str,
    fold_of: Callable[[str], int],
    num_folds: int,
    train_without: Callable[[str, tuple[int, int]], Path],
    *,
    multi_label: bool,
) -> InputChoice:
    """Choose the input for every fold, and for a head that is trained on all clips.

    Args:
        name: Name of the feature.
        fold_of: Gives the fold of a group, from 0.
        num_folds: Number of folds, at least three.
        train_without: Trains a head with an input on all folds but two, tests it on these, and returns the
            folder of the run.
        multi_label: Whether clips may have several classes.
    """
    metric: Metric = "micro_map" if multi_label else "balanced_accuracy"
    pairs = list(combinations(range(num_folds), 2))
    tested = {
        (kind, pair): pool_folds(name, [train_without(kind, pair)]) for kind in INPUTS for pair in pairs
    }
    scores = np.zeros((len(INPUTS), num_folds))
    for row, kind in enumerate(INPUTS):
        for fold in range(num_folds):
            # Heads that did not learn from the fold, on the other fold that each of them did not learn from.
            parts = [_part(tested[kind, pair], fold_of, sum(pair) - fold) for pair in pairs if fold in pair]
            probabilities = np.concatenate([part[0] for part in parts])
            truth = np.concatenate([part[1] for part in parts])
            scores[row, fold] = statistic(metric, probabilities, truth, np.ones((1, len(truth))))[0]
    better = scores[1] > scores[0]  # of equal scores, the simpler input
    means = scores.mean(1)
    overall = INPUTS[int(means[1] > means[0])]
    sentence = (
        f"{name}: {usual_input(name)} {100 * means[0]:.0f} %, {MINUS_BACKGROUND} {100 * means[1]:.0f} % on "
        f"clips that are not tested on; the place is taken away in {int(better.sum())} of {num_folds} folds."
    )
    return InputChoice(tuple(INPUTS[int(value)] for value in better), overall, sentence)


@dataclass(frozen=True)
class FoldTraining:
    """Trains and tests the heads of all folds.

    Attributes:
        out: Folder that `start` writes to.
        run: Prints and runs a command.
        echo: Prints a line.
        table: The clips, with their groups and the column `fold`, numbered from 1.
        num_folds: Number of folds.
        camera: Column that names the camera, to try taking its place away; None not to try.
        recipe_options: Options of `train` that the user changed.
        background: Table of clips without animals; None to take the clips themselves.
    """

    out: Path
    run: Callable[..., None]
    echo: Callable[[str], None]
    table: Table
    num_folds: int
    camera: str | None
    recipe_options: Sequence[str]
    background: Path | None = None

    def candidate(self, name: str) -> tuple[Candidate, str]:
        """Predictions of a feature's heads on the fold of each, and the input for a head of all clips."""
        choice = self._choose(name)
        runs = [
            self._train(name, self.run_of(name, fold), [fold], kind)
            for fold, kind in enumerate(choice.by_fold)
        ]
        return replace(pool_folds(name, runs), note=choice.note), choice.overall

    def run_of(self, name: str, fold: int) -> Path:
        """Folder of the run whose head is tested on a fold, which is counted from 0."""
        return self.out / "runs" / name / f"fold-{fold + 1}"

    def input_options(self, name: str, kind: str) -> tuple[str, ...]:
        """Options of `train` for the input of a feature's head."""
        if self.camera is None or kind == STANDARDISED:
            is_usual = usual_input(name) == STANDARDISED
            is_fixed = any(option.startswith("head.input=") for option in self.recipe_options)
            return () if is_usual or is_fixed else ("--set", f"head.input={usual_input(name)}")
        is_usual = self.camera == ProtocolOptions().camera
        return (
            *("--set", f"head.input={kind}"),
            *(() if is_usual else ("--set", f"protocol.camera={self.camera}")),
            *self.background_options(),
        )

    def background_options(self) -> tuple[str, ...]:
        """The option that names clips without animals, if there are any."""
        return () if self.background is None else ("--background-clips", str(self.background))

    def _choose(self, name: str) -> InputChoice:
        if self.camera is None:
            return InputChoice((STANDARDISED,) * self.num_folds, STANDARDISED)
        fold_of = {group_of(clip): int(clip.columns["fold"]) - 1 for clip in self.table.examples}
        choices = self.out / "runs" / name / "choice"
        choice = choose_inputs(
            name,
            fold_of.__getitem__,
            self.num_folds,
            lambda kind, pair: self._train(name, choices / f"{kind}-{pair[0] + 1}-{pair[1] + 1}", pair, kind),
            multi_label=self.table.multi_label,
        )
        self.echo(choice.sentence)
        return choice

    def _train(self, name: str, run: Path, left_out: Sequence[int], kind: str) -> Path:
        """Train on all folds but some, and test on these; returns the folder of the run."""
        source = ",".join(str(fold + 1) for fold in range(self.num_folds) if fold not in left_out)
        target = ",".join(str(fold + 1) for fold in left_out)
        self.run(
            "train", str(self.out / "features" / name), str(self.out / LABELS), "-o", str(run),
            "--domain", "fold", "--source", source, "--target", target,
            "--set", "training.calibration_folds=0", *self.input_options(name, kind), *self.recipe_options,
        )  # fmt: skip
        return run


def usable_place(
    camera: CameraProposal, examples: Sequence[Example], folds: Sequence[int], echo: Callable[[str], None]
) -> str | None:
    """Say what is done about the place that a camera shows.

    Args:
        camera: Which column names the camera.
        examples: The clips.
        folds: Fold of each clip, from 0.
        echo: Prints a line.

    Returns:
        The column, or None if the place cannot be taken away.
    """
    if camera.column is None:
        if camera.reason:
            echo(f"camera: {camera.reason}.")
        return None
    if not can_choose(examples, folds):
        echo(
            f"camera: {camera.reason}, but there are too few groups to choose without the tested clips "
            "whether to take its place away."
        )
        return None
    echo(
        f"camera: {camera.reason}. Features are also tried without the background of each camera "
        f"(head.input={MINUS_BACKGROUND}), and clips that are not tested on decide; --camera none leaves it "
        "out."
    )
    return camera.column


def _part(candidate: Candidate, fold_of: Callable[[str], int], fold: int) -> tuple[Array, Array]:
    """Probabilities and truth of the clips of one fold."""
    chosen = np.array([fold_of(group) == fold for group in candidate.groups], dtype=bool)
    return candidate.probabilities[chosen], candidate.truth[chosen]
