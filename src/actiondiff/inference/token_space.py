"""The distribution of clips' mean tokens: a robust centre, and a shrunken covariance of low rank."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes a second to import

from actiondiff.types import DoubleArray

__all__ = ["FALSE_ALARMS", "TokenSpace", "fit_token_space"]

FALSE_ALARMS = 0.01
"""Share of clips of the training's domain that are to lie beyond the bound."""
_MOST_AXES = 32
_MOST_CLIPS = 1000
_MIN_RECORDINGS = 4
_MIN_CLIPS = 10
_FOLDS = 10
_ENOUGH = 100  # recordings, from which the bound is a quantile of their own distances


@dataclass(frozen=True, eq=False)
class TokenSpace:
    """Distribution of mean tokens.

    Attributes:
        centre: (D,) float64, median of each channel.
        axes: (R, D) float64, orthonormal directions of the largest variances.
        variances: (R,) float64, variance along each axis.
        rest: Variance in each of the other directions.
        bound: Mahalanobis distance that becomes 1.
    """

    centre: DoubleArray
    axes: DoubleArray
    variances: DoubleArray
    rest: float
    bound: float = 1.0

    def distances(self, means: DoubleArray) -> DoubleArray:
        """Mahalanobis distances of mean tokens, as multiples of the bound: (N, D) -> (N,)."""
        offsets = means - self.centre
        along = offsets @ self.axes.T  # (N, R)
        beside = np.maximum((offsets**2).sum(1) - (along**2).sum(1), 0)
        squares = (along**2 / self.variances).sum(1) + beside / self.rest
        distances: DoubleArray = np.sqrt(squares) / self.bound
        return distances

    def check(self, width: int) -> None:
        """Raise a ValueError unless shapes and values fit each other and tokens of a width."""
        shapes = self.centre.shape == (width,) and self.axes.shape == (len(self.variances), width)
        finite = all(np.isfinite(part).all() for part in (self.centre, self.axes, self.variances))
        if not shapes or not finite or not (self.variances > 0).all() or not min(self.rest, self.bound) > 0:
            raise ValueError("its tensors have other shapes or values than those of a guard")


def fit_token_space(means: DoubleArray, recordings: Sequence[str]) -> TokenSpace | None:
    """Fit the distribution of the training clips' mean tokens, with its bound.

    The bound comes from the distances of clips from a distribution that was fitted without their recordings.
    With 100 recordings or more it is the quantile of these; with fewer it is the bound of a prediction of one
    more distance, whose logarithm is taken to be normal, but never less than the quantile.

    Args:
        means: (N, D), the mean token of each clip.
        recordings: For each clip the recording or individual that it is from.

    Returns:
        The distribution; None if there are too few clips or recordings to tell.
    """
    if len(means) > _MOST_CLIPS:  # a spread of them; clips of one recording lie side by side
        chosen = np.linspace(0, len(means) - 1, _MOST_CLIPS).round().astype(int)
        means, recordings = means[chosen], [recordings[i] for i in chosen]
    names = sorted(set(recordings), key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(means) < _MIN_CLIPS or len(names) < _MIN_RECORDINGS:
        return None
    fold_of = {name: number % min(_FOLDS, len(names)) for number, name in enumerate(names)}
    folds = np.array([fold_of[name] for name in recordings])
    held_out = np.zeros(len(means))
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        held_out[out] = _fit(means[~out]).distances(means[out])
    space = _fit(means)
    return TokenSpace(
        space.centre, space.axes, space.variances, space.rest, _bound(held_out, len(names), FALSE_ALARMS)
    )


def _fit(means: DoubleArray) -> TokenSpace:
    """Centre and covariance of (N, D); the covariance is shrunk towards a multiple of the identity.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices (2004).
    """
    count, width = means.shape
    centre = np.median(means, axis=0)
    offsets = means - means.mean(axis=0)
    _, singular, axes = np.linalg.svd(offsets, full_matrices=False)
    variances = singular**2 / count  # of the sample covariance; the others are 0
    mean = variances.sum() / width
    spread = (variances**2).sum() / width - mean**2  # squared distance from the multiple of the identity
    noise = (((offsets**2).sum(1) ** 2).sum() / count - (variances**2).sum()) / (count * width)
    shrinkage = min(noise / spread, 1.0) if spread > 0 else 1.0
    shrunk = (1 - shrinkage) * variances + shrinkage * mean
    rank = min(_MOST_AXES, len(variances), width - 1)
    left = width * mean - shrunk[:rank].sum()
    floor = 1e-12 + 1e-9 * float((means**2).mean())  # where all clips are alike
    rest = max(left / (width - rank), floor) if width > rank else floor
    return TokenSpace(centre, axes[:rank], np.maximum(shrunk[:rank], floor), float(rest))


def _bound(distances: DoubleArray, num_recordings: int, rate: float) -> float:
    """The distance that a share of new clips exceeds."""
    rank = min(len(distances), int(np.ceil((1 - rate) * (len(distances) + 1))))
    quantile = float(np.sort(distances)[rank - 1])
    if num_recordings >= _ENOUGH:
        return quantile
    logs = np.log(np.maximum(distances, 1e-9))
    reach = stdtrit(num_recordings - 1, 1 - rate) * np.sqrt(1 + 1 / num_recordings)
    return max(quantile, float(np.exp(logs.mean() + reach * logs.std(ddof=1))))
