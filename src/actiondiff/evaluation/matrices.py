"""Correlation of square matrices over the same domains, such as transfer accuracy and similarity.

The cells of such a matrix are not independent, because all cells of one row or column share a domain. Their
significance is therefore tested by permuting whole domains (Mantel's test), never by a test for independent
pairs.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from actiondiff.errors import UsageError
from actiondiff.types import DoubleArray

__all__ = ["Correlation", "Mantel", "correlate", "mantel", "off_diagonal"]

Method: TypeAlias = Literal["pearson", "spearman"]
_CHUNK = 4096  # permutations handled at once


@dataclass(frozen=True)
class Correlation:
    """Correlation of two matrices over their off-diagonal cells; NaN where one of them is constant.

    Attributes:
        pearson: Correlation of the numbers.
        spearman: Correlation of their ranks.
        num_pairs: Number of cells.
    """

    pearson: float
    spearman: float
    num_pairs: int


@dataclass(frozen=True)
class Mantel:
    """Result of Mantel's test.

    Attributes:
        statistic: Correlation over the off-diagonal cells.
        p: Share of the permutations whose correlation is at least as extreme, in either direction; NaN where
            the correlation does not exist.
        num_permutations: Number of permutations that were tried.
        exact: Whether these are all permutations.
    """

    statistic: float
    p: float
    num_permutations: int
    exact: bool


def off_diagonal(matrix: NDArray[np.floating]) -> DoubleArray:
    """(n (n - 1),) float64, the off-diagonal cells of a matrix, row by row.

    Raises:
        UsageError: If the matrix is not square, has fewer than two rows, or lacks a number off its diagonal.
    """
    cells: DoubleArray = np.asarray(matrix, dtype=np.float64)
    if cells.ndim != 2 or cells.shape[0] != cells.shape[1] or len(cells) < 2:
        raise UsageError(
            f"a matrix over domains must be square, with at least two rows; got shape {cells.shape}."
        )
    outside = cells[~np.eye(len(cells), dtype=bool)]
    if not np.isfinite(outside).all():
        missing = int((~np.isfinite(outside)).sum())
        raise UsageError(f"{missing} off-diagonal cells have no number; leave out their domains.")
    return outside


def correlate(first: NDArray[np.floating], second: NDArray[np.floating]) -> Correlation:
    """Correlate two matrices (n, n) over their off-diagonal cells.

    Raises:
        UsageError: See `off_diagonal`; or if the matrices differ in size.
    """
    a, b = _pair(first, second)
    return Correlation(_pearson(a, b), _pearson(rankdata(a), rankdata(b)), len(a))


def mantel(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    *,
    method: Method = "spearman",
    num_permutations: int = 9999,
    seed: int = 0,
) -> Mantel:
    """Test whether two matrices over the same domains are correlated more than by chance.

    The domains of the second matrix are permuted, its rows and columns in the same way, so that cells of one
    domain stay together. If there are at most `num_permutations` permutations, all of them are tried.

    Args:
        first: (n, n) matrix; it need not be symmetric, and its diagonal is ignored.
        second: (n, n) matrix, likewise.
        method: Kind of correlation.
        num_permutations: Number of permutations to draw where there are more than that.
        seed: Seed of the random generator.

    Raises:
        UsageError: See `correlate`.

    Source: Mantel, "The detection of disease clustering and a generalized regression approach" (1967).
    """
    a, b = _pair(first, second)
    if method == "spearman":
        a, b = rankdata(a), rankdata(b)
    observed = _pearson(a, b)
    num_domains = len(first)
    exact = math.factorial(num_domains) <= num_permutations
    outside = ~np.eye(num_domains, dtype=bool)
    grid = np.zeros((num_domains, num_domains))
    grid[outside] = b - b.mean()
    centred = a - a.mean()
    scale = math.sqrt(float(centred @ centred) * float((grid**2).sum()))
    extreme = total = 0
    for order in _permutations(num_domains, num_permutations, seed, exact=exact):  # (R, n)
        moved = grid[order[:, :, None], order[:, None, :]][:, outside]  # (R, n (n - 1))
        extreme += int((np.abs(moved @ centred) >= abs(observed) * scale - 1e-9 * scale).sum())
        total += len(order)
    if math.isnan(observed):
        return Mantel(observed, math.nan, total, exact)
    p = extreme / total if exact else (1 + extreme) / (1 + total)
    return Mantel(observed, p, total, exact)


def _pair(first: NDArray[np.floating], second: NDArray[np.floating]) -> tuple[DoubleArray, DoubleArray]:
    a, b = off_diagonal(first), off_diagonal(second)
    if a.shape != b.shape:
        raise UsageError(
            f"the matrices must be over the same domains; got {len(first)} and {len(second)} rows."
        )
    return a, b


def _pearson(a: DoubleArray, b: DoubleArray) -> float:
    """Pearson correlation; NaN where either is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def _permutations(num_domains: int, count: int, seed: int, *, exact: bool) -> Iterator[NDArray[np.int64]]:
    """Chunks (R, n) of permutations: all of them, or `count` random ones."""
    if exact:
        every = np.array(list(itertools.permutations(range(num_domains))))
        yield from np.array_split(every, math.ceil(len(every) / _CHUNK))
        return
    rng = np.random.default_rng(seed)
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        yield rng.permuted(np.tile(np.arange(num_domains), (size, 1)), axis=1)
