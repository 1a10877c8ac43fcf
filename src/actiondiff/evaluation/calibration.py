"""Calibration of a head on validation clips, and how well its confidence agrees with its accuracy.

In single-label tasks, the confidence of a clip is the probability of the predicted class, and it is right if
the clip has that class. In multi-label tasks, every (clip, class) pair counts: its confidence is the
probability of the class, and it is right if the clip has the class.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from actiondiff.datasets.packing import PackedFeatures
from actiondiff.errors import UsageError
from actiondiff.evaluation.scores import Calibration, CalibrationTest, ConfidenceScores, CoverageRow
from actiondiff.heads.inputs import Head
from actiondiff.heads.predict import Activation, activate, average_spans, clip_spans, span_logits
from actiondiff.types import Array, BoolArray, DoubleArray

__all__ = [
    "calibrate",
    "calibration_bins",
    "calibration_error",
    "choose_thresholds",
    "confidence_of",
    "coverage_accuracy",
    "fit_calibration",
    "judge_calibration",
    "judge_confidence",
]

_BINS = 10
_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
_TINY = 1e-7


def calibrate(head: Head, validation: PackedFeatures, activation: Activation) -> Calibration:
    """Set a head's temperature, and choose thresholds, on clips that the head was not trained on.

    Args:
        head: Head to calibrate; its temperature is set.
        validation: Validation clips.
        activation: `sigmoid` for multi-label tasks.
    """
    calibration = fit_calibration([(head, validation)], activation)
    head.temperature = calibration.temperature
    return calibration


def fit_calibration(
    parts: Sequence[tuple[Head, PackedFeatures]], activation: Activation, *, min_support: int = 0
) -> Calibration:
    """Fit a temperature and thresholds to all clips of several parts together.

    The temperature minimises the summed log loss of the clips plus log(temperature)^2 / 2. The second term
    keeps the temperature moderate where there are few clips, or where all of them are predicted correctly.

    Args:
        parts: Heads, each with clips that it was not trained on.
        activation: `sigmoid` for multi-label tasks.
        min_support: Classes with fewer clips keep the default threshold.
    """
    scored = []
    for head, packed in parts:
        starts, lengths, owners = clip_spans(packed, head.options.max_tokens)
        scored.append((span_logits(head, packed, starts, lengths), owners, len(packed)))
    targets = np.concatenate([packed.targets.cpu().numpy().astype(bool) for _, packed in parts])
    labels = parts[0][1].label_names

    def probabilities(temperature: float) -> Array:
        return np.concatenate(
            [
                average_spans(activate(logits, activation, temperature), owners, count).numpy()
                for logits, owners, count in scored
            ]
        )

    def cost(log_temperature: float) -> float:
        values = probabilities(float(np.exp(log_temperature)))
        return len(targets) * _log_loss(values, targets, activation) + log_temperature**2 / 2

    minimum = minimize_scalar(cost, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    temperature = float(np.exp(minimum.x))
    multi = activation == "sigmoid"
    before, after = (
        {
            "log_loss": _log_loss(values, targets, activation),
            "calibration_error": calibration_error(*confidence_of(values, targets, multi_label=multi)),
        }
        for values in (probabilities(1.0), probabilities(temperature))
    )
    thresholds = choose_thresholds(
        probabilities(temperature), targets, labels, activation=activation, min_support=min_support
    )
    return Calibration(
        temperature=temperature,
        thresholds=thresholds,
        num_clips=len(targets),
        before=before,
        after=after,
    )


def choose_thresholds(
    probabilities: Array,
    truth: BoolArray,
    labels: Sequence[str],
    *,
    activation: Activation,
    min_support: int = 0,
) -> dict[str, float]:
    """Choose, for each class, the probability from which predicting it gives the highest F1.

    Args:
        probabilities: (N, K) of clips or of frames, in [0, 1].
        truth: (N, K), whether a clip or frame has a class.
        labels: Names of the K classes.
        activation: With `softmax`, a class can only be predicted where it is the most probable one, and its
            default threshold is 0. With `sigmoid`, the default threshold is 0.5.
        min_support: Classes with fewer clips or frames keep the default threshold.

    Returns:
        Label -> threshold. Among equally good thresholds it is the one nearest to the default, and for
        classes that do not occur it is the default.
    """
    default = 0.0 if activation == "softmax" else 0.5
    grid = np.round(np.arange(0 if activation == "softmax" else 0.02, 0.99, 0.02), 2)
    top = probabilities.argmax(1)
    chosen = {}
    for k, label in enumerate(labels):
        column = probabilities[:, k]
        predicted = column[None] >= grid[:, None]  # (thresholds, N)
        if activation == "softmax":
            predicted &= top == k
        hits, count, support = (predicted & truth[:, k]).sum(1), predicted.sum(1), truth[:, k].sum()
        f1 = 2 * hits / np.maximum(count + support, 1)
        best = grid[f1 >= f1.max() - 1e-12]
        chosen[label] = (
            float(best[np.abs(best - default).argmin()]) if support >= max(min_support, 1) else default
        )
    return chosen


def confidence_of(
    probabilities: Array, truth: BoolArray, *, multi_label: bool
) -> tuple[DoubleArray, BoolArray]:
    """Confidence, and whether it is right, as defined in the docstring of the module.

    Returns:
        Confidence float64 and rightness bool: (N,) each, or (N K,) each for multi-label tasks.
    """
    truth = np.asarray(truth, dtype=bool)
    if multi_label:
        return probabilities.reshape(-1).astype(np.float64), truth.reshape(-1)
    rows = np.arange(len(probabilities))
    top = probabilities.argmax(1)
    return probabilities[rows, top].astype(np.float64), truth[rows, top]


def calibration_bins(confidence: DoubleArray, right: BoolArray, *, num_bins: int = _BINS) -> pd.DataFrame:
    """Group clips into equally wide bins of confidence, from 0 to 1.

    Returns:
        One row per bin: its bounds `low` and `high`, the number of `clips` in it, and the mean `confidence`
        and `accuracy` of these (NaN where a bin has no clips).

    Raises:
        UsageError: If there is no clip, or the two arrays differ in length.
    """
    confidence, right = _checked(confidence, right)
    bin_of = np.clip((confidence * num_bins).astype(int), 0, num_bins - 1)
    clips = np.bincount(bin_of, minlength=num_bins)
    means = [
        np.divide(
            np.bincount(bin_of, values, num_bins), clips, out=np.full(num_bins, np.nan), where=clips > 0
        )
        for values in (confidence, right.astype(np.float64))
    ]
    edges = np.arange(num_bins + 1) / num_bins
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "clips": clips, "confidence": means[0], "accuracy": means[1]}
    )


# By hand, because torchmetrics puts confidences on the edge of a bin, such as 0.3, into another bin.
def calibration_error(confidence: DoubleArray, right: BoolArray, *, num_bins: int = _BINS) -> float:
    """Expected calibration error: distance of confidence from accuracy, averaged over bins by clips."""
    bins = calibration_bins(confidence, right, num_bins=num_bins)
    filled = bins[bins["clips"] > 0]
    gaps = (filled["accuracy"] - filled["confidence"]).abs()
    return float((filled["clips"] * gaps).sum() / len(confidence))


def coverage_accuracy(confidence: DoubleArray, right: BoolArray) -> pd.DataFrame:
    """Accuracy of the most confident clips, at every coverage; clips of equal confidence count together.

    Returns:
        One row per threshold, from the highest: `threshold`, `coverage` (share of the clips at or above the
        threshold) and `accuracy` (share of these that are right).

    Raises:
        UsageError: If there is no clip, or the two arrays differ in length.
    """
    confidence, right = _checked(confidence, right)
    order = np.argsort(-confidence, kind="stable")
    counts, hits = np.arange(1, len(order) + 1), np.cumsum(right[order])
    last = np.append(confidence[order][1:] != confidence[order][:-1], True)  # the last clip of its confidence
    return pd.DataFrame(
        {
            "threshold": confidence[order][last],
            "coverage": counts[last] / len(order),
            "accuracy": hits[last] / counts[last],
        }
    )


def judge_confidence(
    probabilities: Array, truth: BoolArray, *, multi_label: bool, domains: Sequence[str] = ()
) -> ConfidenceScores:
    """Score how well confidence agrees with accuracy, over all clips and in each domain.

    Args:
        probabilities: (N, K) in [0, 1].
        truth: (N, K), whether a clip has a class.
        multi_label: Whether every (clip, class) pair counts; see the docstring of the module.
        domains: Domain of each clip; empty where there are no domains.
    """
    confidence, right = confidence_of(probabilities, truth, multi_label=multi_label)
    names = np.array(domains)
    by_domain = {
        str(name): calibration_error(
            *confidence_of(probabilities[names == name], truth[names == name], multi_label=multi_label)
        )
        for name in sorted(set(domains))
    }
    rows = None
    if not multi_label:
        curve = coverage_accuracy(confidence, right)
        steps = [curve[curve["coverage"] >= share - 1e-9].iloc[0] for share in _COVERAGES]
        rows = tuple(CoverageRow.model_validate(dict(step)) for step in steps)
    return ConfidenceScores(
        calibration_error=calibration_error(confidence, right),
        by_domain=by_domain or None,
        coverage_accuracy=rows,
    )


def judge_calibration(
    head: Head, packed: PackedFeatures, activation: Activation, *, domains: Sequence[str] = ()
) -> CalibrationTest:
    """Score the confidence of a calibrated head on test clips, without its temperature and with it."""
    starts, lengths, owners = clip_spans(packed, head.options.max_tokens)
    logits = span_logits(head, packed, starts, lengths)
    truth = packed.targets.cpu().numpy().astype(bool)

    def judged(temperature: float) -> ConfidenceScores:
        return judge_confidence(
            average_spans(activate(logits, activation, temperature), owners, len(packed)).numpy(),
            truth,
            multi_label=activation == "sigmoid",
            domains=domains,
        )

    return CalibrationTest(before=judged(1.0), after=judged(head.temperature))


def _log_loss(probabilities: Array, truth: BoolArray, activation: Activation) -> float:
    """Log loss, averaged over clips; with `sigmoid` it is summed over classes."""
    values = np.clip(probabilities.astype(np.float64), _TINY, 1 - _TINY)
    if activation == "softmax":
        return float(-np.log(values[truth]).sum() / len(truth))
    return float(-np.where(truth, np.log(values), np.log1p(-values)).sum() / len(truth))


def _checked(confidence: DoubleArray, right: BoolArray | Sequence[bool]) -> tuple[DoubleArray, BoolArray]:
    values, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    if values.ndim != 1 or values.shape != hits.shape or not len(values):
        raise UsageError(
            f"confidence and rightness must be arrays of one shape (clips,), with at least one clip; got "
            f"{values.shape} and {hits.shape}."
        )
    return values, hits
