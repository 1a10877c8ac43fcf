"""Writing videos, and reading them back."""

import numpy as np
import pytest

from actiondiff.errors import UsageError
from actiondiff.video.decode import read_video
from actiondiff.video.probe import probe
from actiondiff.video.write import write_video


def ramps(count=12, height=48, width=64):
    """(T, H, W, 3) uint8: smooth pictures that move."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    return np.stack([(3 * x + 4 * t) % 256 // 2, 3 * y, 120 + 2 * t + 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("fps", [1, 25, 29.97, 30000 / 1001, 12.5])
def test_what_was_written_is_read_back(tmp_path, fps):
    pixels = ramps()
    write_video(tmp_path / "deep/a.mp4", pixels, fps=fps)
    frames = read_video(tmp_path / "deep/a.mp4", stride=1)
    assert frames.report.status == "ok"
    assert frames.pixels.shape == pixels.shape
    assert np.abs(frames.pixels.astype(int) - pixels).mean() < 5
    assert frames.seconds == pytest.approx(np.arange(12) / fps, rel=1e-4)
    info = probe(tmp_path / "deep/a.mp4")
    assert (info.codec, info.pixel_format, info.num_frames_from_header) == ("h264", "yuv420p", 12)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.mp4"]


def test_the_same_frames_give_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, ramps(10, 256, 256), fps=10)
    written = (tmp_path / "a.mp4").read_bytes()
    assert written == (tmp_path / "b.mp4").read_bytes()
    assert b" threads=1 " in written  # x264 notes its settings; others would depend on the machine


def test_views_and_single_frames_can_be_written(tmp_path):
    turned = np.rot90(ramps(1), axes=(1, 2))
    write_video(tmp_path / "a.mp4", turned, fps=5)
    frames = read_video(tmp_path / "a.mp4")
    assert frames.pixels.shape == (1, 64, 48, 3)
    assert np.abs(frames.pixels.astype(int) - turned).mean() < 5


@pytest.mark.parametrize(
    ("name", "pixels", "fps", "message"),
    [
        ("a.avi", ramps(), 10, r"written as \.mp4"),
        ("a.mp4", ramps(height=47), 10, "even width and height; got 64x47"),
        ("a.mp4", ramps(width=63), 10, "even width and height; got 63x48"),
        ("a.mp4", ramps()[0], 10, r"\(T, H, W, 3\) uint8"),
        ("a.mp4", ramps()[:0], 10, r"\(T, H, W, 3\) uint8"),
        ("a.mp4", ramps().astype(float), 10, "float64"),
        ("a.mp4", ramps(), 0, "fps must be above 0"),
    ],
)
def test_what_cannot_be_written_is_said_and_leaves_no_file(tmp_path, name, pixels, fps, message):
    with pytest.raises(UsageError, match=message):
        write_video(tmp_path / name, pixels, fps=fps)
    assert list(tmp_path.iterdir()) == []


def test_an_error_half_way_keeps_the_old_file(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", ramps(), fps=10)
    before = (tmp_path / "a.mp4").read_bytes()
    monkeypatch.setattr(np, "ascontiguousarray", lambda picture: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_video(tmp_path / "a.mp4", ramps()[::-1], fps=10)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == before
