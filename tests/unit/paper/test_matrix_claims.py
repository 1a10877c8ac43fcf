"""Verdicts on figure 4's claims, on matrices whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from actiondiff.paper.claims import load_claims
from actiondiff.paper.datasets.animal_kingdom import ANIMAL_TYPES
from actiondiff.paper.matrix_claims import judge_by_matrices

TYPES = list(ANIMAL_TYPES)
CLIPS = [2171, 400, 537, 1602, 359, 141, 249, 153, 137]


def tables(accuracy, prior=0.3):
    frame = pd.DataFrame(accuracy, index=TYPES, columns=TYPES, dtype=float)
    return {
        "accuracy": frame,
        "prior": pd.DataFrame(prior, index=TYPES, columns=TYPES, dtype=float),
        "clips": pd.DataFrame({"clips": CLIPS}, index=TYPES),
    }


@pytest.mark.parametrize(
    ("fish", "birds", "outcome"), [(0.6, 0.4, "holds"), (0.41, 0.4, "not shown"), (0.4, 0.6, "contradicted")]
)
def test_one_target_above_another(fish, birds, outcome):
    claim = load_claims()["water-birds-to-fish-over-birds"]
    values = np.full((9, 9), 0.5)
    row = TYPES.index("water_birds")
    values[row, TYPES.index("fish")], values[row, TYPES.index("birds")] = fish, birds
    verdict, sentence = judge_by_matrices(claim, tables(values))
    assert verdict == outcome
    assert f"{100 * (fish - birds):+.1f} points" in sentence
    half = 196 * np.sqrt(fish * (1 - fish) / 400 + birds * (1 - birds) / 2171)
    assert f"({100 * (fish - birds) - half:+.1f} to " in sentence


@pytest.mark.parametrize(("gain", "outcome"), [(0.1, "holds"), (-0.1, "contradicted"), (0.0, "not shown")])
def test_the_gain_over_guessing(gain, outcome):
    claim = load_claims()["gain-over-the-prior"]
    values = 0.3 + gain + np.linspace(0, 0.01, 81).reshape(9, 9) * np.sign(gain)
    np.fill_diagonal(values, 1)  # the diagonal is scored on training clips and does not count
    verdict, sentence = judge_by_matrices(claim, tables(values))
    assert verdict == outcome
    assert f"{72 if gain > 0 else 0} of 72 pairs" in sentence


def test_nothing_is_claimed_without_runs():
    for name in ("gain-over-the-prior", "lizards-to-frogs-over-snakes", "species-similarity"):
        assert judge_by_matrices(load_claims()[name], {})[0] == "not tested"


def test_every_pair_is_of_two_types():
    for claim in load_claims().values():
        assert (claim.test == "pairs") == (claim.ours.pair is not None)
        if claim.ours.pair:
            assert {*claim.ours.pair, *claim.against.pair} <= set(TYPES)


def test_margins_are_the_difference_of_the_scores():
    for claim in load_claims().values():
        if claim.margin is not None:
            assert claim.margin == pytest.approx(claim.ours.score - claim.against.score, abs=1e-6), claim.id
        if claim.clips is not None:
            assert claim.clips == round(claim.margin * claim.num_test / 100), claim.id
