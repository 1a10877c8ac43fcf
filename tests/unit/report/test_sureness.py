"""Calibration and coverage against numbers worked out by hand."""

import numpy as np
import pytest

from actiondiff.errors import UsageError
from actiondiff.report.sureness_figures import (
    calibration_bins,
    coverage_accuracy,
    coverage_curve,
    reliability_diagram,
)

SURE = np.array([0.95, 0.85, 1.0, 0.55])
RIGHT = np.array([True, False, True, True])


def test_bins():
    bins = calibration_bins(SURE, RIGHT)
    assert bins["clips"].tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 1, 2]
    assert bins["accuracy"][9] == 1
    assert bins["confidence"][9] == pytest.approx(0.975)
    assert np.isnan(bins["accuracy"][0])
    assert bins["high"].tolist()[-1] == 1


def test_expected_calibration_error():
    figure = reliability_diagram(SURE, RIGHT)
    # (|1 - 0.55| + |0 - 0.85| + 2 |1 - 0.975|) / 4 = 0.3375
    assert "Expected calibration error over 10 steps: 33.8 %" in figure.caption
    assert ", accuracy 75.0 %" in figure.alt


def test_coverage():
    curve = coverage_accuracy(SURE, RIGHT)
    assert curve["coverage"].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve["accuracy"].tolist() == pytest.approx([1, 1, 2 / 3, 0.75])
    assert curve["threshold"].tolist() == [1.0, 0.95, 0.85, 0.55]


def test_clips_that_are_equally_sure_are_one_step():
    curve = coverage_accuracy(np.array([0.5, 0.5, 0.9]), np.array([True, False, False]))
    assert curve["coverage"].tolist() == pytest.approx([1 / 3, 1])
    assert curve["accuracy"].tolist() == pytest.approx([0, 1 / 3])


def test_several_models():
    figure = coverage_curve({"a": (SURE, RIGHT), "b": (SURE, ~RIGHT)})
    assert "a: 100.0 % of the surest half, 75.0 % of all; b: 0.0 %" in figure.caption
    assert figure.data.groupby("model").size().to_dict() == {"a": 4, "b": 4}


@pytest.mark.parametrize("sure", [np.zeros(0), np.zeros(3), np.zeros((4, 1))])
def test_shapes(sure):
    with pytest.raises(UsageError, match="one number a clip"):
        calibration_bins(sure, RIGHT if len(sure) else np.zeros(0, bool))
