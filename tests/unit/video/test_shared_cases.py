"""Small inputs that were once read wrongly, from the shared material: frames, times, size and status."""

import pytest

from actiondiff import read_video
from actiondiff.video.probe import find_videos

RIGHT = {  # file -> frames, seconds of the last one, height and width, status; None: not stated
    "pause_repeat/repeated.mkv": (100, 13.96, None, "ok"),
    "joined_stream/same.ts": (None, 3.96, None, "ok"),
    "joined_stream/goes_back.ts": (None, 3.96, None, "ok"),
    "joined_stream/goes_on.ts": (None, 3.96, None, "ok"),
    "resync/gap_aligned.ts": (200, None, None, None),
    "bad_packet/h264_middle.mp4": (99, 3.96, None, "partial"),
    "bad_packet/mjpeg_middle.avi": (99, 3.96, None, "partial"),
    "two_video_streams/cover_attach.mkv": (50, None, (240, 320), "ok"),
    "two_video_streams/cover_flag.mp4": (50, None, (240, 320), "ok"),
    "two_video_streams/preview_first.mp4": (50, None, (240, 320), "ok"),
    "two_video_streams/preview_first.ts": (50, None, (240, 320), "ok"),
    "anamorphic/pal_wide.mp4": (None, None, (576, 1024), "ok"),
    "high_speed/hs4000.mkv": (200, 0.05, None, "ok"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_videos_that_were_once_read_wrongly(name, shared_dir):
    count, last, size, status = RIGHT[name]
    frames = read_video(shared_dir / "cases" / name, stride=1)
    if count is not None:
        assert len(frames) == count
    if last is not None:
        assert frames.seconds[-1] == pytest.approx(last, abs=0.011)
    if size is not None:
        assert frames.pixels.shape[1:3] == size
    if status is not None:
        assert frames.report.status == status


def test_the_frame_after_the_pause_keeps_its_time(shared_dir):
    frames = read_video(shared_dir / "cases/pause_repeat/repeated.mkv", stride=1)
    assert frames.seconds[50] == pytest.approx(12.0)
    assert sum(frames.seconds[1:] <= frames.seconds[:-1]) == 0


def test_what_file_servers_add_is_no_data(shared_dir):
    assert len(find_videos(shared_dir / "cases/nas_folders/disk")) == 6
