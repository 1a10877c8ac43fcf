"""Scores of timelines against cases worked out by hand."""

import numpy as np
import pytest

from actiondiff.errors import UsageError
from actiondiff.evaluation.segments import (
    frame_scores,
    frame_truth,
    match_bouts,
    overlap,
    segment_average_precision,
    segment_scores,
)
from actiondiff.types import Bout


def bout(start, end, probability=1.0, label="eat") -> Bout:
    return Bout(label, start, end, probability)


def test_frames_are_half_open_and_bouts_may_overlap():
    seconds = np.array([0.0, 1.0, 2.0, 3.0])
    truth = frame_truth([bout(1, 3), bout(0, 2, label="run")], seconds, ["eat", "run"])
    assert truth.T.tolist() == [[False, True, True, False], [True, True, False, False]]
    with pytest.raises(UsageError, match="label 'fly'; expected one of eat, run"):
        frame_truth([bout(0, 1, label="fly")], seconds, ["eat", "run"])


def test_frame_scores_by_hand():
    """eat: 2 of 3 said are right, 2 of 4 are found: F1 4/7. Ranked by score: right, wrong, right, right ...

    AP: precision 1, 2/3, 3/4, 4/5 at the four that are right: (1 + 2/3 + 3/4 + 4/5) / 4.
    """
    probabilities = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.1]], dtype=np.float32).T
    truth = np.array([[1, 0, 1, 1, 1, 0]], dtype=bool).T
    predicted = np.array([[1, 1, 1, 0, 0, 0]], dtype=bool).T
    found = frame_scores(
        np.hstack([probabilities, probabilities]),
        np.hstack([predicted, predicted]),
        np.hstack([truth, np.zeros_like(truth)]),
        ["eat", "never"],
    )
    eat, never = found.per_class
    assert (eat.precision, eat.recall, eat.f1) == pytest.approx((2 / 3, 2 / 4, 4 / 7))
    assert eat.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4 + 4 / 5) / 4)
    assert never.average_precision is None
    assert (found.macro_f1, found.macro_ap) == (eat.f1, eat.average_precision)  # never: left out
    assert found.num_frames == 6


def test_overlap_by_hand():
    assert overlap(bout(0, 10), bout(5, 15)) == pytest.approx(5 / 15)
    assert overlap(bout(0, 10), bout(2, 4)) == pytest.approx(0.2)
    assert overlap(bout(0, 1), bout(1, 2)) == 0
    assert overlap(bout(3, 3), bout(3, 3)) == 0


def test_segment_average_precision_by_hand():
    """Four labelled, ranked right, wrong, right, wrong (taken already): (1 + 2/3) / 4."""
    truth = [("a", bout(0, 10)), ("a", bout(20, 30)), ("b", bout(0, 10)), ("b", bout(50, 60))]
    predicted = [
        ("a", bout(1, 10, 0.9)),  # IoU 0.9 with the first
        ("b", bout(20, 30, 0.8)),  # right time, wrong video
        ("a", bout(20, 26, 0.7)),  # IoU 0.6 with the second
        ("a", bout(0, 10, 0.6)),  # the first once more
    ]
    assert match_bouts(predicted, truth, 0.5).tolist() == [True, False, True, False]
    assert match_bouts(predicted[::-1], truth, 0.5).tolist() == [True, False, True, False]
    assert match_bouts(predicted, truth, 0.7).tolist() == [True, False, False, False]
    assert segment_average_precision(match_bouts(predicted, truth, 0.5), 4) == pytest.approx((1 + 2 / 3) / 4)
    # wrong first: precision 1/2 at the first that is right, but 2/3 at a higher recall, which counts for both
    assert segment_average_precision(np.array([False, True, True]), 2) == pytest.approx(2 / 3)
    assert segment_average_precision(np.zeros(0, dtype=bool), 3) == 0
    assert segment_average_precision(np.array([False]), 0) is None


def test_segment_scores_by_hand():
    truth = {"a": [bout(0, 10), bout(0, 4, label="run")], "b": []}
    predicted = {"a": [bout(0, 5, 0.9)], "b": [bout(0, 5, 0.95, label="hop")]}
    found = segment_scores(predicted, truth, ["eat", "hop", "run"])
    assert found.map == {"0.3": 0.5, "0.4": 0.5, "0.5": 0.5, "0.6": 0.0, "0.7": 0.0}  # hop is left out
    assert found.f1 == found.map
    assert found.mean_map == pytest.approx(0.3)
    eat, hop, run = found.per_class
    assert (eat.ap["0.5"], hop.ap["0.5"], run.ap["0.5"]) == (1.0, None, 0.0)
    assert (hop.num_predicted, hop.num_labelled, hop.f1["0.5"]) == (1, 0, 0.0)
    assert segment_scores({}, {}, ["eat"]).mean_map is None
