"""Which clips are shown, and from where."""

import numpy as np
import pandas as pd
import pytest

from actiondiff.report.clips import (
    CaptionedClip,
    find_video,
    label_mistakes,
    pictures,
    worst_confusions,
)
from actiondiff.video.write import write_video


def table(rows, labels):
    """Rows of video, label, and the labels' probabilities."""
    frame = pd.DataFrame(rows, columns=["video", "label", *[f"p({label})" for label in labels]])
    best = frame[[f"p({label})" for label in labels]].to_numpy().argmax(1)
    return frame.assign(start_seconds=np.nan, end_seconds=np.nan, predicted=[labels[i] for i in best])


def test_the_pair_confused_most_often_comes_first_its_surest_clip_first():
    rows = [
        ("1", "a", 0.9, 0.1, 0),
        ("2", "a", 0.4, 0.6, 0),
        ("3", "a", 0.2, 0.8, 0),
        ("4", "b", 0, 0.1, 0.9),
    ]
    found = worst_confusions(table(rows, "abc"))
    assert [(m.title, m.count, [c.video for c in m.clips]) for m in found] == [
        ("a, predicted as b", 2, ["3", "2"]),
        ("b, predicted as c", 1, ["4"]),
    ]
    assert found[0].clips[0].caption == "3: p(b) = 0.80, p(a) = 0.20"
    assert len(worst_confusions(table(rows, "abc"), most=1, each=1)[0].clips) == 1
    assert worst_confusions(table(rows[:1], "abc")) == []


def test_labels_added_and_missed():
    rows = [("1", "a;b", 0.9, 0.3), ("2", "", 0.7, 0.1), ("3", "b", 0.8, 0.05), ("4", "a", 0.9, 0.2)]
    added, missed = label_mistakes(table(rows, "ab"), "ab")
    assert (added.count, [c.caption for c in added.clips]) == (2, ["a: p = 0.80 in 3, labelled b"])
    assert (missed.count, [c.caption for c in missed.clips]) == (2, ["b: p = 0.05 in 3, labelled b"])
    assert [m.title for m in label_mistakes(table(rows[3:], "ab"), "ab")] == []


@pytest.fixture
def videos(tmp_path):
    pixels = np.repeat(np.arange(0, 240, 12, dtype=np.uint8), 32 * 32 * 3).reshape(20, 32, 32, 3)
    write_video(tmp_path / "v" / "a.mp4", pixels, fps=10)
    (tmp_path / "v" / "broken.mp4").write_bytes(b"no video")
    return tmp_path


def test_frames_are_of_the_span_and_absent_videos_are_named(videos):
    clips = [
        CaptionedClip("a.mp4", 1.0, None, "late"),
        CaptionedClip("broken.mp4", None, None, ""),
        CaptionedClip("b.mp4", None, None, ""),
    ]
    (shown,), absent = pictures(clips, [videos, videos / "v"], num_frames=2, height_px=32)
    assert absent == ["broken.mp4", "b.mp4"]
    assert shown.caption == "late"
    assert shown.pixels.shape == (32, 66, 3)
    assert shown.pixels[:, :32].mean() > 110  # the first second is darker


def test_first_folder_that_has_the_video(videos):
    assert find_video("a.mp4", [videos / "none", videos / "v"]) == videos / "v" / "a.mp4"
    assert find_video("v", [videos]) is None
