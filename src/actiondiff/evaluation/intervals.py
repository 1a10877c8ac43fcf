"""Intervals by bootstrap over groups: whole recordings or individuals are resampled, never parts of one."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from actiondiff.errors import UsageError
from actiondiff.evaluation.metrics import check_scored
from actiondiff.evaluation.options import Metric
from actiondiff.types import Array, BoolArray, DoubleArray

__all__ = ["interval", "is_single_label", "mean_interval", "percentiles", "resample", "statistic"]


def interval(
    metric: Metric,
    probabilities: Array,
    targets: Array,
    groups: Sequence[str],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of a score, from percentiles over resamples of the groups.

    Args:
        metric: Name of the score; see `actiondiff.evaluation.metrics`. The accuracies need single-label
            targets.
        probabilities: (N, K) in [0, 1].
        targets: (N, K), 0 or 1.
        groups: Group of each of the N clips. Clips of one group are drawn together; a clip with an empty name
            is a group of its own.
        num_resamples: Number of resamples.
        seed: Seed of the random generator.
        level: Share of the resamples that lie within the interval.

    Returns:
        Lower and upper bound; both NaN for fewer than two groups.

    Raises:
        UsageError: If shapes or values do not fit.
    """
    probabilities, truth = check_scored(probabilities, targets, multi_label=not is_single_label(metric))
    weights = _weights(groups, len(truth), num_resamples, seed)
    return percentiles(statistic(metric, probabilities, truth, weights), level)


def is_single_label(metric: Metric) -> bool:
    """Whether a score needs exactly one class per clip."""
    return metric in ("accuracy", "balanced_accuracy")


def statistic(metric: Metric, probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    """Compute a score under several weightings of the clips at once.

    Args:
        metric: Name of the score.
        probabilities: (N, K) float32.
        truth: (N, K), whether a clip has a class.
        weights: (R, N), how often each clip counts in each weighting.

    Returns:
        (R,) scores; NaN where a weighting leaves nothing to score.
    """
    return _STATISTICS[metric](probabilities, truth, weights)


def mean_interval(
    values: NDArray[np.floating],
    groups: Sequence[str],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of the mean of one number per clip; see `interval`.

    For differences of two models on the same clips, this is the paired bootstrap.
    """
    weights = _weights(groups, len(values), num_resamples, seed)
    return percentiles(weights @ values / weights.sum(1), level)


def resample(groups: Sequence[str], num_resamples: int, *, seed: int) -> DoubleArray:
    """Draw groups with replacement.

    Returns:
        (num_resamples, N) float64, how often each clip is in each resample.
    """
    names = [group or f"\0{index}" for index, group in enumerate(groups)]
    _, member = np.unique(names, return_inverse=True)
    num_groups = int(member.max()) + 1
    draws = np.random.default_rng(seed).multinomial(
        num_groups, np.full(num_groups, 1 / num_groups), num_resamples
    )
    weights: DoubleArray = draws[:, member].astype(np.float64)
    return weights


def _weights(groups: Sequence[str], num_clips: int, num_resamples: int, seed: int) -> DoubleArray:
    """Weights as `resample` draws them; no resample at all where there are fewer than two groups."""
    if len(groups) != num_clips:
        raise UsageError(f"{num_clips} clips need one group name each; got {len(groups)} names.")
    num_groups = len(set(groups) - {""}) + sum(not group for group in groups)
    return resample(groups, num_resamples, seed=seed) if num_groups > 1 else np.zeros((0, num_clips))


def percentiles(values: DoubleArray, level: float = 0.95) -> tuple[float, float]:
    """Bounds between which this share of the values lies, without NaN; both NaN where no value is left."""
    numbers = values[~np.isnan(values)]
    if not len(numbers):
        return float("nan"), float("nan")
    low, high = np.quantile(numbers, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _accuracy(probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    right = probabilities.argmax(1) == truth.argmax(1)
    return weights @ right / weights.sum(1)


def _balanced_accuracy(probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    right = probabilities.argmax(1) == truth.argmax(1)
    support = weights @ truth.astype(np.float64)  # (R, K)
    return _nan_mean(_ratio(weights @ (right[:, None] & truth).astype(np.float64), support))


def _micro_map(probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    return _average_precision(probabilities, truth, weights)


def _macro_map(probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    columns = [[index] for index in range(truth.shape[1])]
    each = [_average_precision(probabilities[:, c], truth[:, c], weights) for c in columns]
    return _nan_mean(np.stack(each, axis=1))


def _charades_map(probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    labelled = truth.any(1)
    return _macro_map(probabilities[labelled], truth[labelled], weights[:, labelled])


_STATISTICS: dict[Metric, Callable[[Array, BoolArray, DoubleArray], DoubleArray]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "micro_map": _micro_map,
    "macro_map": _macro_map,
    "charades_map": _charades_map,
}
"""Metric -> function of probabilities (N, K), truth (N, K) and weights (R, N) that returns scores (R,)."""


def _average_precision(values: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    """Average precision over N clips with M scored items each, for R weightings of the clips.

    Recall rises only at the values of true items, so only these values serve as thresholds.

    Args:
        values: (N, M), higher for more probable items.
        truth: (N, M), whether an item is true.
        weights: (R, N), how often each clip counts in each weighting.

    Returns:
        (R,) average precisions; NaN where no true item has weight.
    """
    thresholds = np.unique(-values[truth])  # (P,), highest value first
    first = np.searchsorted(thresholds, -values)  # (N, M): the first threshold that an item reaches

    def counted(chosen: BoolArray) -> DoubleArray:
        """(P, R), the total weight of the chosen items that reach each threshold."""
        clips, _ = np.nonzero(chosen)
        shape = (len(thresholds), len(values))
        table = coo_array((np.ones(len(clips)), (first[chosen], clips)), shape=shape).tocsr()
        reached: DoubleArray = np.cumsum(np.asarray(table @ weights.T), axis=0)
        return reached

    hits = counted(truth)
    precision = _ratio(hits, counted(first < len(thresholds)))
    gains = np.diff(hits, axis=0, prepend=0)
    return _ratio(
        (gains * np.nan_to_num(precision)).sum(0), hits[-1] if len(hits) else np.zeros(len(weights))
    )


def _ratio(numerator: DoubleArray, denominator: DoubleArray) -> DoubleArray:
    """Quotient; NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(denominator, np.nan), where=denominator > 0)


def _nan_mean(values: DoubleArray) -> DoubleArray:
    """Mean over the last axis without NaN; NaN where only NaN is left."""
    is_number = ~np.isnan(values)
    return _ratio(np.where(is_number, values, 0).sum(-1), is_number.sum(-1).astype(np.float64))
