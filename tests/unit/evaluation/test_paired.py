"""Comparisons on made-up clips, of which it is known what differs."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import label_ranking_average_precision_score

from actiondiff.errors import UsageError
from actiondiff.evaluation.metrics import summary
from actiondiff.evaluation.paired import (
    Scored,
    contrast,
    difference,
    interaction,
    max_statistic,
    mcnemar,
    per_clip,
    sign_flip,
)

N, K, SIZE = 240, 3, 4


def scored(accuracy, *, seed, seeds=2, count=N, difficulty=None):
    """Trainings that have this share of the clips right; the hard ones are the same for all of them."""
    random = np.random.default_rng(7)
    truth = random.integers(0, K, count)
    hard = random.random(count) if difficulty is None else difficulty
    own = np.random.default_rng(seed)
    runs = []
    for _ in range(seeds):
        is_right = hard + 0.05 * own.normal(size=count) < accuracy
        named = np.where(is_right, truth, (truth + 1) % K)
        runs.append(0.1 + 0.7 * np.eye(K)[named])
    groups = [f"g{i // SIZE}" for i in range(count)]
    return Scored(np.array(runs, dtype=np.float32), np.eye(K)[truth], groups)


def test_the_difference_is_that_of_the_scores():
    first, second = scored(0.8, seed=1), scored(0.6, seed=2)
    means = [
        np.mean([summary(p, side.targets, multi_label=False)["accuracy"] for p in side.probabilities])
        for side in (first, second)
    ]
    found = difference("accuracy", first, second)
    assert found.value == pytest.approx(means[0] - means[1])
    assert found.low < found.value < found.high
    assert found.low > 0
    assert found.p < 0.01
    back = difference("accuracy", second, first)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=0.02)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "micro_map", "macro_map"])
def test_a_model_does_not_differ_from_itself(metric):
    side = scored(0.7, seed=1, seeds=1)
    found = difference(metric, side, side)
    assert (found.value, found.low, found.high, found.p) == pytest.approx((0, 0, 0, 1))


def test_pairing_makes_a_small_difference_certain():
    """Sides on the same clips are drawn together; on other clips, apart, and the interval is far wider."""
    first, second = scored(0.75, seed=1, seeds=1), scored(0.70, seed=1, seeds=1)
    paired = difference("accuracy", first, second)
    renamed = Scored(second.probabilities, second.targets, [f"other{name}" for name in second.groups])
    apart = contrast("accuracy", [(1, first), (-1, renamed)])
    assert apart.value == pytest.approx(paired.value)
    assert apart.high - apart.low > 1.5 * (paired.high - paired.low)
    with pytest.raises(UsageError, match="same clips"):
        difference("accuracy", first, renamed)


def test_seeds_widen_the_interval():
    one = scored(0.7, seed=1, seeds=1)
    other = scored(0.7, seed=2, seeds=1)
    uneven = np.concatenate(
        [one.probabilities, np.roll(one.probabilities, 1, axis=2)]
    )  # the second is all wrong
    with_seeds = difference("accuracy", Scored(uneven, one.targets, one.groups), other)
    without = difference("accuracy", one, other)
    assert with_seeds.high - with_seeds.low > 3 * (without.high - without.low)


def test_interaction_is_found_where_there_is_one_and_only_there():
    """Early gains 20 points out of domain and none in it; then 10 in both."""
    out, inside = 1, 11
    hard_in = np.random.default_rng(3).random(N)

    def side(accuracy, seed):
        return scored(accuracy, seed=seed, difficulty=hard_in if seed > 10 else None)

    found = interaction(
        "accuracy", early_out=side(0.7, out), last_out=side(0.5, out + 1),
        early_in=side(0.8, inside), last_in=side(0.8, inside + 1),
    )  # fmt: skip
    assert found.value == pytest.approx(0.2, abs=0.08)
    assert found.low > 0
    same = interaction(
        "accuracy", early_out=side(0.7, out), last_out=side(0.6, out + 1),
        early_in=side(0.8, inside), last_in=side(0.7, inside + 1),
    )  # fmt: skip
    assert same.low < 0 < same.high
    assert same.p > 0.05


def test_interaction_holds_its_level():
    """Without any effect about one test in twenty finds one."""
    found = []
    for trial in range(60):
        random = np.random.default_rng(trial)
        sides = []
        for _ in range(2):
            truth = random.integers(0, K, 60)
            groups = [f"{i // 3}" for i in range(60)]
            both = [
                np.eye(K)[np.where(random.random(60) < 0.6, truth, (truth + 1) % K)][None] for _ in range(2)
            ]
            sides += [Scored(p.astype(np.float32), np.eye(K)[truth], groups) for p in both]
        early_out, last_out, early_in, last_in = sides
        found.append(
            interaction(
                "accuracy", early_out=early_out, last_out=last_out, early_in=early_in, last_in=last_in,
                num_resamples=400,
            ).p
        )  # fmt: skip
    assert np.mean(np.array(found) < 0.05) <= 0.15
    assert np.mean(np.array(found) < 0.5) > 0.3


def test_mcnemar_counts_the_clips_that_differ():
    first = np.array([True] * 30 + [False] * 10)
    second = np.array([True] * 22 + [False] * 15 + [True] * 3)
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (8, 3)
    assert found.p == pytest.approx(binomtest(8, 11).pvalue)
    assert mcnemar(first, first).p == 1


def test_thirteen_of_1200_clips_are_no_difference():
    """The paper's margin of U->H over SDv2, at the fewest clips that can differ, and at a likelier number."""
    both = np.zeros(1200, dtype=bool)
    ahead, behind = both.copy(), both.copy()
    ahead[:13] = True
    assert mcnemar(ahead, both).p < 0.001
    ahead[:113], behind[113:213] = True, True
    assert mcnemar(ahead, behind).p > 0.3


def test_sign_flips_treat_groups_as_one():
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(0.4, 1, 20), 30)
    groups = [f"{i // 30}" for i in range(600)]
    assert sign_flip(values, [""] * 600) < 0.001  # 600 clips seem to say more than they do
    assert sign_flip(values, groups) > 0.01
    assert sign_flip(np.ones(40), [""] * 40) < 0.001
    assert sign_flip(np.tile([1.0, -1.0], 20), [""] * 40) == 1


def cells(gain, *, trial=0, count=12):
    """Values of 200 clips in 50 groups: cells alike but for noise, the fourth better by `gain`."""
    random = np.random.default_rng(trial)
    clip = random.normal(size=200)
    grid = clip + 0.8 * random.normal(size=(count, 200))
    grid[3] += gain
    return grid, clip + 0.8 * random.normal(size=200), [f"{i // 4}" for i in range(200)]


def test_the_best_of_many_is_found_if_it_is_better():
    p = max_statistic(*cells(0.5))
    assert p.argmin() == 3
    assert p[3] < 0.01
    assert np.delete(p, 3).min() > 0.05


def test_the_best_of_many_equal_ones_is_chance():
    """Of twelve cells one's own p is often below 0.05; the corrected one is not."""
    single, corrected = [], []
    for trial in range(40):
        grid, reference, groups = cells(0.0, trial=trial)
        corrected.append(max_statistic(grid, reference, groups, num_flips=500).min())
        single.append(min(max_statistic(row[None], reference, groups, num_flips=500)[0] for row in grid))
    assert np.mean(np.array(corrected) < 0.05) <= 0.15
    assert np.mean(np.array(single) < 0.05) >= 0.2


def test_max_statistic_of_one_cell_is_the_one_sided_sign_flip():
    grid, reference, groups = cells(0.15)
    (p,) = max_statistic(grid[3:4], reference, groups)
    assert p == pytest.approx(sign_flip(grid[3] - reference, groups) / 2, abs=0.01)


def test_a_score_of_every_clip():
    single = scored(0.6, seed=1)
    expected = (single.probabilities.argmax(-1) == single.targets.argmax(-1)).mean(0)
    np.testing.assert_array_equal(per_clip(single, multi_label=False), expected)
    random = np.random.default_rng(0)
    truth = random.random((30, 6)) < 0.4
    truth[0], truth[1:, 2] = False, True
    values = random.random((2, 30, 6)).astype(np.float32)
    found = per_clip(Scored(values, truth, [""] * 30), multi_label=True)
    theirs = [label_ranking_average_precision_score(truth[1:], run[1:]) for run in values]
    assert found[1:].mean() == pytest.approx(np.mean(theirs))
    assert found[0] == 0


def test_what_does_not_fit_is_refused():
    side = scored(0.6, seed=1)
    with pytest.raises(UsageError, match="seeds, clips, classes"):
        contrast("accuracy", [(1, Scored(side.probabilities[0], side.targets, side.groups))])
    with pytest.raises(UsageError, match="240 clips need one group name each"):
        contrast("accuracy", [(1, Scored(side.probabilities, side.targets, side.groups[:3]))])
    with pytest.raises(UsageError, match="cells must be"):
        max_statistic(np.zeros((2, 3)), np.zeros(4), [""] * 4)
    alone = Scored(side.probabilities, side.targets, ["one"] * N)
    assert np.isnan(difference("accuracy", alone, alone).p)
