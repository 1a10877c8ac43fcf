"""How values show themselves at a prompt and in a notebook."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from tests.conftest import random_frames

from actiondiff.inference.options import TimelineOptions
from actiondiff.inference.timeline import Timeline
from actiondiff.types import Bout, DomainCheck, FeatureKey, Features, Frames, Prediction

DATA = re.compile(r'src="data:image/png;base64,([^"]+)"')


def pictures(html):
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in DATA.findall(html)]


def test_frames_are_a_strip_of_pictures():
    pixels = random_frames(20, height=30, width=60).pixels
    frames = Frames(pixels, np.arange(20) / 10)
    assert repr(frames) == "Frames(20 frames, 0.00 to 1.90 s, 60 x 30)"
    html = frames._repr_html_()
    assert [picture.size for picture in pictures(html)] == [(180, 90)] * 8
    assert "0.00 s" in html
    assert "1.90 s" in html


def test_frames_without_times_have_numbers():
    frames = random_frames(1)
    assert repr(Frames(frames.pixels)).startswith("Frames(1 frame, times unknown")
    assert "frame 0" in Frames(frames.pixels)._repr_html_()


def test_features_are_a_table_and_a_picture():
    tokens = {FeatureKey.of(20, 9): np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)}
    features = Features(tokens, np.arange(5.0), np.arange(5), "id")
    assert repr(features) == "Features(5 tokens, 0.00 to 4.00 s; t20.layer9: 7 wide)"
    html = features._repr_html_()
    assert "<td>t20.layer9</td><td>5 x 7</td>" in html
    (picture,) = pictures(html)
    values = np.asarray(picture)[1::2]  # rows were doubled
    assert values.shape[0] == 7
    empty = Features({key: value[:0] for key, value in tokens.items()}, np.zeros(0), np.zeros(0, int), "id")
    assert pictures(empty._repr_html_()) == []


def test_predictions_are_bars_of_safe_text():
    prediction = Prediction("a.mp4", {"walk": 0.2, "<b>eat</b>": 0.7, "sit": 0.1}, "softmax")
    assert repr(prediction) == "Prediction('a.mp4': <b>eat</b> 0.70, walk 0.20, sit 0.10)"
    html = prediction._repr_html_()
    assert "<b>" not in html
    assert html.index("&lt;b&gt;eat") < html.index("walk") < html.index("sit")
    assert [float(x) for x in re.findall(r'width="([\d.]+)" height="16"', html)] == pytest.approx(
        [210, 60, 30]
    )


def test_many_labels_are_summed_up():
    prediction = Prediction("a.mp4", {f"c{n}": 1 / 50 for n in range(50)}, "sigmoid")
    assert "and 40 less probable" in prediction._repr_html_()


def test_what_lies_outside_is_said():
    check = DomainCheck({"brightness": 3.0}, ("too dark",))
    prediction = Prediction("a.mp4", {"walk": 1.0}, "softmax", domain=check)
    assert repr(prediction).endswith("outside what the model has learnt from)")


def test_timelines_are_a_picture_of_bouts():
    timeline = Timeline(
        video="a.mp4", labels=("eat", "sit", "walk"), seconds=np.arange(10.0), frame_index=np.arange(10),
        end_seconds=10.0, probabilities=np.zeros((10, 3), np.float32),
        bouts=(Bout("walk", 0.0, 5.0), Bout("eat", 5.0, 10.0)), activation="softmax", thresholds={},
        options=TimelineOptions(),
    )  # fmt: skip
    assert repr(timeline) == "Timeline('a.mp4': 2 bouts in 10.0 s)"
    html = timeline._repr_html_()
    assert "walk, 0.00 to 5.00 s" in html
    assert ">sit<" not in html
    spans = re.findall(r'<rect x="([\d.]+)" y="(\d+)" width="([\d.]+)"', html)
    assert [(float(x), int(y), float(w)) for x, y, w in spans] == [(150, 25, 320), (470, 3, 320)]
