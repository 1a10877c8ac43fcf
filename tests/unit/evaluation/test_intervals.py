import numpy as np
import pytest
from scipy import stats

from actiondiff.errors import UsageError
from actiondiff.evaluation.intervals import interval, mean_interval, resample
from actiondiff.evaluation.metrics import summary

METRICS = ["accuracy", "balanced_accuracy", "micro_map", "macro_map"]


@pytest.fixture
def clips():
    """Probabilities, targets and groups of 80 clips; scores are tied, class 3 has two clips only."""
    random = np.random.default_rng(0)
    truth = np.append(random.integers(0, 3, 78), [3, 3])
    values = random.integers(1, 9, (80, 4)) + 3.0 * np.eye(4)[truth]
    groups = [f"g{i % 23}" if i < 70 else "" for i in range(80)]
    return (values / values.sum(1, keepdims=True)).astype(np.float32), np.eye(4)[truth], groups


@pytest.mark.parametrize("metric", METRICS)
def test_every_resample_is_scored_as_if_its_clips_were_repeated(clips, metric):
    """The interval's ends against percentiles of scores of clips that are really drawn again."""
    probabilities, targets, groups = clips
    weights = resample(groups, 60, seed=3).astype(int)
    drawn = [np.repeat(np.arange(80), row) for row in weights]
    values = [summary(probabilities[rows], targets[rows], multi_label=False)[metric] for rows in drawn]
    got = interval(metric, probabilities, targets, groups, num_resamples=60, seed=3, level=0.8)
    assert got == pytest.approx(tuple(np.quantile(values, [0.1, 0.9])), abs=1e-6)
    inside = summary(probabilities, targets, multi_label=False)[metric]
    low, high = interval(metric, probabilities, targets, groups)
    assert low < inside < high


def test_multi_label(clips):
    probabilities, targets, groups = clips
    targets = np.maximum(targets, np.roll(targets, 1, axis=0))
    low, high = interval("macro_map", probabilities, targets, groups)
    assert low < summary(probabilities, targets, multi_label=True)["macro_map"] < high
    with pytest.raises(UsageError, match="single-label"):
        interval("accuracy", probabilities, targets, groups)


def test_groups_are_drawn_whole():
    weights = resample(["a", "a", "b", "", ""], 500, seed=0)
    assert weights.shape == (500, 5)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] != weights[:, 4]).any()  # clips without a group are drawn on their own
    assert (weights[:, [0, 2, 3, 4]].sum(1) == 4).all()
    assert weights.mean(0) == pytest.approx(np.ones(5), abs=0.15)


def test_interval_of_a_mean_is_the_normal_one_for_many_clips():
    values = np.random.default_rng(0).normal(size=2000)
    low, high = mean_interval(values, [""] * 2000, num_resamples=4000)
    half = stats.norm.ppf(0.975) * values.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.004)


def test_clips_of_few_groups_tell_less():
    values = np.repeat(np.random.default_rng(0).normal(size=20), 50)
    alone = mean_interval(values, [""] * 1000)
    grouped = mean_interval(values, [f"g{i // 50}" for i in range(1000)])
    assert grouped[1] - grouped[0] > 5 * (alone[1] - alone[0])


def test_seed_decides():
    values = np.arange(10.0)
    groups = [""] * 10
    assert mean_interval(values, groups, seed=1) == mean_interval(values, groups, seed=1)
    assert mean_interval(values, groups, seed=1) != mean_interval(values, groups, seed=2)


@pytest.mark.parametrize("groups", [["a"] * 4, ["", "", "", ""][:0]])
def test_fewer_than_two_groups_have_no_interval(groups):
    assert np.isnan(mean_interval(np.ones(len(groups)), groups)).all()


def test_a_single_clip_has_no_interval():
    assert np.isnan(interval("accuracy", np.eye(2)[:1], np.eye(2)[:1], [""])).all()


def test_as_many_groups_as_clips():
    with pytest.raises(UsageError, match="3 clips need one group name each; got 2"):
        mean_interval(np.ones(3), ["a", "b"])
