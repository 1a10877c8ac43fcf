"""Overlays: every frame is there, and colour lies where the probability is and nowhere else."""

import numpy as np
import pytest
from PIL import Image

from actiondiff import Frames, read_video
from actiondiff.errors import UsageError
from actiondiff.inference.localization import Heatmap, LocalizationOptions
from actiondiff.report.overlay import overlay_strip, write_overlay, write_strip
from actiondiff.video.write import write_video

BAR = 26


def heatmap(values, *, frames=(0, 4), prior=0.2, action="eat") -> Heatmap:
    """Two places beside each other; times at ten frames a second."""
    grid = np.repeat(np.array(values, np.float32)[:, None], 2, axis=1)  # (T, 2, 2)
    seconds = np.array(frames) / 10
    options = LocalizationOptions(rows=2, columns=2)
    places = np.array([0.25, 0.75])
    return Heatmap("v", action, seconds, np.array(frames), grid, prior, places, places, options)


@pytest.fixture
def grey(tmp_path):
    """Eight grey frames of 64 x 160."""
    path = tmp_path / "grey.mp4"
    write_video(path, np.full((8, 64, 160, 3), 128, np.uint8), fps=10)
    return path


def test_colour_is_where_and_when_the_probability_is(grey, tmp_path):
    """On the left at first, on the right from the fifth frame on."""
    write_overlay(tmp_path / "new/heat.mp4", grey, heatmap([[0.9, 0.2], [0.2, 0.9]]))
    frames = read_video(tmp_path / "new/heat.mp4", stride=1)
    assert frames.pixels.shape == (8, 240 + BAR, 600, 3)
    assert frames.seconds == pytest.approx(np.arange(8) / 10)
    picture = frames.pixels[:, :240].astype(int)
    saturation = picture.max(-1) - picture.min(-1)
    left, right = saturation[:, :, :120].mean((1, 2)), saturation[:, :, -120:].mean((1, 2))
    assert (left[:4] > 40).all()
    assert (right[4:] > 40).all()
    assert (left[4:] < 8).all()
    assert (right[:4] < 8).all()
    assert frames.pixels[0, 240:].max() > 200  # words in the bar


def test_nothing_above_the_prior_has_no_colour(grey, tmp_path):
    write_overlay(tmp_path / "heat.mp4", grey, heatmap([[0.1, 0.2], [0.2, 0.1]]), height_px=64)
    picture = read_video(tmp_path / "heat.mp4", stride=1).pixels[:, :64].astype(int)
    assert picture.shape[2] == 160
    assert (picture.max(-1) - picture.min(-1)).max() < 8
    fully = tmp_path / "fully.mp4"
    write_overlay(fully, grey, heatmap([[0.1, 0.2], [0.2, 0.1]]), height_px=64, limits=(0.0, 0.1))
    picture = read_video(fully, stride=1).pixels[:, :64].astype(int)
    assert (picture.max(-1) - picture.min(-1)).mean() > 40


def test_frames_in_memory(tmp_path):
    video = Frames(np.full((5, 32, 32, 3), 90, np.uint8), np.arange(5) / 4, np.arange(5) * 3)
    found = heatmap([[0.5, 0.9]] * 5, frames=range(0, 15, 3))
    write_overlay(tmp_path / "heat.mp4", video, found)
    assert len(read_video(tmp_path / "heat.mp4", stride=1)) == 5


def test_strip(grey, tmp_path):
    picture = overlay_strip(grey, heatmap([[0.9, 0.2], [0.2, 0.9]]), height_px=64)
    assert picture.pixels.shape == (64 + BAR, 160 + 2 + 160, 3)
    assert "eat" in picture.caption
    assert "0.90" in picture.caption
    write_strip(tmp_path / "strip.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "strip.png")), picture.pixels)


def test_a_long_name_leaves_room_for_the_colours(grey):
    """What stands right of it is the same, whatever the action is called."""
    width = 600
    bars = {
        name: overlay_strip(grey, heatmap([[0.9, 0.2], [0.2, 0.9]], action=name), height_px=240).pixels[
            240:, :width
        ]
        for name in ("eat", "eating grass " * 20, "бег", "лай")
    }
    assert np.array_equal(bars["eat"][:, 230:], bars["eating grass " * 20][:, 230:])
    assert not np.array_equal(bars["бег"], bars["лай"])  # its letters are drawn, not boxes in their stead


def test_one_sampled_frame_has_the_pace_of_its_file(tmp_path):
    path = tmp_path / "short.mp4"
    write_video(path, np.full((3, 64, 64, 3), 128, np.uint8), fps=5)
    write_overlay(tmp_path / "heat.mp4", path, heatmap([[0.9, 0.2]], frames=(0,)))
    assert read_video(tmp_path / "heat.mp4", stride=1).seconds == pytest.approx([0, 0.2, 0.4])


def test_what_cannot_be_done_is_said(grey, tmp_path):
    found = heatmap([[0.9, 0.2], [0.2, 0.9]])
    for options, said in (
        ({"limits": (0.5, 0.5)}, "lower limit must be below"),
        ({"height_px": 4}, "must be at least 16"),
    ):
        with pytest.raises(UsageError, match=said):
            write_overlay(tmp_path / "heat.mp4", grey, found, **options)
    with pytest.raises(UsageError, match=r"written as \.mp4"):
        write_overlay(tmp_path / "heat.gif", grey, found)
    assert not list(tmp_path.glob("heat*"))
