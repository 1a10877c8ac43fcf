"""A video with other times between its frames than the training videos is warned of."""

from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import random_frames, store_settings

from actiondiff import read_video
from actiondiff.heads import build_head
from actiondiff.heads.bundle import ModelConfig
from actiondiff.heads.options import HeadOptions
from actiondiff.inference.frame_rate import chosen_sampling, frame_seconds, frames_per_token, warn_of_rate
from actiondiff.types import FeatureKey, Features, Sampling
from actiondiff.video.write import write_video


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
        backbone={"name": "tiny"},
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


@pytest.mark.parametrize(
    ("fps", "learnt", "expected"),
    [
        (25, (0.16, 0.16), Sampling(stride=4)),
        (24, (0.16, 0.16), Sampling(stride=4)),  # so little counts as the same
        (50, (0.16, 0.16), Sampling(fps=6.25)),
        (50, (0.08, 0.16), Sampling(stride=4)),  # some training videos had this rate
        (1, (0.16, 0.16), Sampling(fps=6.25)),
        (50, None, Sampling(stride=4)),
    ],
)
def test_sampling_follows_time_where_rates_differ(fps, learnt, expected, tmp_path):
    write_video(tmp_path / "v.mp4", np.zeros((40, 16, 16, 3), np.uint8), fps=fps)
    known = {"frame_seconds": 0.16, "frame_seconds_range": learnt} if learnt else {}
    model = config(features=store_settings(name="tiny"), **known)
    sampling = chosen_sampling(model, tmp_path / "v.mp4")
    assert sampling == expected
    if expected.fps:
        steps = np.diff(read_video(tmp_path / "v.mp4", stride=None, fps=sampling.fps).seconds)
        assert np.median(steps) == pytest.approx(max(0.16, 1 / fps))  # as the file can give it


@pytest.mark.parametrize(
    ("fps", "expected"), [(25, Sampling(stride=4)), (50, Sampling(fps=6.25)), (6.25, Sampling(fps=6.25))]
)
def test_a_token_may_cover_several_frames(fps, expected, tmp_path):
    """Tokens of two frames each are 0.32 s apart where frames are 0.16 s apart."""
    write_video(tmp_path / "v.mp4", np.zeros((40, 16, 16, 3), np.uint8), fps=fps)
    values = {"frame_seconds": 0.32, "frame_seconds_range": (0.32, 0.32), "frames_per_token": 2}
    model = config(features=store_settings(name="vjepa-l"), **values)
    assert chosen_sampling(model, tmp_path / "v.mp4") == expected


def test_frames_per_token_follow_from_the_numbers_of_frames():
    def numbered(step):
        return replace(features(0.1), frame_index=np.arange(5) * step)

    assert frames_per_token([numbered(4), numbered(4)], Sampling(stride=4)) == 1
    assert frames_per_token([numbered(8), features(0.1, count=1)], Sampling(stride=4)) == 2
    assert frames_per_token([numbered(8)], Sampling(fps=6.0)) == 1
    assert frames_per_token([], Sampling(stride=4)) == 1


def test_what_cannot_be_read_is_sampled_as_the_training_videos(tmp_path):
    model = config(features=store_settings(name="tiny"), frame_seconds=0.16)
    (tmp_path / "bad.mp4").write_text("no video")
    for video in (tmp_path / "bad.mp4", tmp_path / "none.mp4", tmp_path, random_frames()):
        assert chosen_sampling(model, video) == Sampling(stride=4)
