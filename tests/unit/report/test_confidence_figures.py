"""Figures of a model's confidence."""

import numpy as np

from actiondiff.report.confidence_figures import coverage_curve, reliability_diagram

SURE = np.array([0.95, 0.85, 1.0, 0.55])
RIGHT = np.array([True, False, True, True])


def test_expected_calibration_error():
    figure = reliability_diagram(SURE, RIGHT)
    # (|1 - 0.55| + |0 - 0.85| + 2 |1 - 0.975|) / 4 = 0.3375
    assert "expected calibration error over 10 bins is 33.8 %" in figure.caption
    assert ", accuracy 75.0 %" in figure.alt


def test_several_models():
    figure = coverage_curve({"a": (SURE, RIGHT), "b": (SURE, ~RIGHT)})
    assert "a: 100.0 % of the most confident half, 75.0 % of all clips; b: 0.0 %" in figure.caption
    assert figure.data.groupby("model").size().to_dict() == {"a": 4, "b": 4}


def test_bars_stand_where_clips_are():
    figure = reliability_diagram(SURE, RIGHT)
    above, below = figure.drawing.axes
    assert [(round(p.get_x() + p.get_width() / 2, 2), p.get_height()) for p in above.patches] == [
        (0.55, 1), (0.85, 0), (0.95, 1),
    ]  # fmt: skip
    assert [patch.get_height() for patch in below.patches] == [0, 0, 0, 0, 0, 1, 0, 0, 1, 2]
    np.testing.assert_allclose(above.lines[0].get_xdata(), [0.55, 0.85, 0.975])
