"""Pixels that are not square: stretched where a backbone keeps the shape, and recorded in the store."""

from pathlib import Path

import numpy as np
import pytest

from actiondiff.backbones.base import load_backbone
from actiondiff.errors import SettingsMismatchError
from actiondiff.extraction.api import extract_features, plan_extraction
from actiondiff.features.store import FeatureStore
from actiondiff.types import Sampling

VIDEOS = Path(__file__).parents[2] / "cases" / "videos"


def test_new_stores_of_backbones_that_crop_record_square_pixels(tmp_path):
    crop = load_backbone("random-dinov3-l", fit="crop", height=32, width=32, threads=1)
    squash = load_backbone("random-dinov3-l", fit="squash", height=32, width=32, threads=1)
    video = VIDEOS / "anamorphic.mp4"
    planned = plan_extraction(video, tmp_path / "a", backbone=crop)
    assert planned.sampling.square
    assert planned.settings["sampling"] == {"stride": 4, "pixels": "square"}
    assert plan_extraction(video, tmp_path / "b", backbone=squash).settings["sampling"] == {"stride": 4}


def test_a_store_that_exists_keeps_its_setting(tmp_path):
    crop = load_backbone("random-dinov3-l", fit="crop", height=32, width=32, threads=1)
    settings = {
        "format": 1,
        "backbone": crop.settings,
        "sampling": {"stride": 4},
        "store_dtype": "float32",
    }
    FeatureStore.create(tmp_path / "old", settings=settings, root=VIDEOS)
    assert not plan_extraction(VIDEOS / "anamorphic.mp4", tmp_path / "old", backbone=crop).sampling.square


def test_another_stream_gives_another_store(tmp_path):
    video = VIDEOS / "preview_first.mkv"
    pixels = load_backbone("pixels")
    extract_features(video, tmp_path / "first", backbone=pixels, stream=0)
    store = FeatureStore.open(tmp_path / "first")
    assert store.settings["sampling"] == {"stride": 4, "stream": 0}
    assert len(store.read("preview_first.mkv")) == 3  # of 10 frames
    extract_features(video, tmp_path / "first", backbone=pixels)  # goes on as the store was begun
    with pytest.raises(SettingsMismatchError):
        extract_features(video, tmp_path / "first", backbone=pixels, stream=1)


@pytest.mark.parametrize(
    "sampling", [Sampling(4), Sampling(fps=5.0), Sampling(2, stream=1), Sampling(1, square=True)]
)
def test_settings_give_the_sampling_back(sampling):
    assert Sampling.from_settings(sampling.settings) == sampling


def test_a_video_beyond_a_limit_or_replaced_fails_alone_and_is_tried_again(tmp_path, monkeypatch):
    videos = [VIDEOS / "pause.mkv", VIDEOS / "long_gap.mkv", VIDEOS / "huge_picture.mp4"]
    summary = extract_features(videos, tmp_path / "store", backbone=load_backbone("pixels"))
    assert sorted(summary.failed) == ["huge_picture.mp4", "long_gap.mkv"]
    monkeypatch.setenv("ACTIONDIFF_MAX_PAUSE", "40000")
    again = extract_features(videos, tmp_path / "store", backbone=load_backbone("pixels"))
    assert sorted(again.failed) == ["huge_picture.mp4"]
    seconds = FeatureStore.open(tmp_path / "store").read("long_gap.mkv").seconds
    assert np.diff(seconds).max() > 35_000


def test_extract_says_what_was_mended(tmp_path):
    summary = extract_features(
        VIDEOS / "repeated_time.mkv", tmp_path / "store", backbone=load_backbone("pixels")
    )
    assert summary.ok
    assert summary.mended["repeated_time.mkv"].startswith("times of 1 frame(s) are mended")
    report = FeatureStore.open(tmp_path / "store").read("repeated_time.mkv").report
    assert report.times_repaired
    assert report.num_times_mended == 1
