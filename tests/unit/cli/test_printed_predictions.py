"""What `predict` prints of timelines."""

import numpy as np
import pytest

from actiondiff.cli.output.predictions import print_predictions
from actiondiff.evaluation.verdict import ChanceVerdict
from actiondiff.inference.timeline import Timeline, TimelineOptions
from actiondiff.types import Bout


def timeline(lengths) -> Timeline:
    seconds = np.arange(0, 100, 1.0)
    bouts = tuple(Bout("eat", 4.0 * n, 4.0 * n + length, 0.9) for n, length in enumerate(lengths))
    return Timeline(
        "a.mp4", ("eat",), seconds, np.arange(100), 100.0, np.full((100, 1), 0.9, np.float32), bouts,
        "sigmoid", {"eat": 0.5}, TimelineOptions(span_seconds=2.56, step_seconds=1.0),
    )  # fmt: skip


@pytest.mark.parametrize(("lengths", "hinted"), [([0.2] * 12, True), ([3.0] * 12, False), ([], False)])
def test_bouts_that_are_too_short_are_hinted_at(tmp_path, capsys, lengths, hinted):
    print_predictions(
        [("a.mp4", timeline(lengths))], {"ok": 1}, tmp_path, timeline=True, options=TimelineOptions(),
        verdict=ChanceVerdict(True, "Better than guessing."), has_guard=True,
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert ("--smooth-seconds 2.6 or --min-seconds 1.3 gives fewer" in printed) is hinted
