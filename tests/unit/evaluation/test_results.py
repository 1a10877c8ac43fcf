"""Metrics as they are written and read back."""

from pathlib import Path

import pytest

from actiondiff.errors import RunError
from actiondiff.evaluation.results import (
    EvaluationMetrics,
    SeedsMetrics,
    TrainingMetrics,
    read_metrics,
    read_training_metrics,
)
from actiondiff.evaluation.scores import ConfidenceScores, PriorFloor, Scores

WRITTEN_BEFORE = Path(__file__).parents[2] / "fixtures" / "written-by-0.1.0" / "run"


@pytest.mark.parametrize(
    ("folder", "kind"), [(".", SeedsMetrics), ("seed-0", TrainingMetrics), ("seed-1", TrainingMetrics)]
)
def test_metrics_of_an_earlier_version_are_read_and_written_byte_for_byte(folder, kind):
    metrics = read_metrics(WRITTEN_BEFORE / folder)
    assert type(metrics) is kind
    assert metrics.to_json() == (WRITTEN_BEFORE / folder / "metrics.json").read_text("utf-8")


def test_metrics_of_an_evaluation(tmp_path):
    metrics = EvaluationMetrics(
        num_clips=3, scores=Scores(num_clips=3, accuracy=1 / 3), prior_floor=PriorFloor(accuracy=0.5),
        intervals={"accuracy": (0.1, 0.7)}, num_left_out_as_trained_on=2, run="run", table="table.csv",
    )  # fmt: skip
    (tmp_path / "metrics.json").write_text(metrics.to_json())
    assert read_metrics(tmp_path) == metrics


def test_fields_that_do_not_apply_are_left_out():
    assert ConfidenceScores(calibration_error=0.5).to_json() == '{\n  "calibration_error": 0.5\n}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "is missing"), ("{", "cannot be read"), ("[]", "expected a JSON object"), ("{}", "num_clips")],
)
def test_a_file_that_is_no_metrics(tmp_path, text, problem):
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(RunError, match=problem):
        read_metrics(tmp_path)


def test_several_seeds_are_no_single_training():
    with pytest.raises(RunError, match="not the folder of a single training"):
        read_training_metrics(WRITTEN_BEFORE)
