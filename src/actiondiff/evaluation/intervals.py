"""Intervals by bootstrap over groups: recordings or individuals are drawn again, never parts of one."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from actiondiff.errors import UsageError
from actiondiff.evaluation.metrics import check_scored
from actiondiff.types import Array

__all__ = ["Metric", "interval", "mean_interval", "resample"]

Float: TypeAlias = NDArray[np.float64]
Metric = Literal["accuracy", "balanced_accuracy", "micro_map", "macro_map"]
_AT_ONCE = 4_000_000  # values a block of resamples may have: 32 MB


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
    single = metric in ("accuracy", "balanced_accuracy")
    probabilities, truth = check_scored(probabilities, targets, multi_label=not single)
    statistic = _STATISTICS[metric](probabilities, truth)
    return _percentiles(
        statistic, groups, len(truth), num_resamples, seed, level, block=_AT_ONCE // truth.size
    )


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
    column = np.asarray(values, dtype=np.float64)
    return _percentiles(
        lambda weights: weights @ column / weights.sum(1),
        groups,
        len(column),
        num_resamples,
        seed,
        level,
        block=_AT_ONCE // max(1, len(column)),
    )


def resample(groups: Sequence[str], num_resamples: int, *, seed: int) -> Float:
    """(num_resamples, N): how often each clip is in each resample of the groups."""
    names = [group or f"\0{index}" for index, group in enumerate(groups)]
    _, member = np.unique(names, return_inverse=True)
    num_groups = int(member.max()) + 1
    draws = np.random.default_rng(seed).multinomial(
        num_groups, np.full(num_groups, 1 / num_groups), num_resamples
    )
    weights: Float = draws[:, member].astype(np.float64)
    return weights


def _percentiles(
    statistic: Callable[[Float], Float],
    groups: Sequence[str],
    num_clips: int,
    num_resamples: int,
    seed: int,
    level: float,
    *,
    block: int,
) -> tuple[float, float]:
    """Percentiles of `statistic`: weights (R, N) -> (R,), NaN where it does not exist."""
    if len(groups) != num_clips:
        raise UsageError(f"{num_clips} clips need as many group names; got {len(groups)}.")
    if len(set(groups) - {""}) + sum(not group for group in groups) < 2:
        return float("nan"), float("nan")
    weights = resample(groups, num_resamples, seed=seed)
    step = max(1, block)
    values = np.concatenate([statistic(weights[i : i + step]) for i in range(0, num_resamples, step)])
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _accuracy(probabilities: Array, truth: NDArray[np.bool_]) -> Callable[[Float], Float]:
    right = _right(probabilities, truth)
    return lambda weights: weights @ right / weights.sum(1)


def _balanced_accuracy(probabilities: Array, truth: NDArray[np.bool_]) -> Callable[[Float], Float]:
    right = _right(probabilities, truth)[:, None] * truth
    return lambda weights: _mean_known(_ratio(weights @ right, weights @ truth.astype(np.float64)))


def _micro_map(probabilities: Array, truth: NDArray[np.bool_]) -> Callable[[Float], Float]:
    count = truth.shape[1]
    pairs = _average_precision(probabilities.ravel(), truth.ravel())
    return lambda weights: pairs(weights.repeat(count, axis=1))


def _macro_map(probabilities: Array, truth: NDArray[np.bool_]) -> Callable[[Float], Float]:
    classes = [_average_precision(p, t) for p, t in zip(probabilities.T, truth.T, strict=True) if t.any()]
    return lambda weights: _mean_known(np.stack([one(weights) for one in classes], axis=1))


_STATISTICS = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "micro_map": _micro_map,
    "macro_map": _macro_map,
}


def _average_precision(values: Array, truth: NDArray[np.bool_]) -> Callable[[Float], Float]:
    """Average precision of M scored items as a function of their weights (R, M); NaN without a positive."""
    order = np.argsort(-values, kind="stable")
    last_of_equals = np.flatnonzero(np.append(np.diff(values[order]) != 0, True))
    positive = truth[order]

    def statistic(weights: Float) -> Float:
        weights = weights[:, order]
        hits = (weights * positive).cumsum(1)[:, last_of_equals]
        precision = _ratio(hits, weights.cumsum(1)[:, last_of_equals])
        gains = np.diff(hits, axis=1, prepend=0)
        return _ratio((gains * np.nan_to_num(precision)).sum(1), hits[:, -1])

    return statistic


def _right(probabilities: Array, truth: NDArray[np.bool_]) -> Float:
    right: Float = (probabilities.argmax(1) == truth.argmax(1)).astype(np.float64)
    return right


def _ratio(above: Float, below: Float) -> Float:
    """The quotient, NaN where below is 0."""
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)


def _mean_known(values: Float) -> Float:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(-1), known.sum(-1).astype(np.float64))
