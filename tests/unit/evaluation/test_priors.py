import numpy as np
import pytest

from actiondiff.errors import UsageError
from actiondiff.evaluation.priors import prior_floor


def targets(*classes, count=3):
    return np.eye(count, dtype=np.float32)[list(classes)]


def test_most_frequent_class_of_the_source_is_guessed():
    floor = prior_floor(targets(0, 0, 1), targets(0, 1, 1, 1), multi_label=False)
    assert floor.accuracy == 0.25
    assert floor.balanced_accuracy == 0.5  # two classes occur; one is always guessed
    assert floor.macro_map == pytest.approx((1 / 4 + 3 / 4) / 2)  # constant scores: each class's share


def test_ties_are_expectations():
    floor = prior_floor(targets(0, 1), targets(0, 1, 1, 2), multi_label=False)
    assert floor.accuracy == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert floor.balanced_accuracy == pytest.approx(1 / 3)
    absent = prior_floor(targets(0, 2), targets(0, 1, 1), multi_label=False)
    assert absent.accuracy == pytest.approx((1 / 3 + 0) / 2)
    assert absent.balanced_accuracy == pytest.approx((1 / 2 + 0) / 2)


def test_accuracy_is_what_random_guesses_reach():
    random = np.random.default_rng(0)
    source, truth = targets(0, 0, 1, 1, 2), random.integers(0, 3, 200)
    floor = prior_floor(source, targets(*truth), multi_label=False)
    guesses = random.integers(0, 2, 4000)
    assert floor.accuracy == pytest.approx(np.mean([(truth == guess).mean() for guess in guesses]), abs=0.01)


def test_micro_ranks_pairs_by_frequency():
    """Frequencies 2/3 and 1/3: all pairs of class 0 come before those of class 1."""
    floor = prior_floor(targets(0, 0, 1, count=2), targets(0, 1, 1, 1, count=2), multi_label=False)
    assert floor.micro_map == pytest.approx(1 / 4 * 1 / 4 + 3 / 4 * 4 / 8)


def test_multi_label():
    source = np.array([[1, 1, 0], [1, 0, 0]], dtype=np.float32)
    floor = prior_floor(source, np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]]), multi_label=True)
    assert floor.accuracy is floor.balanced_accuracy is None
    assert floor.macro_map == pytest.approx(0.5)


def test_other_classes_are_refused():
    with pytest.raises(UsageError, match="same classes"):
        prior_floor(targets(0, count=2), targets(0), multi_label=False)
    with pytest.raises(UsageError, match="same classes"):
        prior_floor(np.zeros((0, 3)), targets(0), multi_label=False)
