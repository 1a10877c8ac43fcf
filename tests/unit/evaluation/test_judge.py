"""What is said of a model: scores beside what guessing scores, each clip's row, no clip twice."""

import numpy as np
import pytest

from actiondiff.datasets.packing import MissingClip, pack_arrays
from actiondiff.errors import UsageError
from actiondiff.evaluation.intervals import interval
from actiondiff.evaluation.judge import (
    check_classes,
    judge,
    judge_by_value,
    mean_and_sd,
    missing_clips,
    prediction_table,
    protocol_classes,
    restrict,
    targets_of_counts,
)
from actiondiff.evaluation.results import LeftOutClip
from actiondiff.evaluation.scores import Scores
from actiondiff.types import Example

LABELS = ("eat", "run")
TRUTH = ("eat", "eat", "run", "eat")
PROBABILITIES = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]], dtype=np.float32)


def packed(truth=TRUTH, missing=()):
    examples = [
        Example(f"{i}.mp4", (label,), group="ab"[i // 2], columns={"site": "nnss"[i]}, split="test")
        for i, label in enumerate(truth)
    ]
    arrays = [np.zeros((2, 3), dtype=np.float32)] * len(truth)
    return pack_arrays(arrays, examples, LABELS, missing=missing)


def test_scores_floor_and_interval_side_by_side():
    side = judge(packed(), PROBABILITIES, "softmax", targets_of_counts(np.array([1.0, 3.0])))
    assert side.num_clips == 4
    assert side.scores.accuracy == 0.5  # clips 2 and 3 are wrong
    assert side.prior_floor.accuracy == 0.25  # `run`, the more frequent in training, is true once
    assert side.intervals["accuracy"] == pytest.approx((0, 1))  # group a is right, group b wrong
    assert {"accuracy", "balanced_accuracy", "micro_map", "macro_map"} == set(side.intervals)


def test_several_labels_have_no_accuracy():
    side = judge(packed(), PROBABILITIES, "sigmoid", targets_of_counts(np.array([1.0, 3.0])))
    assert side.scores.accuracy is None
    assert side.prior_floor.accuracy is None
    assert set(side.intervals) == {"micro_map", "macro_map", "charades_map"}


def test_one_group_has_no_interval():
    alone = packed().subset([0, 1])
    assert judge(alone, PROBABILITIES[:2], "softmax", np.eye(2, dtype=np.float32)).intervals == {}


@pytest.mark.parametrize(
    ("column", "accuracy"),
    [("site", {"n": 1, "s": 0}), ("group", {"a": 1, "b": 0}), ("split", {"test": 0.5}), ("video", None)],
)
def test_by_value(column, accuracy):
    source = packed(("eat", "run"))
    sides = judge_by_value(packed(), PROBABILITIES, "softmax", source, column)
    scores = {value: side.scores.accuracy for value, side in sides.items()}
    assert scores == (accuracy or {"0.mp4": 1, "1.mp4": 1, "2.mp4": 0, "3.mp4": 0})


def test_a_row_a_clip():
    frame = prediction_table(packed(), PROBABILITIES)
    fixed = ["video", "start_seconds", "end_seconds", "group", "label", "predicted"]
    assert list(frame) == [*fixed, "p(eat)", "p(run)"]
    assert list(frame["group"]) == ["a", "a", "b", "b"]
    assert list(frame["video"]) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert list(frame["label"]) == list(TRUTH)
    assert list(frame["predicted"]) == ["eat", "eat", "eat", "run"]
    assert list(frame["p(run)"]) == pytest.approx(list(PROBABILITIES[:, 1]))


def test_only_the_protocols_classes():
    """A head of three classes, of which clips have two: the third one's share goes to the others."""
    arrays = [np.zeros((2, 3), dtype=np.float32)] * 2
    examples = [Example("0.mp4", ("eat",)), Example("1.mp4", ("run",))]
    clips = pack_arrays(arrays, examples, ("eat", "hop", "run"))
    probabilities = np.array([[0.2, 0.7, 0.1], [0.25, 0.25, 0.5]], dtype=np.float32)
    labels = protocol_classes([clips.subset([0]), None, clips.subset([1])])
    assert labels == ["eat", "run"]
    chosen, kept = restrict(clips, probabilities, "softmax", labels)
    assert chosen.label_names == ("eat", "run")
    assert chosen.targets.tolist() == [[1, 0], [0, 1]]
    assert kept == pytest.approx(np.array([[2 / 3, 1 / 3], [1 / 3, 2 / 3]]))
    assert restrict(clips, probabilities, "sigmoid", labels)[1] == pytest.approx(probabilities[:, [0, 2]])
    source = np.eye(2, dtype=np.float32)
    assert judge(chosen, kept, "softmax", source).scores.accuracy == 1
    assert restrict(clips, probabilities, "softmax", clips.label_names)[1] is probabilities


def test_clips_that_were_left_out():
    clips = packed(missing=[MissingClip(Example("x.mp4", ("eat",)), "failed: cut short")])
    assert missing_clips(clips) == [LeftOutClip(video="x.mp4", reason="failed: cut short")]


def test_every_class_needs_a_clip():
    check_classes(packed())
    with pytest.raises(UsageError, match="1 of 2 classes have no training clip with features: 'run'"):
        check_classes(packed(("eat", "eat")))


def test_mean_and_deviation_of_the_scores_that_exist():
    scores = [Scores(num_clips=5, accuracy=value, micro_map=0.5) for value in (0.4, 0.6)]
    mean, deviation = mean_and_sd(scores)
    assert mean == pytest.approx({"accuracy": 0.5, "micro_map": 0.5})
    assert deviation == pytest.approx({"accuracy": 0.02**0.5, "micro_map": 0})


def test_targets_of_counts():
    assert targets_of_counts(np.array([2.0, 0.0, 1.0])).tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_an_interval_that_lies_beside_its_score_is_left_out():
    """With one clip per class, resamples lack classes, and what is left is easier than the whole."""
    labels = tuple("abcdef")
    probabilities = np.random.default_rng(2).dirichlet(np.ones(6), 6).astype(np.float32)
    examples = [Example(f"{label}.mp4", (label,), split="test") for label in labels]
    clips = pack_arrays([np.zeros((2, 3), dtype=np.float32)] * 6, examples, labels)
    side = judge(clips, probabilities, "softmax", targets_of_counts(np.ones(6)))
    low, high = interval("macro_map", probabilities, np.eye(6), [""] * 6)
    assert side.scores.macro_map < low < high
    assert "macro_map" not in side.intervals
    assert side.intervals["accuracy"][0] <= side.scores.accuracy <= side.intervals["accuracy"][1]
