"""Scores of a model on labelled clips, with their floor and intervals, and its predictions as a table."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from actiondiff.datasets.base import value_of
from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import UsageError
from actiondiff.evaluation.intervals import interval
from actiondiff.evaluation.metrics import scores
from actiondiff.evaluation.options import Metric
from actiondiff.evaluation.priors import prior_floor
from actiondiff.evaluation.protocols import group_of
from actiondiff.evaluation.results import LeftOutClip
from actiondiff.evaluation.scores import Scores, SideScores
from actiondiff.heads.predict import Activation
from actiondiff.types import Array

__all__ = [
    "METRICS",
    "check_classes",
    "judge",
    "judge_by_value",
    "mean_and_sd",
    "missing_clips",
    "prediction_table",
    "protocol_classes",
    "restrict",
    "targets_of_counts",
]

METRICS: dict[Metric, str] = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "micro_map": "micro mAP",
    "macro_map": "macro mAP",
    "charades_map": "Charades mAP",
}
"""Scores that are reported -> how they are called in tables and reports."""


def judge(packed: PackedFeatures, probabilities: Array, activation: Activation, source: Array) -> SideScores:
    """Score the predictions of some clips, beside their floor and intervals.

    Args:
        packed: The clips, N of them.
        probabilities: (N, K) in [0, 1].
        activation: `sigmoid` for multi-label tasks.
        source: (M, K) targets of the training clips, which the floor guesses by.
    """
    multi_label = activation == "sigmoid"
    targets = packed.targets.numpy()
    scored = scores(probabilities, targets, packed.label_names, multi_label=multi_label)
    groups = [group_of(example) for example in packed.examples]
    intervals = {
        name: interval(name, probabilities, targets, groups)
        for name in METRICS
        if scored.total(name) is not None
    }
    return SideScores(
        num_clips=len(packed),
        scores=scored,
        prior_floor=prior_floor(source, targets, multi_label=multi_label),
        intervals={
            name: bounds
            for name, bounds in intervals.items()
            if np.isfinite(bounds).all() and not _misses(name, scored.total(name), bounds)
        },
    )


def _misses(name: Metric, score: float | None, bounds: tuple[float, float]) -> bool:
    """Whether an interval of a mean over classes lies beside its own score, so that it means nothing.

    Resamples lack classes that have a clip or two. What is left is easier, or harder, than the whole.
    """
    is_over_classes = name in ("balanced_accuracy", "macro_map", "charades_map")
    return is_over_classes and score is not None and not bounds[0] <= score <= bounds[1]


def judge_by_value(
    packed: PackedFeatures, probabilities: Array, activation: Activation, source: PackedFeatures, domain: str
) -> dict[str, SideScores]:
    """Score the clips of each value of a column on their own; see `judge`."""
    values = [value_of(example, domain) for example in packed.examples]
    by_value = {}
    for value in sorted(set(values)):
        rows = [i for i, item in enumerate(values) if item == value]
        by_value[value] = judge(packed.subset(rows), probabilities[rows], activation, source.targets.numpy())
    return by_value


def protocol_classes(sides: Sequence[PackedFeatures | None]) -> list[str]:
    """Classes that occur in the clips of a protocol, in the order of the task."""
    packed = [side for side in sides if side is not None]
    counts = np.sum([side.targets.sum(0).numpy() for side in packed], axis=0)
    return [label for label, count in zip(packed[0].label_names, counts, strict=True) if count]


def restrict(
    packed: PackedFeatures, probabilities: Array, activation: Activation, labels: Sequence[str]
) -> tuple[PackedFeatures, Array]:
    """Restrict clips and probabilities to some classes; with `softmax` the rest is scaled to sum to 1 again.

    Args:
        packed: The clips, N of them.
        probabilities: (N, K) in [0, 1].
        activation: `sigmoid` for multi-label tasks.
        labels: Names of the classes to keep, in order.
    """
    if tuple(labels) == packed.label_names:
        return packed, probabilities
    columns = [packed.label_names.index(label) for label in labels]
    chosen = replace(packed, targets=packed.targets[:, columns], label_names=tuple(labels))
    restricted = probabilities[:, columns]
    if activation == "softmax":
        restricted = restricted / restricted.sum(1, keepdims=True).clip(min=np.finfo(np.float32).tiny)
    return chosen, restricted.clip(0, 1)


def prediction_table(packed: PackedFeatures, probabilities: Array) -> pd.DataFrame:
    """One row per clip: its video and times, its labels, the prediction and the probability of each label."""
    frame = pd.DataFrame(
        {
            "video": [example.video for example in packed.examples],
            "start_seconds": [example.start_seconds for example in packed.examples],
            "end_seconds": [example.end_seconds for example in packed.examples],
            "group": [group_of(example) for example in packed.examples],
            "label": [";".join(example.labels) for example in packed.examples],
            "predicted": [packed.label_names[i] for i in probabilities.argmax(1)],
        }
    )
    columns = {f"p({label})": probabilities[:, i].round(6) for i, label in enumerate(packed.label_names)}
    return pd.concat([frame, pd.DataFrame(columns)], axis=1)


def missing_clips(packed: PackedFeatures) -> list[LeftOutClip]:
    """Clips that were left out because they have no features, with the reason."""
    return [LeftOutClip(video=clip.example.video, reason=clip.reason) for clip in packed.missing]


def check_classes(train: PackedFeatures) -> None:
    """Check that every class has training clips with features.

    Raises:
        UsageError: If a class has none.
    """
    counts = train.targets.sum(0).tolist()
    empty = [label for label, count in zip(train.label_names, counts, strict=True) if not count]
    if empty:
        listed = ", ".join(map(repr, empty[:5])) + (" ..." if len(empty) > 5 else "")
        raise UsageError(
            f"{len(empty)} of {len(train.label_names)} classes have no training clip with features: "
            f"{listed}. Label training clips with these classes, or leave their clips out of the table."
        )


def mean_and_sd(tested: Sequence[Scores]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard deviation (n - 1) of each metric that exists, over two or more trainings."""
    values = {
        name: [total for scored in tested if (total := scored.total(name)) is not None] for name in METRICS
    }
    existing: dict[str, list[float]] = {name: totals for name, totals in values.items() if totals}
    mean = {name: float(np.mean(totals)) for name, totals in existing.items()}
    return mean, {name: float(np.std(totals, ddof=1)) for name, totals in existing.items()}


def targets_of_counts(counts: Array) -> Array:
    """Make (sum of counts, K) float32 targets that have these class counts."""
    return np.repeat(np.eye(len(counts), dtype=np.float32), counts.astype(int), axis=0)
