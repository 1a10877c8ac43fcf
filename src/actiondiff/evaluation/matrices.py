"""Relations between square matrices over the same domains, such as accuracy from type to type and similarity.

Cells of such a matrix are not independent: all that begin or end at one domain share it. Significance is
therefore by permuting whole domains (Mantel's test), never by a test for independent pairs.
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
    """How two matrices go together over their off-diagonal cells; NaN where one of them is constant.

    Attributes:
        pearson: Of the numbers.
        spearman: Of their ranks.
        num_pairs: Cells.
    """

    pearson: float
    spearman: float
    num_pairs: int


@dataclass(frozen=True)
class Mantel:
    """Mantel's test.

    Attributes:
        statistic: Correlation over the off-diagonal cells.
        p: Share of the permutations that are at least as extreme, in either direction; NaN where there is no
            correlation.
        num_permutations: How many were made.
        exact: Whether these are all there are.
    """

    statistic: float
    p: float
    num_permutations: int
    exact: bool


def off_diagonal(matrix: NDArray[np.floating]) -> DoubleArray:
    """(n (n - 1),) cells off the diagonal, row by row.

    Raises:
        UsageError: If the matrix is not square, has fewer than two rows, or lacks a number off its diagonal.
    """
    cells: DoubleArray = np.asarray(matrix, dtype=np.float64)
    if cells.ndim != 2 or cells.shape[0] != cells.shape[1] or len(cells) < 2:
        raise UsageError(f"a matrix over domains is square, two rows at least; got {cells.shape}.")
    outside = cells[~np.eye(len(cells), dtype=bool)]
    if not np.isfinite(outside).all():
        missing = int((~np.isfinite(outside)).sum())
        raise UsageError(f"{missing} cells off the diagonal have no number; leave out their domains.")
    return outside


def correlate(first: NDArray[np.floating], second: NDArray[np.floating]) -> Correlation:
    """Correlations of two matrices (n, n) over the off-diagonal cells.

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
    """Whether two matrices over the same domains go together more than by chance.

    The domains of the second are permuted, its rows and columns alike, so that what cells share stays. All
    permutations are tried where there are no more than `num_permutations`.

    Args:
        first: (n, n); need not be symmetric. Diagonals are not looked at.
        second: (n, n).
        method: Of correlating.
        num_permutations: How many to draw where trying all would take more.
        seed: Of the draws.

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
        raise UsageError(f"the matrices are over different domains; got {len(first)} and {len(second)}.")
    return a, b


def _pearson(a: DoubleArray, b: DoubleArray) -> float:
    """NaN where either is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def _permutations(num_domains: int, count: int, seed: int, *, exact: bool) -> Iterator[NDArray[np.int64]]:
    """Chunks (R, n) of orders: every one, or as many as asked for by chance."""
    if exact:
        every = np.array(list(itertools.permutations(range(num_domains))))
        yield from np.array_split(every, math.ceil(len(every) / _CHUNK))
        return
    rng = np.random.default_rng(seed)
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        yield rng.permuted(np.tile(np.arange(num_domains), (size, 1)), axis=1)
