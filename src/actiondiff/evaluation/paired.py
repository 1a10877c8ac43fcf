"""Comparison of models on the same clips: differences, interactions and the best of many, tested for chance.

Clips of one group (a recording, an individual, a film) are resampled or exchanged together, because errors on
them are not independent. Where a model was trained with several seeds, the seeds are resampled as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from actiondiff.errors import UsageError
from actiondiff.evaluation.intervals import is_single_label, percentiles, resample, statistic
from actiondiff.evaluation.metrics import check_scored
from actiondiff.evaluation.options import Metric
from actiondiff.types import Array, BoolArray, DoubleArray

__all__ = [
    "Contrast",
    "McNemar",
    "Scored",
    "contrast",
    "difference",
    "interaction",
    "max_statistic",
    "mcnemar",
    "per_clip",
    "sign_flip",
]


@dataclass(frozen=True, eq=False)
class Scored:
    """Predictions of one model on some clips.

    Attributes:
        probabilities: (S, N, K) in [0, 1], of S trainings of the model with different seeds.
        targets: (N, K), 0 or 1.
        groups: Group of each of the N clips; a clip with an empty name is a group of its own.
    """

    probabilities: Array
    targets: Array
    groups: Sequence[str]


@dataclass(frozen=True)
class Contrast:
    """A signed sum of scores, such as a difference.

    Attributes:
        value: Value on the clips themselves, averaged over seeds.
        low: Lower bound of the 95 % interval over resampled groups and seeds; NaN for fewer than two groups.
        high: Upper bound of this interval.
        p: Two-sided p: twice the smaller share of resamples on either side of 0, with one added to each side.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """Result of the exact McNemar test, on clips that only one of two models predicts correctly.

    Attributes:
        only_first: Number of clips that only the first model predicts correctly.
        only_second: Number of clips that only the second model predicts correctly.
        p: Two-sided p; it assumes that clips are independent of each other.
    """

    only_first: int
    only_second: int
    p: float


def contrast(
    metric: Metric,
    sides: Sequence[tuple[int, Scored]],
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Contrast:
    """Signed sum of one score over several models and sets of clips, with its interval.

    Sides with the same clips (equal targets and groups) are resampled together, so that the difficulty of a
    clip cancels out; sides with other clips are resampled on their own. The seeds of each side are resampled
    as well.

    Args:
        metric: Name of the score.
        sides: The sign (+1 or -1) of each side, and its predictions.
        num_resamples: Number of resamples.
        seed: Seed of the random generator.

    Raises:
        UsageError: If shapes or values do not fit.
    """
    random = np.random.default_rng(seed)
    weights: dict[tuple[bytes, tuple[str, ...]], DoubleArray] = {}
    value, totals = 0.0, np.zeros(num_resamples)
    for sign, side in sides:
        # The same clips get the same resamples, whichever side they are on.
        truth = _checked(metric, side)
        clips = (truth.tobytes(), tuple(side.groups))
        if clips not in weights:
            weights[clips] = resample(side.groups, num_resamples, seed=seed + len(weights))
        # The first weighting counts every clip once; it gives the value itself.
        drawn = np.concatenate([np.ones((1, len(truth))), weights[clips]])
        seeds = np.stack(
            [statistic(metric, np.asarray(p, dtype=np.float32), truth, drawn) for p in side.probabilities]
        )  # (S, 1 + R)
        value += sign * float(seeds[:, 0].mean())
        # Each resample also draws seeds, by their share in it.
        count = len(seeds)
        share = random.multinomial(count, np.full(count, 1 / count), num_resamples) / count  # (R, S)
        totals += sign * (share.T * seeds[:, 1:]).sum(0)
    return _contrast_of(value, totals, single_group=any(len(set(side.groups)) < 2 for _, side in sides))


def difference(metric: Metric, first: Scored, second: Scored, **options: int) -> Contrast:
    """First model minus second model on the same clips; options as in `contrast`.

    Raises:
        UsageError: If the clips differ.
    """
    if not np.array_equal(first.targets, second.targets) or list(first.groups) != list(second.groups):
        raise UsageError("a paired difference needs the same clips in the same order for both models.")
    return contrast(metric, [(1, first), (-1, second)], **options)


def interaction(
    metric: Metric, *, early_out: Scored, last_out: Scored, early_in: Scored, last_in: Scored, **options: int
) -> Contrast:
    """Whether an early timestep helps more out of domain than in domain: (early - last) out minus in.

    This is the claim of figure 5. That early timesteps are better out of domain does not show it, because
    they might be better in domain as well. Options as in `contrast`.
    """
    signs = (1, early_out), (-1, last_out), (-1, early_in), (1, last_in)
    return contrast(metric, signs, **options)


def per_clip(side: Scored, *, multi_label: bool) -> DoubleArray:
    """(N,) float64, a score of each clip, averaged over trainings, for tests that need one number per clip.

    In single-label tasks it is 1 if the most probable class is the true one, else 0. In multi-label tasks it
    is the average precision of the clip's ranking of the classes, and 0 for clips without labels; its mean
    over clips is similar to mAP, but not the same.
    """
    truth = side.targets.astype(bool)
    if not multi_label:
        hits: DoubleArray = (side.probabilities.argmax(-1) == truth.argmax(-1)).mean(0)
        return hits
    order = np.argsort(-side.probabilities, axis=-1, kind="stable")  # (S, N, K)
    ranked = np.take_along_axis(np.broadcast_to(truth, order.shape), order, axis=-1)
    precision = ranked.cumsum(-1) / np.arange(1, truth.shape[1] + 1)
    averages: DoubleArray = ((precision * ranked).sum(-1) / truth.sum(-1).clip(min=1)).mean(0)
    return averages


def mcnemar(first: BoolArray, second: BoolArray) -> McNemar:
    """Exact McNemar test of two single trainings on the same clips.

    Args:
        first: (N,), whether the first model predicts a clip correctly.
        second: (N,), whether the second model does.
    """
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    disagreed = only_first + only_second
    return McNemar(
        only_first, only_second, float(binomtest(only_first, disagreed).pvalue) if disagreed else 1.0
    )


def sign_flip(
    values: NDArray[np.floating], groups: Sequence[str], *, num_flips: int = 10000, seed: int = 0
) -> float:
    """Sign-flip test: two-sided p of the mean of one difference per clip.

    If the mean were 0, the differences of any whole group could as well have the other sign. The test
    therefore flips the signs of whole groups at random.

    Args:
        values: (N,) gain of the first model over the second on each clip, for example 1, 0 or -1.
        groups: Group of each of the N clips; a clip with an empty name is a group of its own.
        num_flips: Number of random flips.
        seed: Seed of the random generator.
    """
    sums = _sums(np.asarray(values, dtype=np.float64)[None], groups)[0]  # (G,)
    signs = _signs(num_flips, len(sums), seed)
    return _tail(np.abs(signs @ sums), abs(float(sums.sum())))


def max_statistic(
    cells: NDArray[np.floating],
    reference: NDArray[np.floating],
    groups: Sequence[str],
    *,
    num_flips: int = 10000,
    seed: int = 0,
) -> DoubleArray:
    """Test each cell of a grid against a reference, corrected for the number of cells.

    The best of many cells looks good by chance alone. If no cell differed from the reference, the two could
    be exchanged in any group of clips. The test therefore flips the signs of whole groups at random, in the
    same way in all cells, which keeps the dependence between cells. It compares the mean gain of each cell
    over its deviation with the largest among all cells in each flip. One-sided.

    Source: Westfall and Young 1993, single step.

    Args:
        cells: (M, N), one value per cell and clip; see `per_clip`.
        reference: (N,), the values of the reference.
        groups: Group of each of the N clips; a clip with an empty name is a group of its own.
        num_flips: Number of random flips.
        seed: Seed of the random generator.

    Returns:
        (M,) float64, p of each cell, corrected for M cells.

    Raises:
        UsageError: If the shapes do not fit.
    """
    if cells.ndim != 2 or cells.shape[1:] != reference.shape or len(groups) != len(reference):
        raise UsageError(
            f"cells must be (M, N), with a reference (N,) and N groups; got {cells.shape}, {reference.shape} "
            f"and {len(groups)} groups."
        )
    sums = _sums(np.asarray(cells - reference, dtype=np.float64), groups)  # (M, G)
    scale = np.sqrt((sums**2).sum(1, keepdims=True))
    scaled = np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 0)
    largest = np.concatenate(
        [(flips @ scaled.T).max(1) for flips in np.array_split(_signs(num_flips, sums.shape[1], seed), 10)]
    )
    return np.array([_tail(largest, observed) for observed in scaled.sum(1)])


def _checked(metric: Metric, side: Scored) -> BoolArray:
    if side.probabilities.ndim != 3 or not len(side.probabilities):
        raise UsageError(f"probabilities must be (seeds, clips, classes); got {side.probabilities.shape}.")
    if len(side.groups) != side.probabilities.shape[1]:
        raise UsageError(
            f"{side.probabilities.shape[1]} clips need one group name each; got {len(side.groups)}."
        )
    for probabilities in side.probabilities:
        _, truth = check_scored(probabilities, side.targets, multi_label=not is_single_label(metric))
    return truth


def _contrast_of(value: float, totals: DoubleArray, *, single_group: bool) -> Contrast:
    if single_group:
        return Contrast(value, float("nan"), float("nan"), float("nan"))
    numbers = totals[~np.isnan(totals)]
    low, high = percentiles(numbers)
    above, below = int((numbers >= 0).sum()), int((numbers <= 0).sum())
    p = min(1.0, 2 * (min(above, below) + 1) / (len(numbers) + 1))
    return Contrast(value, low, high, p)


def _sums(values: DoubleArray, groups: Sequence[str]) -> DoubleArray:
    """(M, G), the sum of the values of each group."""
    names = [group or f"\0{index}" for index, group in enumerate(groups)]
    _, member = np.unique(names, return_inverse=True)
    totals = np.zeros((len(values), int(member.max()) + 1))
    for row, line in zip(totals, values, strict=True):
        np.add.at(row, member, line)
    return totals


def _signs(num_flips: int, num_groups: int, seed: int) -> DoubleArray:
    drawn = np.random.default_rng(seed).integers(0, 2, (num_flips, num_groups))
    signs: DoubleArray = 2.0 * drawn.astype(np.float64) - 1.0
    return signs


def _tail(drawn: DoubleArray, observed: float) -> float:
    """Share of the draws that reach the observed value, which counts as one of them."""
    return float(((drawn >= observed - 1e-12).sum() + 1) / (len(drawn) + 1))
