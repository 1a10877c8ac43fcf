"""Scores of predictions, each under a name that says how it is averaged.

accuracy           share of clips whose most probable class is the true one (single-label tasks)
balanced_accuracy  accuracy of each class, averaged over the classes that have clips
micro_map          average precision over all (clip, class) pairs at once, as in the released code
macro_map          average precision per class, averaged over the classes that have clips
charades_map       macro_map over the clips that have labels: the rule of Charades, which sets the scores of
                   clips without labels to minus infinity (multi-label tasks)
"""

from collections.abc import Sequence

import numpy as np
import torch

from actiondiff.errors import UsageError
from actiondiff.evaluation.scores import ClassScores, Scores
from actiondiff.types import Array, BoolArray, DoubleArray

__all__ = ["average_precisions", "check_scored", "scores", "summary"]


def scores(
    probabilities: Array,
    targets: Array,
    label_names: Sequence[str],
    *,
    multi_label: bool,
    threshold: float = 0.5,
) -> Scores:
    """Score predictions.

    Args:
        probabilities: (N, K) in [0, 1].
        targets: (N, K), 1 for the clip's classes, else 0.
        label_names: Names of the K classes.
        multi_label: Whether a clip may have several classes, or none. If not, every clip has exactly one
            class, and the most probable class (the first one among equals) is the prediction.
        threshold: Probability from which a class counts as predicted in multi-label tasks.

    Raises:
        UsageError: If shapes or values do not fit.
    """
    probabilities, truth = check_scored(probabilities, targets, multi_label=multi_label)
    if truth.shape[1] != len(label_names):
        raise UsageError(f"{truth.shape[1]} classes need one label name each; got {len(label_names)} names.")
    predicted = probabilities >= threshold if multi_label else _one_hot(probabilities)
    confusion = None if multi_label else truth.T.astype(np.int64) @ predicted.astype(np.int64)
    precisions = average_precisions(probabilities, truth)
    rows = zip(label_names, predicted.T, truth.T, precisions, strict=True)
    per_class = tuple(_class_scores(label, p, t, float(ap)) for label, p, t, ap in rows)
    totals = summary(probabilities, targets, multi_label=multi_label)
    return Scores(
        num_clips=len(truth),
        num_classes_without_clips=sum(entry.support == 0 for entry in per_class),
        **totals,
        per_class=per_class,
        confusion=None if confusion is None else tuple(map(tuple, confusion.tolist())),
    )


def summary(probabilities: Array, targets: Array, *, multi_label: bool) -> dict[str, float | None]:
    """Compute `accuracy`, `balanced_accuracy`, `micro_map`, `macro_map` and `charades_map`; see `scores`.

    A score that does not apply is None: the accuracies in multi-label tasks, `charades_map` in single-label
    tasks, and every score where no clip has a class.
    """
    probabilities, truth = check_scored(probabilities, targets, multi_label=multi_label)
    accuracy = balanced = charades = None
    if multi_label:
        labelled = truth.any(1)
        charades = _mean(average_precisions(probabilities[labelled], truth[labelled]))
    else:
        hits, support = (_one_hot(probabilities) & truth).sum(axis=0), truth.sum(axis=0)  # (K,)
        accuracy = float(hits.sum() / len(truth))
        balanced = float((hits[support > 0] / support[support > 0]).mean())
    return {
        "accuracy": accuracy,
        "balanced_accuracy": balanced,
        "micro_map": _mean(average_precisions(probabilities.reshape(-1, 1), truth.reshape(-1, 1))),
        "macro_map": _mean(average_precisions(probabilities, truth)),
        "charades_map": charades,
    }


def average_precisions(probabilities: Array, truth: BoolArray) -> DoubleArray:
    """(K,) float64, the average precision of each class; NaN for a class that no clip has.

    Args:
        probabilities: (N, K) in [0, 1].
        truth: (N, K), whether a clip has a class.
    """
    values = np.full(truth.shape[1], np.nan)
    from torchmetrics.functional.classification import binary_average_precision  # takes seconds to import

    for index in np.flatnonzero(truth.any(0)):
        column = torch.from_numpy(np.ascontiguousarray(probabilities[:, index]))
        wanted = torch.from_numpy(truth[:, index].astype(np.int64))
        values[index] = float(binary_average_precision(column, wanted, validate_args=False))
    return values


def check_scored(probabilities: Array, targets: Array, *, multi_label: bool) -> tuple[Array, BoolArray]:
    """Check probabilities and targets, and convert them to float32 and bool.

    Raises:
        UsageError: If shapes or values do not fit.
    """
    probabilities, targets = np.asarray(probabilities, dtype=np.float32), np.asarray(targets)
    if probabilities.shape != targets.shape or targets.ndim != 2 or not targets.size:
        raise UsageError(
            f"probabilities and targets must both be (clips, classes), with at least one of each; got "
            f"{probabilities.shape} and {targets.shape}."
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():  # also not for NaN
        raise UsageError(
            "probabilities must lie between 0 and 1; apply softmax or sigmoid to the head's outputs first."
        )
    if not np.isin(targets, (0, 1)).all():
        raise UsageError("targets must be 0 or 1.")
    truth = targets.astype(bool)
    counts = truth.sum(1)
    if not multi_label and (counts != 1).any():
        row = int(np.flatnonzero(counts != 1)[0])
        raise UsageError(
            f"a single-label task needs one class per clip; clip {row + 1} has {counts[row]}. Use "
            "multi_label=True, or leave such clips out."
        )
    return probabilities, truth


# By hand, because torchmetrics computes in float32 and gives 0 where a number does not exist.
def _class_scores(
    label: str, predicted: BoolArray, truth: BoolArray, average_precision: float
) -> ClassScores:
    support, count, hits = int(truth.sum()), int(predicted.sum()), int((predicted & truth).sum())
    return ClassScores(
        label=label,
        support=support,
        predicted=count,
        precision=hits / count if count else None,
        recall=hits / support if support else None,
        f1=2 * hits / (support + count) if support + count else None,
        average_precision=None if np.isnan(average_precision) else average_precision,
    )


def _one_hot(probabilities: Array) -> BoolArray:
    """(N, K), True for the most probable class of each clip (the first one among equals)."""
    hot: BoolArray = probabilities.argmax(1)[:, None] == np.arange(probabilities.shape[1])
    return hot


def _mean(values: DoubleArray) -> float | None:
    """Mean of the values without NaN; None if no value is left."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else None
