"""Scores of heatmaps, on boxes and maps that are counted by hand."""

import numpy as np
import pytest

from actiondiff.errors import UsageError
from actiondiff.evaluation.places import box_masks, centre_prior, change_energy, score_places

BOXES = np.array([[0.0, 0, 2, 2], [2, 2, 4, 4]])  # upper left, then lower right, of 4 x 4


def test_masks_hold_pixels_whose_centres_lie_inside():
    (mask,) = box_masks(np.array([[0.4, 1.6, 2.5, 3.0]]), 4, 4)
    assert np.argwhere(mask).tolist() == [[2, 0], [2, 1]]


def test_a_map_that_knows_and_one_that_errs():
    right = box_masks(BOXES, 4, 4).astype(np.float32)
    assert score_places(right, BOXES) == {"pointing_game": 1, "energy_inside": 1, "box_share": 0.25}
    wrong = score_places(right[::-1], BOXES)
    assert (wrong["pointing_game"], wrong["energy_inside"]) == (0, 0)


def test_a_level_that_is_the_same_everywhere_counts_for_nothing():
    maps = 0.5 + 0.1 * box_masks(BOXES, 4, 4).astype(np.float64)
    assert score_places(maps, BOXES)["energy_inside"] == pytest.approx(1)
    flat = score_places(np.full((2, 4, 4), 0.7), BOXES)
    assert flat["energy_inside"] == pytest.approx(0.25)
    assert flat["pointing_game"] == pytest.approx(0.25)  # chance: any pixel is as high as any other
    half = maps.copy()
    half[0] = 0.5
    half[0, 0, 0] = half[0, 3, 3] = 0.6
    assert score_places(half, BOXES)["energy_inside"] == pytest.approx(0.75)


def test_baselines():
    middle = centre_prior(3, 5, 7)
    assert middle.shape == (3, 5, 7)
    assert np.unravel_index(middle[1].argmax(), (5, 7)) == (2, 3)
    pixels = np.zeros((4, 20, 20, 3), np.uint8)
    pixels[2:, 14:17, 3:6] = 200  # appears in the third frame
    energy = change_energy(pixels)
    assert energy.shape == (4, 20, 20)
    assert np.unravel_index(energy[2].argmax(), (20, 20)) == (15, 4)
    assert energy[[0, 1, 3]].max() == 0
    assert change_energy(pixels[:1]).max() == 0


def test_shapes_must_fit():
    with pytest.raises(UsageError, match="of the same length"):
        score_places(np.zeros((3, 4, 4)), BOXES)
