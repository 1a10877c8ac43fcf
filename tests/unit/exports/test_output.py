"""What a prediction of many videos writes: refused before work starts, or written with its counts."""

from dataclasses import replace
from pathlib import Path

import pytest

from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.exports.output import PredictionOutput
from actiondiff.inference.options import TimelineOptions


@pytest.fixture
def output(tmp_path) -> PredictionOutput:
    return PredictionOutput(
        tmp_path / "out", run="run", formats=["csv"], timeline=False, queue=5, about=None, project=None,
        options=TimelineOptions(),
    )  # fmt: skip


def test_what_would_have_no_effect_is_refused_before_any_work(output):
    output.check([])
    with pytest.raises(UnknownNameError, match="add --timeline"):
        replace(output, formats=["boris"]).check([])
    with pytest.raises(UsageError, match="--min-seconds is about bouts"):
        replace(output, options=TimelineOptions(min_seconds=1.0)).check([])
    replace(output, options=TimelineOptions(abstain_below=0.5)).check([])


def test_a_check_writes_nothing(output):
    output.check([Path("a.mp4")])
    assert not output.out.exists()
