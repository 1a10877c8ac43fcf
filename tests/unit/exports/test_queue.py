"""What to label next: the least certain first, as a table to be filled in."""

from dataclasses import replace

import numpy as np
import pytest

from actiondiff.datasets.table import read_table
from actiondiff.exports.queue import certainty, clip_queue, stretch_queue, write_queue
from actiondiff.inference.options import TimelineOptions
from actiondiff.inference.timeline import Timeline
from actiondiff.types import DomainCheck, Prediction


def test_certainty():
    values = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    assert certainty(values, "softmax") == pytest.approx([0.2, 0.7])
    assert certainty(values, "sigmoid") == pytest.approx([0.0, 0.6])
    assert certainty(np.ones((2, 1)), "softmax").tolist() == [1, 1]


def test_clips(tmp_path):
    clips = [
        Prediction(str(tmp_path / f"v/{name}.mp4"), {"eat": p, "run": 1 - p}, "softmax")
        for name, p in (("sure", 0.9), ("torn", 0.45), ("so-so", 0.7))
    ]
    rows = clip_queue(clips, most=2)
    write_queue(tmp_path / "out/queue.csv", rows)
    table = read_table(tmp_path / "out/queue.csv")
    assert [(e.video, e.labels, e.columns["suggestion"]) for e in table.examples] == [
        ("../v/torn.mp4", (), "run"),
        ("../v/so-so.mp4", (), "eat"),
    ]
    assert float(table.examples[0].columns["certainty"]) == pytest.approx(0.1)


def test_stretches_are_as_long_as_what_a_score_looks_at():
    """Six steps of half a second, in stretches of a second: the middle one is torn."""
    first = np.array([0.9, 0.9, 0.5, 0.6, 0.1, 0.1], np.float32)
    timeline = Timeline(
        "v.mp4", ("eat", "run"), np.arange(6) / 2, np.arange(6), 2.9, np.stack([first, 1 - first], axis=1),
        (), "softmax", {}, TimelineOptions(span_seconds=1.0),
    )  # fmt: skip
    rows = stretch_queue([timeline], most=9)
    assert [(row["start_seconds"], row["end_seconds"], row["suggestion"]) for row in rows] == [
        ("1.000", "2.000", "eat"), ("0.000", "1.000", "eat"), ("2.000", "2.900", "run"),
    ]  # fmt: skip
    assert [float(row["certainty"]) for row in rows] == pytest.approx([0.1, 0.8, 0.8])
    other = replace(timeline, video="a.mp4")
    assert [row["video"] for row in stretch_queue([timeline, other], most=2)] == ["a.mp4", "v.mp4"]


def test_videos_that_lie_outside_come_first_the_farthest_at_the_head():
    """Whatever the model's certainty; of a long one some stretches only, so that others are listed, too."""
    domains = {"near": DomainCheck({"features": 0.5}), "far": DomainCheck({"features": 9.0}, ("dark",)),
               "out": DomainCheck({"frame rate": 1.5}, ("slow",)), "none": None}  # fmt: skip
    sure = {"near": 0.5, "far": 0.99, "out": 0.95, "none": 0.6}
    clips = [
        Prediction(name, {"eat": p, "run": 1 - p}, "softmax", domain=domains[name])
        for name, p in sure.items()
    ]
    rows = clip_queue(clips, most=9)
    assert [(row["video"], row["outside"]) for row in rows] == [
        ("far", "dark"), ("out", "slow"), ("near", ""), ("none", ""),
    ]  # fmt: skip
    scores = np.stack([np.linspace(0.6, 0.99, 12), 1 - np.linspace(0.6, 0.99, 12)], axis=1)
    long = [
        Timeline(
            name, ("eat", "run"), np.arange(12.0), np.arange(12), 12.0, scores.astype(np.float32), (),
            "softmax", {}, TimelineOptions(span_seconds=1.0), domain=domains[name],
        )
        for name in ("near", "out")
    ]  # fmt: skip
    assert [row["video"] for row in stretch_queue(long, most=5)] == ["out", "out", "out", "near", "near"]
    assert [row["start_seconds"] for row in stretch_queue(long, most=4)] == [
        "0.000",
        "1.000",
        "2.000",
        "0.000",
    ]
