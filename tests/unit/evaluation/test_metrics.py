import json

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
from torchmetrics.functional.classification import multilabel_average_precision

from actiondiff.errors import UsageError
from actiondiff.evaluation.metrics import scores, summary
from actiondiff.evaluation.scores import Scores

LABELS = ["walk", "run", "eat", "hop", "fly"]


@pytest.fixture
def single():
    """60 clips of 4 of 5 classes, with tied scores; nothing flies, nor is said to."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 60)
    values = random.integers(1, 6, (60, 5)) + 2.0 * np.eye(5)[truth]
    values[:, 4] = 0.5
    return (values / values.sum(1, keepdims=True)).astype(np.float32), np.eye(5, dtype=np.float32)[truth]


@pytest.fixture
def multi():
    """60 clips of any of 4 of 5 classes, some of none, with tied scores; nothing flies."""
    random = np.random.default_rng(1)
    truth = (random.random((60, 5)) < 0.3) & (np.arange(5) < 4)
    values = np.clip(random.integers(0, 8, (60, 5)) / 10 + 0.2 * truth, 0, 1)
    return values.astype(np.float32), truth.astype(np.float32)


def test_single_label_against_scikit_learn(single):
    probabilities, targets = single
    result = scores(probabilities, targets, LABELS, multi_label=False)
    truth, predicted = targets.argmax(1), probabilities.argmax(1)
    assert result.accuracy == pytest.approx(reference.accuracy_score(truth, predicted))
    assert result.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    expected = reference.confusion_matrix(truth, predicted, labels=range(5))
    np.testing.assert_array_equal(result.confusion, expected)
    table = reference.precision_recall_fscore_support(truth, predicted, labels=range(4))
    for entry, precision, recall, f1, support in zip(result.per_class[:4], *table, strict=True):
        assert (entry.precision, entry.recall, entry.f1) == pytest.approx((precision, recall, f1))
        assert entry.support == support
    assert result.charades_map is None


def test_multi_label_against_scikit_learn(multi):
    probabilities, targets = multi
    result = scores(probabilities, targets, LABELS, multi_label=True, threshold=0.45)
    predicted = probabilities >= 0.45
    table = reference.precision_recall_fscore_support(targets[:, :4], predicted[:, :4])
    for entry, precision, recall, f1, support in zip(result.per_class[:4], *table, strict=True):
        assert (entry.precision, entry.recall, entry.f1) == pytest.approx((precision, recall, f1))
        assert entry.support == support
    assert result.accuracy is None
    assert result.balanced_accuracy is None
    assert result.confusion is None


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_mean_average_precisions(kind, request):
    probabilities, targets = request.getfixturevalue(kind)
    result = scores(probabilities, targets, LABELS, multi_label=kind == "multi")
    micro = reference.average_precision_score(targets.ravel(), probabilities.ravel())
    each = [reference.average_precision_score(targets[:, i], probabilities[:, i]) for i in range(4)]
    assert result.micro_map == pytest.approx(micro, abs=1e-6)
    assert result.macro_map == pytest.approx(np.mean(each), abs=1e-6)
    assert [entry.average_precision for entry in result.per_class[:4]] == pytest.approx(each, abs=1e-6)
    tensors = torch.from_numpy(probabilities[:, :4]), torch.from_numpy(targets[:, :4]).long()
    for average, value in (("micro", None), ("macro", result.macro_map)):
        theirs = multilabel_average_precision(*tensors, num_labels=4, average=average)
        ours = summary(probabilities[:, :4], targets[:, :4], multi_label=True)[f"{average}_map"]
        assert ours == pytest.approx(float(theirs), abs=1e-6)
        assert value is None or value == pytest.approx(ours)


def test_classes_without_clips_are_left_out_and_counted(single):
    result = scores(*single, LABELS, multi_label=False)
    assert result.num_classes_without_clips == 1
    fly = result.per_class[4]
    assert (fly.support, fly.recall, fly.average_precision) == (0, None, None)
    without = scores(single[0][:, :4], single[1][:, :4], LABELS[:4], multi_label=False)
    assert result.macro_map == pytest.approx(without.macro_map)
    assert result.balanced_accuracy == pytest.approx(without.balanced_accuracy)


def test_a_class_that_is_predicted_but_does_not_occur():
    probabilities = np.array([[0.2, 0.8], [0.9, 0.1]], dtype=np.float32)
    result = scores(probabilities, np.array([[1, 0], [1, 0]]), ["walk", "fly"], multi_label=False)
    fly = result.per_class[1]
    assert (fly.predicted, fly.precision, fly.recall, fly.f1) == (1, 0, None, 0)
    assert result.confusion == ((1, 1), (0, 0))
    assert result.accuracy == result.balanced_accuracy == 0.5


def test_charades_rule_puts_clips_without_labels_last(multi):
    probabilities, targets = multi
    assert (targets.sum(1) == 0).any()
    result = scores(probabilities, targets, LABELS, multi_label=True)
    lowered = np.where(targets.any(1, keepdims=True), probabilities.astype(float), -1e9)
    each = [reference.average_precision_score(targets[:, i], lowered[:, i]) for i in range(4)]
    assert result.charades_map == pytest.approx(np.mean(each), abs=1e-6)
    assert result.charades_map != pytest.approx(result.macro_map, abs=1e-3)


def test_micro_differs_from_macro_by_hand():
    """Class a ranks its one clip first (1); class b its one clip last of three (1/3)."""
    probabilities = np.array([[0.9, 0.5], [0.1, 0.6], [0.2, 0.7]], dtype=np.float32)
    targets = np.array([[1, 1], [0, 0], [0, 0]], dtype=np.float32)
    totals = summary(probabilities, targets, multi_label=True)
    assert totals["macro_map"] == pytest.approx((1 + 1 / 3) / 2)
    assert totals["micro_map"] == pytest.approx((1 + 2 / 4) / 2)  # ranks 1 and 4 of all six


def test_nothing_predicted_or_no_clips_are_none_not_zero():
    probabilities = np.array([[0.1, 0.2], [0.3, 0.1]], dtype=np.float32)
    result = scores(probabilities, np.zeros((2, 2)), ["a", "b"], multi_label=True)
    assert result.micro_map is result.macro_map is result.charades_map is None
    assert result.per_class[0].precision is result.per_class[0].f1 is None
    assert result.num_classes_without_clips == 2


def test_result_is_json(single):
    result = scores(*single, LABELS, multi_label=False)
    values = json.loads(json.dumps(result.model_dump(), allow_nan=False))
    assert Scores.model_validate(values) == result
    assert values["num_clips"] == 60
    assert values["per_class"][0]["label"] == "walk"


@pytest.mark.parametrize(
    ("probabilities", "targets", "told"),
    [
        (np.ones((3, 2)), np.ones((2, 2)), r"\(3, 2\) and \(2, 2\)"),
        (np.ones((0, 2)), np.ones((0, 2)), "at least one of each"),
        (np.full((1, 2), 1.5), np.eye(2)[:1], "between 0 and 1"),
        (np.full((1, 2), np.nan), np.eye(2)[:1], "between 0 and 1"),
        (np.ones((1, 2)), np.full((1, 2), 0.5), "targets must be 0 or 1"),
        (np.ones((2, 2)), np.array([[1, 0], [1, 1]]), "clip 2 has 2"),
        (np.ones((2, 2)), np.array([[0, 0], [1, 0]]), "clip 1 has 0"),
        (np.ones((1, 3)), np.eye(3)[:1], "3 classes need one label name each; got 2"),
    ],
)
def test_what_does_not_fit_is_refused(probabilities, targets, told):
    with pytest.raises(UsageError, match=told):
        scores(probabilities, targets, ["a", "b"], multi_label=False)
