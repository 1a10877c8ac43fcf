"""Every kind of input that was once read wrongly: `tests/cases/videos`, made by `tests/cases/make.py`."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from tests.conftest import read_rows

from actiondiff.video import decode
from actiondiff.video.decode import iter_video, read_video
from actiondiff.video.probe import check_video, length_seconds

CASES = Path(__file__).parents[2] / "cases"
VIDEOS = CASES / "videos"
ROWS = read_rows(CASES / "index.csv")


def test_every_file_has_a_row_and_is_small():
    assert sorted(path.name for path in VIDEOS.iterdir()) == [row["video"] for row in ROWS]
    assert max(path.stat().st_size for path in VIDEOS.iterdir()) < 300_000


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["video"])
def test_case(row):
    check = check_video(VIDEOS / row["video"])
    report = check.report
    assert report.status == row["status"], report
    assert report.num_frames_decoded == int(row["frames"])
    assert row["says"] in "; ".join([report.reason, *check.notes])
    if row["mended"]:
        assert report.num_times_mended == int(row["mended"])
    if report.status == "failed":
        return
    assert (check.info.width_px, check.info.height_px) == (int(row["width"]), int(row["height"]))
    frames = read_video(VIDEOS / row["video"], stride=1)
    assert frames.pixels.shape[1:3] == (int(row["height"]), int(row["width"]))
    if not row["seconds"]:
        assert check.seconds is None
        assert frames.seconds is None
        return
    assert check.seconds == pytest.approx(float(row["seconds"]), abs=1e-6)
    assert length_seconds(VIDEOS / row["video"]) == pytest.approx(float(row["seconds"]), abs=0.041)
    assert frames.seconds[0] in (0, 0.04)  # the first frame may be lost
    assert (np.diff(frames.seconds) > 0).all()


@pytest.mark.parametrize("row", [row for row in ROWS if row["mended"] == "0"], ids=lambda row: row["video"])
def test_times_that_are_not_mended_are_those_of_the_packets(row):
    """Checked against PyAV's demuxer alone."""
    if row["status"] == "failed" or row["video"].startswith("joined"):
        pytest.skip("no times to compare")
    frames = read_video(VIDEOS / row["video"], stride=1)
    with av.open(str(VIDEOS / row["video"])) as container:
        widths = (int(row["width"]), frames.pixels.shape[2])
        stream = next(s for s in container.streams.video if s.width in widths or "anamorphic" in row["video"])
        times, failures = [], 0
        while failures < 5:
            try:
                times += [p.pts for p in container.demux(stream) if p.size and p.pts is not None]
                break
            except BlockingIOError:
                failures += 1
        base = float(stream.time_base)
    expected = (np.array(sorted(times)) - min(times)) * base
    assert frames.seconds == pytest.approx(expected[frames.frame_index], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "lost"), [("damaged_packet.mp4", 30), ("damaged_packet.avi", 30), ("damaged_packet.mkv", 0)]
)
def test_damage_costs_its_own_frame_and_no_other(name, lost):
    others = [index for index in range(100) if index != lost]
    frames = read_video(VIDEOS / name, stride=1)
    assert frames.frame_index.tolist() == others
    assert frames.seconds == pytest.approx(np.array(others) / 25, abs=1e-3)
    if lost:
        assert read_video(VIDEOS / name, stride=4).frame_index.tolist() == list(range(0, 100, 4))


@pytest.mark.parametrize("name", ["high_speed.mp4", "coarse_clock.mkv"])
def test_spans_have_no_fixed_tolerance(name):
    frames = read_video(VIDEOS / name, stride=1, start_seconds=0.01, end_seconds=0.02)
    assert frames.frame_index.tolist() == list(range(40, 80))


def test_pixels_that_are_not_square_are_stretched():
    """The disc is round in stored pixels."""
    for name in ("anamorphic.mp4", "anamorphic.mkv"):
        bright = read_video(VIDEOS / name, stride=1).pixels[0][..., 0] > 200
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        stored = read_video(VIDEOS / name, stride=1, square=False).pixels
        assert stored.shape[1:3] == (144, 180)
        assert np.ptp(columns) / np.ptp(rows) == pytest.approx(bright.shape[1] / 180, abs=0.1)


def test_a_stream_can_be_chosen():
    path = VIDEOS / "preview_first.mkv"
    assert read_video(path, stride=1, stream=0).pixels.shape == (10, 32, 48, 3)
    reader = iter_video(path, stream=7)
    assert list(reader) == []
    assert reader.report.reason == "the file has no video stream 7; its video streams are: 0, 1"


def test_limits_can_be_raised(monkeypatch):
    monkeypatch.setenv("ACTIONDIFF_MAX_PAUSE", "40000")
    assert read_video(VIDEOS / "long_gap.mkv", stride=1).seconds[50] == pytest.approx(36_002)
    monkeypatch.setenv("ACTIONDIFF_MAX_MEGAPIXELS", "0.001")
    reader = iter_video(VIDEOS / "pause.mkv")
    assert list(reader) == []
    assert "at most 0.001 are allowed" in reader.outside_cause


def test_more_frames_than_bytes_can_hold_fail(monkeypatch):
    monkeypatch.setattr("actiondiff.video.limits._SPARE_FRAMES", 0)
    monkeypatch.setattr("actiondiff.video.limits._BYTES_PER_FRAME", 10**6)
    reader = iter_video(VIDEOS / "pause.mkv")
    list(reader)
    assert reader.report.status == "failed"
    assert "frames come out of" in reader.report.reason


def test_a_video_that_is_replaced_while_it_is_read_fails(tmp_path):
    path = tmp_path / "a.mkv"
    path.write_bytes((VIDEOS / "pause.mkv").read_bytes())
    reader = iter_video(path, stride=1, chunk_frames=10)
    next(reader)
    os.replace(_copy(VIDEOS / "repeated_time.mkv", tmp_path / "b.mkv"), path)
    list(reader)
    assert reader.report.status == "failed"
    assert "replaced or written to" in reader.outside_cause


def test_a_file_that_was_only_touched_is_sound(tmp_path):
    path = _copy(VIDEOS / "pause.mkv", tmp_path / "a.mkv")
    reader = iter_video(path, stride=1, chunk_frames=10)
    next(reader)
    os.utime(path, (1, 1))
    list(reader)
    assert reader.report.status == "ok"


def test_memory_that_does_not_suffice_fails_the_video_alone(monkeypatch):
    def fail(self, frame):
        raise MemoryError

    monkeypatch.setattr(decode._Converter, "__call__", fail)
    reader = iter_video(VIDEOS / "pause.mkv")
    assert list(reader) == []
    assert reader.report.reason == "memory does not suffice for its pictures"


def _copy(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes())
    return target
