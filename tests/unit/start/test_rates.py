"""The rate at which `actiondiff start` takes frames of cameras with different rates."""

import numpy as np
import pytest

from actiondiff.datasets.base import Table
from actiondiff.start.rates import common_rate
from actiondiff.types import Example
from actiondiff.video.write import write_video


@pytest.mark.parametrize(("rates", "expected"), [((25, 30), None), ((25, 25, 1), 6.25), ((1, 2), 0.375)])
def test_one_rate_for_cameras_that_differ(tmp_path, rates, expected):
    for number, rate in enumerate(rates):
        write_video(tmp_path / f"{number}.mp4", np.zeros((8, 16, 16, 3), np.uint8), fps=rate)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    names = [*(f"{number}.mp4" for number in range(len(rates))), "broken.mp4", "absent.mp4"]
    table = Table(tmp_path / "t.csv", tmp_path, tuple(Example(name, ("eat",)) for name in names))
    assert common_rate(table) == expected
