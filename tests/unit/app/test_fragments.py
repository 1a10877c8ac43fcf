"""The page's results as HTML: what is shown, and that nothing in them is taken for markup."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actiondiff.app.analysis import Findings
from actiondiff.app.fragments import clock, show_findings, show_message, show_timeline
from actiondiff.inference.timeline import Timeline, TimelineOptions
from actiondiff.types import Bout, DecodeReport, DomainCheck, Features, Prediction


def findings(labels, *, seconds=40.0, report=None) -> Findings:
    """Of a video whose first behaviour is seen from 10 to 20 s, and is the most probable."""
    steps = np.arange(0, seconds, 0.5)
    probabilities = np.full((len(steps), len(labels)), 0.1, np.float32)
    probabilities[(steps >= 10) & (steps < 20), 0] = 0.9
    timeline = Timeline(
        "clip.mp4", tuple(labels), steps, np.arange(len(steps)), seconds, probabilities,
        (Bout(labels[0], 10, 20, 0.9),), "sigmoid", dict.fromkeys(labels, 0.5), TimelineOptions(),
    )  # fmt: skip
    values = {label: 0.9 / (place + 1) for place, label in enumerate(labels)}
    features = Features({}, steps, np.arange(len(steps)), "identity", report=report)
    path = Path("clip.mp4")
    return Findings(path, path, features, Prediction("clip.mp4", values, "sigmoid"), timeline, timeline)


def test_bouts_stand_where_they_are():
    text = show_timeline(findings(["eat", "walk"]), {"bouts.csv": "files/x/bouts.csv"})
    (style,) = re.findall(r'class="ad-bout".*?style="([^"]*)"', text, re.S)
    assert style == "left: 25.000%; width: 25.000%"
    assert 'data-seconds="10"' in text
    assert 'href="files/x/bouts.csv" download="bouts.csv"' in text


def test_scores_are_drawn_where_they_are():
    text = show_timeline(findings(["eat", "walk"]), {})
    first, _ = re.findall(r'points="([^"]*)"', text)
    points = np.array([[float(v) for v in pair.split(",")] for pair in first.split()])
    assert points[0].tolist() == [0, 90]
    assert (points[(points[:, 0] >= 250) & (points[:, 0] < 500), 1] == 10).all()
    assert points[-1].tolist() == [1000, 90]


def test_what_others_wrote_is_not_markup():
    hostile = "<img src=x onerror=alert(1)>\"'"
    text = show_findings(findings([hostile, "walk"]), "video")
    text += show_timeline(findings([hostile, "walk"]), {hostile: "address"})
    text += show_message(hostile, kind="error")
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_of_many_behaviours_those_that_matter_are_shown():
    labels = [f"b{number:02}" for number in range(30)]
    text = show_findings(findings(labels), "video") + show_timeline(findings(labels), {})
    assert text.count("data-track") == 12
    assert "18 more behaviours are in the downloads" in text
    assert "22 less probable labels are in predictions.csv" in text


def test_a_partial_video_says_so():
    partial = DecodeReport("partial", "it breaks off", 60, 100)
    text = show_findings(findings(["eat"], report=partial), "video")
    assert "60 % decoded" in text
    assert "Only part of this video decodes: it breaks off" in text


def test_a_video_that_lies_outside_says_so():
    """And no probability that would look like certainty is shown."""
    whole = findings(["eat", "walk"])
    assert "ad-percent" in show_findings(whole, "video")
    domain = DomainCheck({"frame rate": 2.6}, ("1 frame a second; learnt at 6.25",))
    outside = replace(whole, timeline=replace(whole.timeline, domain=domain, bouts=()))
    text = show_findings(outside, "video")
    assert "outside what the model has learnt from" in text
    assert "1 frame a second; learnt at 6.25" in text
    assert "ad-percent" not in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00.0"), (3.04, "0:03.0"), (59.96, "1:00.0"), (75.26, "1:15.3"), (3675, "1:01:15.0")],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_behaviours_have_the_colours_of_reports():
    """The background has none, wherever it stands; up to 24 behaviours have different colours."""
    labels = ["background", *(f"b{number:02}" for number in range(11))]
    text = show_timeline(findings(labels), {})
    assert re.findall(r"ad-row ad-colour-(\d+)", text)[1:] == [str(number) for number in range(1, 12)]
