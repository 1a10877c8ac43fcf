"""Scores of timelines, frame by frame and bout by bout.

frame F1, frame AP   of each class over all sampled frames of all videos; macro: the mean over classes that
occur segment AP at IoU x  A predicted bout is right if its IoU (shared time over the time of both together)
with a
                     labelled bout of its class in the same video is x or more, and no more probable bout was
                     matched with that one. Bouts are ranked by probability; the precision at a recall is the
                     highest at this or a higher recall, and AP is the area under precision over recall.
segment F1 at x      twice the number of right bouts, over the number of predicted and labelled bouts together
segment mAP at x     mean of segment AP over classes that occur; `mean_map` is the mean over all x
"""

from collections.abc import Mapping, Sequence

import numpy as np

from actiondiff.errors import UsageError
from actiondiff.evaluation.metrics import average_precisions
from actiondiff.evaluation.scores import FrameClassScores, FrameScores, SegmentClassScores, SegmentScores
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
    """(T, K) bool, whether a class holds at each time: from a bout's start until just before its end.

    Raises:
        UsageError: If a bout has another label.
    """
    column = {label: k for k, label in enumerate(labels)}
    held = np.zeros((len(seconds), len(labels)), dtype=bool)
    for bout in bouts:
        if bout.label not in column:
            raise UsageError(f"a bout has the label {bout.label!r}; expected one of {', '.join(labels)}.")
        held[(seconds >= bout.start_seconds) & (seconds < bout.end_seconds), column[bout.label]] = True
    return held


def frame_scores(
    probabilities: Array, predicted: BoolArray, truth: BoolArray, labels: Sequence[str]
) -> FrameScores:
    """Compute frame-wise scores.

    Args:
        probabilities: (T, K) in [0, 1], of the frames of all videos one after the other.
        predicted: (T, K), whether a predicted bout of a class holds.
        truth: (T, K), whether a labelled bout of a class holds.
        labels: Names of the K classes.
    """
    precisions = average_precisions(probabilities, truth)
    per_class: list[FrameClassScores] = []
    for k, label in enumerate(labels):
        hits = int((predicted[:, k] & truth[:, k]).sum())
        count, support = int(predicted[:, k].sum()), int(truth[:, k].sum())
        per_class.append(
            FrameClassScores(
                label=label,
                support=support,
                precision=hits / count if count else None,
                recall=hits / support if support else None,
                f1=2 * hits / (count + support) if count + support else None,
                average_precision=float(precisions[k]) if support else None,
            )
        )
    occurring = [entry for entry in per_class if entry.support]
    return FrameScores(
        num_frames=len(truth),
        macro_f1=_mean([entry.f1 for entry in occurring]),
        macro_ap=_mean([entry.average_precision for entry in occurring]),
        per_class=tuple(per_class),
    )


def segment_scores(
    predicted: Mapping[str, Sequence[Bout]],
    truth: Mapping[str, Sequence[Bout]],
    labels: Sequence[str],
    *,
    ious: Sequence[float] = IOUS,
) -> SegmentScores:
    """Compute bout-wise scores.

    Args:
        predicted: Video -> predicted bouts.
        truth: Video -> labelled bouts.
        labels: Names of the K classes; those without a labelled bout are left out of means.
        ious: IoU from which a predicted bout counts as right.
    """
    per_class = [_segment_class_scores(predicted, truth, label, ious) for label in labels]
    occurring = [entry for entry in per_class if entry.num_labelled]
    names = [f"{iou:g}" for iou in ious]
    mean_ap = {iou: _mean([entry.ap[iou] for entry in occurring]) for iou in names}
    mean_f1 = {iou: _mean([entry.f1[iou] for entry in occurring]) for iou in names}
    return SegmentScores(
        map=mean_ap,
        f1=mean_f1,
        mean_map=_mean(list(mean_ap.values())),
        mean_f1=_mean(list(mean_f1.values())),
        per_class=tuple(per_class),
    )


def _segment_class_scores(
    predicted: Mapping[str, Sequence[Bout]],
    truth: Mapping[str, Sequence[Bout]],
    label: str,
    ious: Sequence[float],
) -> SegmentClassScores:
    own = [(v, bout) for v, bouts in predicted.items() for bout in bouts if bout.label == label]
    true = [(v, bout) for v, bouts in truth.items() for bout in bouts if bout.label == label]
    right = {f"{iou:g}": match_bouts(own, true, iou) for iou in ious}
    total = len(own) + len(true)
    return SegmentClassScores(
        label=label,
        num_labelled=len(true),
        num_predicted=len(own),
        ap={iou: segment_average_precision(hits, len(true)) for iou, hits in right.items()},
        f1={iou: 2 * int(hits.sum()) / total if total else None for iou, hits in right.items()},
    )


def match_bouts(
    predicted: Sequence[tuple[str, Bout]], truth: Sequence[tuple[str, Bout]], iou: float
) -> BoolArray:
    """Whether each predicted bout of a class is right at an IoU, from the most probable bout on.

    Args:
        predicted: Video and bout of each prediction of the class.
        truth: Video and bout of each label of the class.
        iou: IoU from which a predicted bout counts as right.
    """
    free: dict[str, list[Bout]] = {}
    for video, bout in truth:
        free.setdefault(video, []).append(bout)
    right = []
    for video, bout in sorted(predicted, key=lambda item: -item[1].probability):
        unmatched = free.get(video, [])
        best = max(unmatched, key=lambda labelled: overlap(bout, labelled), default=None)
        right.append(best is not None and overlap(bout, best) >= iou)
        if right[-1] and best is not None:
            unmatched.remove(best)
    return np.array(right, dtype=bool)


def segment_average_precision(right: BoolArray, num_labelled: int) -> float | None:
    """Average precision of bouts, the most probable first; None where there is no labelled bout.

    Args:
        right: Whether each predicted bout is right, from the most probable bout on.
        num_labelled: Number of labelled bouts.
    """
    if not num_labelled:
        return None
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the highest at this recall or a higher one
    return float(precision[right].sum() / num_labelled)


def overlap(a: Bout, b: Bout) -> float:
    """IoU of two bouts: shared time over the time of both together, in [0, 1]."""
    shared = min(a.end_seconds, b.end_seconds) - max(a.start_seconds, b.start_seconds)
    total = max(a.end_seconds, b.end_seconds) - min(a.start_seconds, b.start_seconds)
    return max(0.0, shared) / total if total > 0 else 0.0


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
