"""Comparison of models on the same clips: differences, interactions, and the best of many, against chance.

Clips of one group (a recording, an individual, a film) are drawn or exchanged together, since they do not err
on their own; several trainings of one model stand for its seeds, which are drawn, too.
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
    """What one model says of some clips.

    Attributes:
        probabilities: (S, N, K) in [0, 1]: S trainings of it, with other seeds.
        targets: (N, K), 0 or 1.
        groups: N names; a clip without one is its own group.
    """

    probabilities: Array
    targets: Array
    groups: Sequence[str]


@dataclass(frozen=True)
class Contrast:
    """A sum of scores with signs, such as a difference.

    Attributes:
        value: On the clips as they are, mean over seeds.
        low: Lower bound of the 95 % interval over resampled groups and seeds; NaN for fewer than two groups.
        high: Upper bound.
        p: Two-sided: twice the smaller share of resamples on either side of 0, with one added to each.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """The exact test on clips that one model has right and the other wrong.

    Attributes:
        only_first: Clips that the first alone has right.
        only_second: Clips that the second alone has right.
        p: Two-sided, if clips were independent of each other.
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
    """A signed sum of one score over several models and sets of clips, with its interval.

    Sides on the same clips (equal targets and groups) are drawn together, so that what makes a clip hard
    cancels out; sides on other clips are drawn on their own. Seeds of each side are drawn, too.

    Args:
        metric: Which score.
        sides: +1 or -1, and what is scored.
        num_resamples: How often.
        seed: Of the draws.

    Raises:
        UsageError: If shapes or values do not fit.
    """
    random = np.random.default_rng(seed)
    weights: dict[tuple[bytes, tuple[str, ...]], DoubleArray] = {}
    value, totals = 0.0, np.zeros(num_resamples)
    for sign, side in sides:
        truth = _checked(metric, side)
        clips = (truth.tobytes(), tuple(side.groups))
        if clips not in weights:
            weights[clips] = resample(side.groups, num_resamples, seed=seed + len(weights))
        drawn = np.concatenate([np.ones((1, len(truth))), weights[clips]])
        seeds = np.stack(
            [statistic(metric, np.asarray(p, dtype=np.float32), truth, drawn) for p in side.probabilities]
        )  # (S, 1 + R)
        value += sign * float(seeds[:, 0].mean())
        count = len(seeds)
        share = random.multinomial(count, np.full(count, 1 / count), num_resamples) / count  # (R, S)
        totals += sign * (share.T * seeds[:, 1:]).sum(0)
    return _told(value, totals, single_group=any(len(set(side.groups)) < 2 for _, side in sides))


def difference(metric: Metric, first: Scored, second: Scored, **options: int) -> Contrast:
    """First minus second on the same clips; options as in `contrast`.

    Raises:
        UsageError: If the clips differ.
    """
    if not np.array_equal(first.targets, second.targets) or list(first.groups) != list(second.groups):
        raise UsageError("a paired difference needs the same clips in the same order on both sides.")
    return contrast(metric, [(1, first), (-1, second)], **options)


def interaction(
    metric: Metric, *, early_out: Scored, last_out: Scored, early_in: Scored, last_in: Scored, **options: int
) -> Contrast:
    """Whether an early timestep helps more out of domain than in it: (early - last) out minus the same in.

    This is figure 5's claim: that early timesteps are better out of domain alone says nothing if they are so
    in domain, too. Options as in `contrast`.
    """
    signs = (1, early_out), (-1, last_out), (-1, early_in), (1, last_in)
    return contrast(metric, signs, **options)


def per_clip(side: Scored, *, multi_label: bool) -> DoubleArray:
    """(N,) a score of every clip, mean over trainings, for tests that need one number a clip.

    Single-label: 1 if the most probable class is the clip's. Multi-label: average precision over the clip's
    ranking of the classes, 0 for clips without labels; its mean is akin to mAP, not the same.
    """
    truth = side.targets.astype(bool)
    if not multi_label:
        hits: DoubleArray = (side.probabilities.argmax(-1) == truth.argmax(-1)).mean(0)
        return hits
    order = np.argsort(-side.probabilities, axis=-1, kind="stable")  # (S, N, K)
    ranked = np.take_along_axis(np.broadcast_to(truth, order.shape), order, axis=-1)
    precision = ranked.cumsum(-1) / np.arange(1, truth.shape[1] + 1)
    found: DoubleArray = ((precision * ranked).sum(-1) / truth.sum(-1).clip(min=1)).mean(0)
    return found


def mcnemar(first: BoolArray, second: BoolArray) -> McNemar:
    """The exact McNemar test of two single trainings on the same clips.

    Args:
        first: (N,) whether the first model has a clip right.
        second: (N,) likewise.
    """
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    disagreed = only_first + only_second
    return McNemar(
        only_first, only_second, float(binomtest(only_first, disagreed).pvalue) if disagreed else 1.0
    )


def sign_flip(
    values: NDArray[np.floating], groups: Sequence[str], *, num_flips: int = 10000, seed: int = 0
) -> float:
    """How often chance gives such a mean of one difference a clip: two-sided p.

    If the mean were 0, the sign of any whole group's differences could be the other; so they are flipped.

    Args:
        values: (N,) for example 1, 0 or -1: what the first model gains on a clip over the second.
        groups: N names; a clip without one is its own group.
        num_flips: How often.
        seed: Of the flips.
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
    """Each cell of a grid against a reference, as the best of so many looks good by chance alone.

    If no cell differed from the reference, the two could be exchanged in any group of clips. So the signs of
    whole groups are flipped, the same in all cells, which keeps what they have in common; each cell's mean
    gain over its deviation is compared with the largest among all cells of each flip. One-sided.

    Source: Westfall and Young 1993, single step.

    Args:
        cells: (M, N) one value a clip and cell, see `per_clip`.
        reference: (N,) the same of what they are compared with.
        groups: N names; a clip without one is its own group.
        num_flips: How often.
        seed: Of the flips.

    Returns:
        (M,) p, corrected for M.

    Raises:
        UsageError: If the shapes do not fit.
    """
    if cells.ndim != 2 or cells.shape[1:] != reference.shape or len(groups) != len(reference):
        raise UsageError(
            f"cells are (M, N), their reference and groups N; got {cells.shape}, {reference.shape} and "
            f"{len(groups)}."
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
        raise UsageError(f"probabilities are (seeds, clips, classes); got {side.probabilities.shape}.")
    if len(side.groups) != side.probabilities.shape[1]:
        raise UsageError(f"{side.probabilities.shape[1]} clips need as many groups; got {len(side.groups)}.")
    for probabilities in side.probabilities:
        _, truth = check_scored(probabilities, side.targets, multi_label=not is_single_label(metric))
    return truth


def _told(value: float, totals: DoubleArray, *, single_group: bool) -> Contrast:
    if single_group:
        return Contrast(value, float("nan"), float("nan"), float("nan"))
    known = totals[~np.isnan(totals)]
    low, high = percentiles(known)
    above, below = int((known >= 0).sum()), int((known <= 0).sum())
    p = min(1.0, 2 * (min(above, below) + 1) / (len(known) + 1))
    return Contrast(value, low, high, p)


def _sums(values: DoubleArray, groups: Sequence[str]) -> DoubleArray:
    """(M, G) sum of each group's values."""
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
    """Share of draws that reach what was observed; it counts as one of them."""
    return float(((drawn >= observed - 1e-12).sum() + 1) / (len(drawn) + 1))
