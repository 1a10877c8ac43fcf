"""Scores over time and bouts: from a head whose answers are known, and by hand."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from actiondiff.errors import UsageError
from actiondiff.heads import build_head
from actiondiff.heads.bundle import ModelConfig
from actiondiff.heads.options import HeadOptions
from actiondiff.inference.timeline import (
    TimelineOptions,
    cut_timeline,
    find_bouts,
    make_timeline,
    score_timeline,
    span_scores,
)
from actiondiff.types import DecodeReport, FeatureKey, Features

KEY = FeatureKey(20, "layer9")
CONFIG = {
    "labels": ["eat", "run"],
    "activation": "softmax",
    "keys": [str(KEY)],
    "features": {"store_dtype": "float32"},
    "backbone": {},
    "feature_fingerprint": "0",
    "span_tokens": 3,
}


def head_of_means(temperature=1.0):
    """Logits: 10 times the mean of each of the two channels."""
    head = build_head(HeadOptions(name="mean-linear", max_tokens=9), 2, 2).eval()
    linear = next(module for module in head.modules() if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        linear.weight.copy_(10 * torch.eye(2))
        linear.bias.zero_()
    head.temperature = temperature
    return head


def timeline_of(features):
    head = head_of_means()
    return make_timeline(head, ModelConfig.for_head(head, **CONFIG), features, "v.mp4")


def features(values, *, seconds=True, period=0.5, **more) -> Features:
    """Tokens (v, -v), one every `period` seconds, each of four raw frames."""
    tokens = np.array([[v, -v] for v in values], dtype=np.float32)
    times = np.arange(len(values)) * period if seconds else None
    return Features({KEY: tokens}, times, np.arange(len(values)) * 4, "x", **more)


def timeline(values, *, head=None, config=None, **options):
    head = head or head_of_means()
    config = ModelConfig.for_head(head, **CONFIG | (config or {}))
    return make_timeline(head, config, features(values), "v.mp4", options=TimelineOptions(**options))


def spans(found):
    return [(bout.label, bout.start_seconds, bout.end_seconds) for bout in found.bouts]


def test_scores_are_cut_again_as_if_for_the_first_time():
    """By whatever options they were cut before, and with the model's own where none are given."""
    values = np.sin(np.arange(40))
    head = head_of_means()
    config = ModelConfig.for_head(head, **CONFIG | {"timeline": {"min_seconds": 0.7}})
    raw = score_timeline(head, config, features(values), "v.mp4", options=TimelineOptions(threshold=0.9))
    for options in ({}, {"threshold": 0.8}, {"min_seconds": 2}, {"smooth_seconds": 3, "max_gap_seconds": 1}):
        expected = timeline(values, head=head, config={"timeline": {"min_seconds": 0.7}}, **options)
        again = cut_timeline(raw, config, options=TimelineOptions(**options))
        assert again.bouts == expected.bouts
        assert np.array_equal(again.probabilities, expected.probabilities)
        assert (again.options, again.thresholds) == (expected.options, expected.thresholds)


def test_a_span_is_centred_and_cut_at_the_ends():
    """Span of three: the middle one sees -1, 1, 1; the first sees two tokens only."""
    scores = span_scores(
        head_of_means(), features([-1, 1, 1]).tokens[KEY], span=3, step=1, activation="softmax"
    )
    logits = 20 * np.array([0.0, 1 / 3, 1.0])  # difference of the two classes' logits
    assert scores[:, 0] == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    assert scores.sum(1) == pytest.approx(1)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50])
def test_any_step_gives_the_same_scores_at_its_centres(step):
    values = np.sin(np.arange(20))
    tokens = features(values).tokens[KEY]
    each = span_scores(head_of_means(), tokens, span=4, step=1, activation="sigmoid")
    some = span_scores(head_of_means(), tokens, span=4, step=step, activation="sigmoid")
    assert some.shape == each.shape
    assert np.abs(some[::step] - each[::step]).max() < 1e-6
    if step == 2:
        assert some[1] == pytest.approx((each[0] + each[2]) / 2, abs=1e-6)


def test_times_and_bouts():
    found = timeline([1, 1, 1, 1, -1, -1, -1, 1, 1], span_seconds=0.5)
    assert spans(found) == [("eat", 0, 2), ("run", 2, 3.5), ("eat", 3.5, 4.5)]
    assert found.end_seconds == 4.5
    assert found.active[:, 0].tolist() == [True] * 4 + [False] * 3 + [True] * 2
    assert found.budget() == {"eat": 3.0, "run": 1.5}
    assert found.bouts[0].probability == pytest.approx(1, abs=1e-6)


def test_the_last_token_ends_with_the_video():
    """Nine tokens of four frames each at 8 frames a second; of the last only one frame decoded: 4.125 s."""
    report = DecodeReport("ok", num_frames_decoded=33)
    found = timeline_of(features([1] * 9, report=report))
    assert found.end_seconds == pytest.approx(4 + 1 / 8)
    assert found.coverage == 1


def test_no_time_is_too_long_to_smooth_over():
    """It takes no more memory than the video's own length, and there is no endless time."""
    whole = timeline([1, 1, -1, 1, 1], span_seconds=0.5, smooth_seconds=1e12)
    assert np.ptp(whole.probabilities, axis=0) == pytest.approx(0, abs=0.2)
    for name in ("smooth_seconds", "span_seconds", "step_seconds"):
        with pytest.raises(ValidationError, match="finite"):
            TimelineOptions(**{name: float("inf")})


def test_smoothing_is_a_centred_mean():
    raw = timeline([1, 1, -1, 1, 1], span_seconds=0.5)
    smooth = timeline([1, 1, -1, 1, 1], span_seconds=0.5, smooth_seconds=1.5)
    assert smooth.probabilities[2] == pytest.approx(raw.probabilities[1:4].mean(0), abs=1e-6)
    assert smooth.probabilities.sum(1) == pytest.approx(1)
    assert spans(smooth) == [("eat", 0, 2.5)]


def test_thresholds_of_the_model_and_ones_own():
    values = [0.1, 0.1, 0.1, 0.1]  # p(eat) = 1 / (1 + exp(-2)) = 0.88
    assert spans(timeline(values)) == [("eat", 0, 2)]
    assert spans(timeline(values, config={"thresholds": {"eat": 0.9, "run": 0.5}})) == []
    assert spans(timeline(values, config={"thresholds": {"eat": 0.9}}, threshold=0.8)) == [("eat", 0, 2)]
    assert spans(timeline(values, head=head_of_means(4.0), threshold=0.8)) == []  # less sure: 0.62
    found = timeline(values, config={"timeline": {"smooth_seconds": 2.0}}, min_seconds=1.0)
    assert (found.options.smooth_seconds, found.options.min_seconds) == (2.0, 1.0)


def test_several_labels_at_a_time():
    probabilities = np.array([[0.9, 0.6], [0.9, 0.6], [0.4, 0.6]], dtype=np.float32)
    edges = np.array([0.0, 1, 2, 3])
    thresholds = {"eat": 0.5, "run": 0.5}
    both = find_bouts(
        probabilities, edges, ["eat", "run"], thresholds, exclusive=False, options=TimelineOptions()
    )
    assert [(b.label, b.start_seconds, b.end_seconds) for b in both] == [("eat", 0, 2), ("run", 0, 3)]
    assert both[1].probability == pytest.approx(0.6)
    one = find_bouts(
        probabilities, edges, ["eat", "run"], thresholds, exclusive=True, options=TimelineOptions()
    )
    assert [(b.label, b.start_seconds, b.end_seconds) for b in one] == [("eat", 0, 2), ("run", 2, 3)]


def found_in(text: str, *, exclusive=True, **options) -> list[str]:
    """Bouts of a line of one-second steps, each an `e`, an `r`, or a `.` below every threshold."""
    values = np.array([[x == "e", x == "r"] for x in text], dtype=np.float32)
    bouts = find_bouts(values, np.arange(len(text) + 1.0), ["e", "r"], {"e": 0.5, "r": 0.5},
                       exclusive=exclusive, options=TimelineOptions(**options))  # fmt: skip
    return [f"{b.label}{b.start_seconds:g}-{b.end_seconds:g}" for b in bouts]


def test_gaps_and_short_bouts():
    assert found_in("ee.ee") == ["e0-2", "e3-5"]
    assert found_in("ee.ee", max_gap_seconds=1) == ["e0-5"]
    assert found_in("ee..ee", max_gap_seconds=1) == ["e0-2", "e4-6"]
    assert found_in("e.e.e", min_seconds=2) == []
    assert found_in("e.e.e", min_seconds=2, max_gap_seconds=1) == ["e0-5"]  # gaps are closed first
    assert found_in("eeree", max_gap_seconds=1) == ["e0-2", "r2-3", "e3-5"]  # something else lies between
    assert found_in("eeree", max_gap_seconds=1, min_seconds=2) == ["e0-5"]  # until it is left out
    assert found_in("eeree", max_gap_seconds=1, exclusive=False) == ["e0-5", "r2-3"]
    assert found_in("rree", background="r") == ["e2-4"]
    assert found_in("...") == []


def test_without_times_there_is_no_timeline():
    with pytest.raises(UsageError, match=r"times of the frames of v\.mp4 are unknown"):
        timeline_of(features([1, 2], seconds=False))


def test_one_frame():
    found = timeline_of(features([1]))
    assert spans(found) == [("eat", 0, 1)]
