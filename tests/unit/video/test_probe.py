"""Finding, probing and checking videos."""

import os

import numpy as np
import pytest

from actiondiff.errors import UsageError, VideoError
from actiondiff.video.probe import check_video, check_videos, probe
from actiondiff.video.search import find_videos, search_videos


def test_probe_tells_the_header(studio):
    info = probe(studio.encode("a.mkv", 15, rate=10, audio_seconds=3, turn={"degrees": 90, "hflip": True}))
    assert (info.container, info.codec, info.pixel_format) == ("matroska,webm", "h264", "yuv420p")
    assert info.average_rate == 10
    assert info.num_frames_from_header is None
    assert info.duration_seconds == pytest.approx(1.5)  # the pictures', not the sound's
    assert info.has_audio
    turned = probe(studio.encode("b.mp4", 15, rate=10, turn={"degrees": 90, "hflip": True}))
    assert (turned.width_px, turned.height_px) == (48, 64)
    assert turned.is_mirrored
    assert turned.rotation_degrees == -90  # mirror left-right, then turn clockwise
    assert turned.num_frames_from_header == 15
    assert not turned.has_audio


def test_probe_of_what_is_no_video(studio, tmp_path):
    with pytest.raises(VideoError, match="is not a file"):
        probe(tmp_path)
    with pytest.raises(VideoError, match=r"a\.m4a: the file has no video stream"):
        probe(studio.sound("a.m4a"))


def test_a_duration_that_is_not_so_is_noted(studio):
    """Thirty pictures from 5 s on: Matroska says when they end, not how long they last."""
    late = check_video(studio.encode("late.mkv", 30, milliseconds=[5000 + 40 * i for i in range(30)]))
    assert any(note.startswith("its pictures last 1.20 s, not the 6.") for note in late.notes)
    plain = check_video(studio.encode("a.mkv", 30, audio_seconds=3))
    assert not any("pictures last" in note for note in plain.notes)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_videos_are_found_by_suffix_in_posix_order(tmp_path):
    touch(
        tmp_path, "b/1.mp4", "a.AVI", "B.MkV", "b.mts", "b/deep/er/2.WEBM", "notes.txt", "mp4", "x.mp4.part"
    )
    touch(tmp_path, ".hidden.mp4", ".cache/3.mp4", "b/._1.mp4")
    found = [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)]
    assert found == ["B.MkV", "a.AVI", "b.mts", "b/1.mp4", "b/deep/er/2.WEBM"]


def test_files_given_by_name_are_taken_whatever_their_suffix_and_once(tmp_path):
    touch(tmp_path, "f/a.mp4", "f/b.mp4", "recording.dat", ".hidden.mp4")
    given = [tmp_path / "recording.dat", str(tmp_path / "f/b.mp4"), tmp_path / "f", tmp_path / ".hidden.mp4"]
    names = [path.name for path in find_videos(given)]
    assert names == [".hidden.mp4", "a.mp4", "b.mp4", "recording.dat"]


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"nope\.mp4 does not exist"):
        find_videos([tmp_path, tmp_path / "nope.mp4"])


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "disk/a.mp4", "here/b.mp4")
    os.symlink(tmp_path / "disk", tmp_path / "here/disk")
    os.symlink(tmp_path / "here", tmp_path / "here/again")
    os.symlink(tmp_path / "disk/a.mp4", tmp_path / "here/c.mp4")
    os.symlink(tmp_path / "gone.mp4", tmp_path / "here/broken.mp4")
    found = [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path / "here")]
    assert found == ["here/b.mp4", "here/broken.mp4", "here/c.mp4", "here/disk/a.mp4"]
    assert check_video(tmp_path / "here/broken.mp4").report.status == "failed"


def test_check_says_nothing_of_an_ordinary_video(studio):
    def colourful(index, width, height):
        picture = np.full((height, width, 3), (200, 100, 40), np.uint8)
        picture[:, : 2 * index] //= 2
        return picture

    path = studio.encode("a.mp4", 40, width=160, height=120, draw=colourful)
    found = check_video(path)
    assert found.report.status == "ok"
    assert found.notes == ()
    assert found.num_bytes == path.stat().st_size
    assert found.info.width_px == 160


def test_check_names_what_is_odd(studio):
    uneven = [33 * index if index < 5 else 33 * index + 400 for index in range(12)]
    path = studio.encode("a.mp4", 12, milliseconds=uneven, turn={"degrees": 180})
    assert check_video(path).notes == (
        "variable frame rate: 0.033 to 0.433 s between frames",
        "turned by 180 degrees for showing",
        "grayscale pictures",
        "only 12 frames",
        "small pictures: 64x48 px",
    )
    dark = studio.encode("b.mp4", draw=lambda index, width, height: np.full((height, width, 3), 3, np.uint8))
    assert check_video(dark).notes[0].startswith("very dark: mean brightness")
    raw = check_video(studio.encode("a.h264"))
    assert raw.notes[0].startswith("times of 30 frame(s) are mended: the stream has no times")


def test_check_reports_damage_instead_of_raising(studio, tmp_path):
    short = studio.cut(studio.encode("a.mkv", 60), 0.6)
    assert check_video(short).report.status == "partial"
    assert check_video(short).info.duration_seconds == pytest.approx(2.0)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    found = check_video(empty)
    assert (found.report.status, found.info, found.num_bytes) == ("failed", None, 0)
    assert check_video(tmp_path / "gone.mp4").report.status == "failed"


def test_check_videos_wants_at_least_one(studio, tmp_path):
    with pytest.raises(UsageError, match="no videos found"):
        check_videos(tmp_path)
    studio.encode("a.mp4", 3)
    studio.encode("b.mp4", 3)
    assert [found.path.name for found in check_videos(tmp_path)] == ["a.mp4", "b.mp4"]


CAMERAS = (
    "CAM001.MOD", "VTS_01.VOB", "dvr.dav", "pi.h264", "a.mxf", "a.divx", "a.3g2", "a.f4v", "a.insv", "a.360",
    "a.mj2", "a.tod", "a.hevc", "GX010001.LRV",
)  # fmt: skip


def test_suffixes_of_cameras_are_videos(tmp_path):
    touch(tmp_path, *CAMERAS)
    assert [path.name for path in find_videos(tmp_path)] == sorted(CAMERAS)


def test_a_file_without_a_suffix_is_looked_into(studio, tmp_path):
    studio.encode("a.mp4", 5).rename(tmp_path / "noext")
    (tmp_path / "README").write_text("words")
    (tmp_path / "core").write_bytes(bytes(5000))
    touch(tmp_path, "LOCK")
    search = search_videos(tmp_path)
    assert [path.name for path in search.videos] == ["noext"]
    assert [path.name for path in next(iter(search.left_out.values()))] == ["LOCK", "README", "core"]


def test_what_a_search_leaves_out_is_counted_and_named(tmp_path, caplog):
    names = (
        "a.mp4",
        "._a.mp4",
        "b.mp4.part",
        "notes.txt",
        "@eaDir/a.mp4/x.mp4",
        ".hid.mp4",
        "x.xyz",
        "y.xyz",
    )
    touch(tmp_path, *names)
    assert [path.name for path in find_videos(tmp_path)] == ["a.mp4"]
    assert "1 hidden (.hid.mp4); 2 of a file server or operating system (._a.mp4, @eaDir)" in caplog.text
    assert "4 not known as videos by their names (b.mp4.part, notes.txt, x.xyz, ...)" in caplog.text
    assert "Name a file itself to include it" in caplog.text
    named = find_videos([tmp_path, tmp_path / "._a.mp4", tmp_path / "x.xyz", tmp_path / "@eaDir"])
    assert {path.name for path in named} == {"a.mp4", "._a.mp4", "x.xyz", "x.mp4"}


def test_a_folder_of_videos_alone_is_not_commented(tmp_path, caplog):
    touch(tmp_path, "a.mp4", "b/c.mkv")
    find_videos(tmp_path)
    assert not caplog.text


@pytest.mark.parametrize(
    ("recording", "copy"),
    [
        ("GX010001.MP4", "GL010001.LRV"), ("GOPR0001.MP4", "GOPR0001.LRV"), ("DJI_0001.MP4", "DJI_0001.LRF"),
        ("VID_2024_01.insv", "LRV_2024_01.lrv"),
    ],
)  # fmt: skip
def test_a_low_resolution_copy_is_the_same_recording(tmp_path, recording, copy):
    touch(tmp_path, recording, copy, f"alone/{copy}")
    search = search_videos(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in search.videos} == {recording, f"alone/{copy}"}
    assert "1 low-resolution copies of recordings beside them" in search.describe()


def test_the_shared_suffixes(shared_dir):
    assert len(find_videos(shared_dir / "cases/unlisted_suffix/v")) == 13
