"""Intervals by bootstrap over groups: recordings or individuals are drawn again, never parts of one."""

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
    """Interval of a score, by percentiles over resamples of the groups.

    Args:
        metric: Which score; as in `actiondiff.evaluation.metrics`. The accuracies need single-label targets.
        probabilities: (N, K) in [0, 1].
        targets: (N, K), 0 or 1.
        groups: N names; clips of one name are drawn together, a clip without one is its own group.
        num_resamples: How often the groups are drawn.
        seed: Of the draws.
        level: Share of the resamples inside.

    Returns:
        Lower and upper bound; NaN for fewer than two groups.

    Raises:
        UsageError: If shapes or values do not fit.
    """
    probabilities, truth = check_scored(probabilities, targets, multi_label=not is_single_label(metric))
    weights = _weights(groups, len(truth), num_resamples, seed)
    return percentiles(statistic(metric, probabilities, truth, weights), level)


def is_single_label(metric: Metric) -> bool:
    """Whether a score needs exactly one class a clip."""
    return metric in ("accuracy", "balanced_accuracy")


def statistic(metric: Metric, probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    """A score under several weightings of the clips at once.

    Args:
        metric: Which.
        probabilities: (N, K) float32.
        truth: (N, K).
        weights: (R, N), how often each clip counts.

    Returns:
        (R,), NaN where a weighting leaves nothing to score.
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
    """Interval of the mean of one number a clip; see `interval`.

    With differences of two models on the same clips this is the paired bootstrap.
    """
    weights = _weights(groups, len(values), num_resamples, seed)
    return percentiles(weights @ values / weights.sum(1), level)


def resample(groups: Sequence[str], num_resamples: int, *, seed: int) -> DoubleArray:
    """(num_resamples, N): how often each clip is in each resample of the groups."""
    names = [group or f"\0{index}" for index, group in enumerate(groups)]
    _, member = np.unique(names, return_inverse=True)
    num_groups = int(member.max()) + 1
    draws = np.random.default_rng(seed).multinomial(
        num_groups, np.full(num_groups, 1 / num_groups), num_resamples
    )
    weights: DoubleArray = draws[:, member].astype(np.float64)
    return weights


def _weights(groups: Sequence[str], num_clips: int, num_resamples: int, seed: int) -> DoubleArray:
    """See `resample`; without any resample where there are fewer than two groups."""
    if len(groups) != num_clips:
        raise UsageError(f"{num_clips} clips need as many group names; got {len(groups)}.")
    num_groups = len(set(groups) - {""}) + sum(not group for group in groups)
    return resample(groups, num_resamples, seed=seed) if num_groups > 1 else np.zeros((0, num_clips))


def percentiles(values: DoubleArray, level: float = 0.95) -> tuple[float, float]:
    """The bounds that hold this share of the values between them; NaN where there is none."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _accuracy(probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    right = probabilities.argmax(1) == truth.argmax(1)
    return weights @ right / weights.sum(1)


def _balanced_accuracy(probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    right = probabilities.argmax(1) == truth.argmax(1)
    support = weights @ truth.astype(np.float64)  # (R, K)
    return _mean_known(_ratio(weights @ (right[:, None] & truth).astype(np.float64), support))


def _micro_map(probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    return _average_precision(probabilities, truth, weights)


def _macro_map(probabilities: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    columns = [[index] for index in range(truth.shape[1])]
    each = [_average_precision(probabilities[:, c], truth[:, c], weights) for c in columns]
    return _mean_known(np.stack(each, axis=1))


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
"""Score -> function of probabilities (N, K), truth (N, K) and the clips' weights (R, N), giving (R,)."""


def _average_precision(values: Array, truth: BoolArray, weights: DoubleArray) -> DoubleArray:
    """Average precision over N clips with M scored items each, for R weightings of the clips.

    Only at the values of true items does it gain, so only these are thresholds.

    Args:
        values: (N, M), higher for more probable.
        truth: (N, M).
        weights: (R, N).

    Returns:
        (R,), NaN where no true item has weight.
    """
    thresholds = np.unique(-values[truth])  # (P,), highest value first
    first = np.searchsorted(thresholds, -values)  # (N, M): the first threshold that an item reaches

    def counted(chosen: BoolArray) -> DoubleArray:
        """(P, R): weight of the chosen items that reach each threshold."""
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


def _ratio(above: DoubleArray, below: DoubleArray) -> DoubleArray:
    """The quotient, NaN where below is 0."""
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)


def _mean_known(values: DoubleArray) -> DoubleArray:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(-1), known.sum(-1).astype(np.float64))
