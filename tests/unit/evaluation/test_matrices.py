"""Correlations of matrices and Mantel's test, on answers known by hand or from another library."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from actiondiff.errors import UsageError
from actiondiff.evaluation.matrices import correlate, mantel, off_diagonal

RNG = np.random.default_rng(0)


def test_off_diagonal_row_by_row():
    assert off_diagonal(np.arange(9.0).reshape(3, 3)).tolist() == [1, 2, 3, 5, 6, 7]
    with_diagonal = np.array([[np.nan, 1], [2, np.inf]])
    assert off_diagonal(with_diagonal).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.zeros((2, 3)), r"square.*\(2, 3\)"),
        (np.zeros((1, 1)), "two rows"),
        (np.array([[0, np.nan], [1, 0]]), "1 off-diagonal cells"),
    ],
)
def test_what_is_no_matrix_over_domains(matrix, said):
    with pytest.raises(UsageError, match=said):
        off_diagonal(matrix)


def test_against_scipy():
    a, b = RNG.normal(size=(2, 7, 7))
    b[2:4] = 1.5  # ties
    outside = ~np.eye(7, dtype=bool)
    found = correlate(a, b)
    assert found.pearson == pytest.approx(pearsonr(a[outside], b[outside]).statistic)
    assert found.spearman == pytest.approx(spearmanr(a[outside], b[outside]).statistic)
    assert found.num_pairs == 42


def test_diagonal_has_no_say():
    a, b = RNG.normal(size=(2, 5, 5))
    other = b + np.diag(np.full(5, 100.0))
    assert correlate(a, b) == correlate(a, other)
    assert mantel(a, b) == mantel(a, other)


def test_exact_p_by_hand():
    """Two asymmetric matrices of three domains: all six permutations are written out here."""
    a = np.array([[0, 1, 2], [3, 0, 4], [5, 6, 0.0]])
    b = np.array([[0, 2, 1], [4, 0, 3], [5, 6, 0.0]])
    outside = ~np.eye(3, dtype=bool)
    each = [
        abs(pearsonr(a[outside], b[np.ix_(order, order)][outside]).statistic)
        for order in itertools.permutations(range(3))
    ]
    found = mantel(a, b, method="pearson")
    assert found.exact
    assert found.num_permutations == 6
    assert found.statistic == pytest.approx(each[0])
    assert found.p == pytest.approx(np.mean(np.array(each) >= each[0] - 1e-12))


def test_same_matrix_of_six_domains_is_as_unlikely_as_can_be():
    a = RNG.normal(size=(6, 6))
    found = mantel(a, a)
    assert found.statistic == pytest.approx(1)
    assert found.p == pytest.approx(1 / math.factorial(6))
    assert mantel(a, -a).statistic == pytest.approx(-1)
    assert mantel(a, -a).p == found.p


def test_drawn_permutations_agree_with_all_of_them():
    a = RNG.normal(size=(7, 7))
    b = 0.3 * a + RNG.normal(size=(7, 7))
    every, drawn = mantel(a, b, num_permutations=5040), mantel(a, b, num_permutations=5039)
    assert (every.exact, drawn.exact) == (True, False)
    assert drawn.num_permutations == 5039
    assert drawn.p == pytest.approx(every.p, abs=0.02)
    assert mantel(a, b, num_permutations=99, seed=1) == mantel(a, b, num_permutations=99, seed=1)


def test_no_relation_is_found_where_there_is_none():
    """p is uniform under chance: of 200 unrelated pairs about one in twenty falls below 0.05."""
    below = [mantel(*RNG.normal(size=(2, 6, 6))).p <= 0.05 for _ in range(200)]
    assert 1 <= sum(below) <= 22


def test_shared_domains_are_not_taken_for_many_pairs():
    """One good source makes six cells alike; as independent pairs that would be significant by far."""
    a, b = np.zeros((2, 7, 7))
    a[0], b[0] = 1, 1
    outside = ~np.eye(7, dtype=bool)
    assert pearsonr(a[outside], b[outside]).pvalue < 1e-30
    assert mantel(a, b).p == pytest.approx(1 / 7)


def test_constant_and_different():
    assert math.isnan(mantel(np.ones((4, 4)), RNG.normal(size=(4, 4))).p)
    assert math.isnan(correlate(np.ones((4, 4)), RNG.normal(size=(4, 4))).pearson)
    with pytest.raises(UsageError, match="3 and 4"):
        mantel(np.ones((3, 3)), np.ones((4, 4)))
