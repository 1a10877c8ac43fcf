"""Scores of timelines: frame by frame, and bout by bout.

frame F1, frame AP   each class over all sampled frames of all videos; macro: the mean over classes that occur
segment AP at IoU x  a predicted bout is right if it overlaps a labelled one of its class, in the same video,
                     by x or more (shared time over time of both together) and no bout that is more probable
                     has taken that one; bouts are ranked by probability, precision at a recall is the highest
                     at that recall or a higher one, and AP is the area below
segment F1 at x      right bouts, twice, over predicted and labelled ones together
segment mAP at x     the mean over classes that occur; `mean_map` is that over the thresholds
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from actiondiff.errors import UsageError
from actiondiff.evaluation.metrics import average_precisions
from actiondiff.types import Array, BoolArray, Bout, DoubleArray

__all__ = [
    "IOUS",
    "frame_scores",
    "frame_truth",
    "match_bouts",
    "overlap",
    "segment_average_precision",
    "segment_scores",
]

IOUS = (0.3, 0.4, 0.5, 0.6, 0.7)


def frame_truth(bouts: Sequence[Bout], seconds: DoubleArray, labels: Sequence[str]) -> BoolArray:
    """(T, K), whether a class holds at each time: from a bout's start on, until before its end.

    Raises:
        UsageError: If a bout has another label.
    """
    column = {label: k for k, label in enumerate(labels)}
    held = np.zeros((len(seconds), len(labels)), dtype=bool)
    for bout in bouts:
        if bout.label not in column:
            raise UsageError(f"a bout is labelled {bout.label!r}; the classes are {', '.join(labels)}.")
        held[(seconds >= bout.start_seconds) & (seconds < bout.end_seconds), column[bout.label]] = True
    return held


def frame_scores(
    probabilities: Array, predicted: BoolArray, truth: BoolArray, labels: Sequence[str]
) -> dict[str, Any]:
    """Frame-wise scores.

    Args:
        probabilities: (T, K) in [0, 1], all videos one after the other.
        predicted: (T, K), whether a bout of a class holds.
        truth: (T, K).
        labels: The K classes.

    Returns:
        `num_frames`, `macro_f1`, `macro_ap`, `per_class` (label, support, precision, recall, f1,
        average_precision). None where a number does not exist.
    """
    precisions = average_precisions(probabilities, truth)
    per_class: list[dict[str, Any]] = []
    for k, label in enumerate(labels):
        hits = int((predicted[:, k] & truth[:, k]).sum())
        said, support = int(predicted[:, k].sum()), int(truth[:, k].sum())
        per_class.append(
            {
                "label": label,
                "support": support,
                "precision": hits / said if said else None,
                "recall": hits / support if support else None,
                "f1": 2 * hits / (said + support) if said + support else None,
                "average_precision": float(precisions[k]) if support else None,
            }
        )
    shown = [entry for entry in per_class if entry["support"]]
    return {
        "num_frames": len(truth),
        "macro_f1": _mean([entry["f1"] for entry in shown]),
        "macro_ap": _mean([entry["average_precision"] for entry in shown]),
        "per_class": per_class,
    }


def segment_scores(
    predicted: Mapping[str, Sequence[Bout]],
    truth: Mapping[str, Sequence[Bout]],
    labels: Sequence[str],
    *,
    ious: Sequence[float] = IOUS,
) -> dict[str, Any]:
    """Bout-wise scores.

    Args:
        predicted: Video -> bouts that a model found.
        truth: Video -> bouts that were labelled.
        labels: The K classes; those without a labelled bout are left out of means.
        ious: Overlaps that are asked for.

    Returns:
        `map` and `f1`: IoU, as text, -> mean over classes; `mean_map` and `mean_f1` over these; `per_class`
        (label, num_labelled, num_predicted, `ap` and `f1` by IoU). None where a number does not exist.
    """
    per_class: list[dict[str, Any]] = []
    for label in labels:
        said = [(v, bout) for v, bouts in predicted.items() for bout in bouts if bout.label == label]
        true = [(v, bout) for v, bouts in truth.items() for bout in bouts if bout.label == label]
        right = {f"{iou:g}": match_bouts(said, true, iou) for iou in ious}
        per_class.append(
            {
                "label": label,
                "num_labelled": len(true),
                "num_predicted": len(said),
                "ap": {iou: segment_average_precision(found, len(true)) for iou, found in right.items()},
                "f1": {
                    iou: 2 * int(found.sum()) / (len(said) + len(true)) if said or true else None
                    for iou, found in right.items()
                },
            }
        )
    shown = [entry for entry in per_class if entry["num_labelled"]]
    totals = {
        name: {f"{iou:g}": _mean([entry[own][f"{iou:g}"] for entry in shown]) for iou in ious}
        for name, own in (("map", "ap"), ("f1", "f1"))
    }
    means = {f"mean_{name}": _mean(list(values.values())) for name, values in totals.items()}
    return {**totals, **means, "per_class": per_class}


def match_bouts(
    predicted: Sequence[tuple[str, Bout]], truth: Sequence[tuple[str, Bout]], iou: float
) -> BoolArray:
    """Which bouts of a class, each with its video and from the most probable on, are right at an overlap."""
    free: dict[str, list[Bout]] = {}
    for video, bout in truth:
        free.setdefault(video, []).append(bout)
    right = []
    for video, bout in sorted(predicted, key=lambda item: -item[1].probability):
        rivals = free.get(video, [])
        best = max(rivals, key=lambda rival: overlap(bout, rival), default=None)
        right.append(best is not None and overlap(bout, best) >= iou)
        if right[-1] and best is not None:
            rivals.remove(best)
    return np.array(right, dtype=bool)


def segment_average_precision(right: BoolArray, num_labelled: int) -> float | None:
    """Average precision of bouts from the most probable on; None where none was labelled."""
    if not num_labelled:
        return None
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the highest at this recall or a higher one
    return float(precision[right].sum() / num_labelled)


def overlap(a: Bout, b: Bout) -> float:
    """Shared time over the time of both together, in [0, 1]."""
    shared = min(a.end_seconds, b.end_seconds) - max(a.start_seconds, b.start_seconds)
    total = max(a.end_seconds, b.end_seconds) - min(a.start_seconds, b.start_seconds)
    return max(0.0, shared) / total if total > 0 else 0.0


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
