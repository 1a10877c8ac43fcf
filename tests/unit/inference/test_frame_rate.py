"""A video with other times between its frames than the training videos is warned of."""

import numpy as np
import pytest
from tests.conftest import store_settings

from actiondiff.heads import build_head
from actiondiff.heads.bundle import ModelConfig
from actiondiff.heads.options import HeadOptions
from actiondiff.inference.frame_rate import frame_seconds, warn_of_rate
from actiondiff.types import FeatureKey, Features


def features(step: float, count: int = 5) -> Features:
    return Features(
        {FeatureKey(20, "layer3"): np.zeros((count, 4), np.float32)},
        np.arange(count) * step,
        np.arange(count),
        "0" * 64,
        num_windows=1,
        window_length=count,
    )


def config(**values) -> ModelConfig:
    head = build_head(HeadOptions(name="mean-linear"), 4, 2)
    return ModelConfig.for_head(
        head,
        labels=["eat", "run"],
        activation="softmax",
        keys=["t20.layer3"],
        backbone=store_settings()["backbone"],
        feature_fingerprint="0",
        **values,
    )


@pytest.mark.parametrize(
    ("step", "warned"), [(1.0, True), (0.16, False), (0.2, False), (0.05, True), (0.25, False)]
)
def test_other_rates_are_warned_of(step, warned, caplog):
    assert warn_of_rate(config(frame_seconds=0.16), features(step), f"{step}.mp4") is warned
    if step == 1.0:
        assert "1 frames a second were read; the model has learnt from 6.25" in caplog.text


def test_what_is_not_known_is_not_warned_of():
    assert frame_seconds(features(1.0, count=1)) is None
    assert not warn_of_rate(config(frame_seconds=0.16), features(1.0, count=1), "one frame")
    assert not warn_of_rate(config(), features(1.0), "an older model")
