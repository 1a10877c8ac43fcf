"""Decoding: what is kept, when it is shown, and what is said of damage."""

import hashlib
import math
import random
import socket
import threading
import weakref
from contextlib import suppress

import numpy as np
import pytest

from actiondiff.errors import UsageError, VideoError
from actiondiff.types import Frames
from actiondiff.video import passes
from actiondiff.video.decode import iter_video, read_video
from actiondiff.video.survey import Survey
from actiondiff.video.write import write_video

TRAILS = [
    index * 33 if index < 20 else 660 + 250 * (index - 19) for index in range(30)
]  # ms: 30, then 4 a second


def same(a: Frames, b: Frames) -> bool:
    return (
        np.array_equal(a.pixels, b.pixels)
        and np.array_equal(a.seconds, b.seconds)
        and np.array_equal(a.frame_index, b.frame_index)
        and a.identity == b.identity
        and a.report == b.report
    )


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize("stride", [1, 3, 4, 1000])
def test_stride_counts_raw_frames_from_the_first(studio, stride):
    frames = read_video(studio.encode("a.mp4"), stride=stride)
    expected = list(range(0, 30, stride))
    assert frames.frame_index.tolist() == expected
    assert studio.indices(frames.pixels) == expected
    assert frames.seconds == pytest.approx(np.array(expected) / 30)
    assert frames.pixels.shape == (len(expected), 48, 64, 3)
    assert frames.report.status == "ok"
    assert frames.report.num_frames_decoded == frames.report.num_frames_expected == 30


def test_presentation_times_are_kept_where_the_rate_varies(studio):
    frames = read_video(studio.encode("a.mkv", milliseconds=TRAILS), stride=1)
    assert frames.seconds == pytest.approx(np.array(TRAILS) / 1000)
    assert not frames.report.times_repaired
    assert frames.report.status == "ok"


def test_seconds_begin_at_the_first_frame(studio):
    late = studio.encode("late.ts")  # transport streams begin later than 0
    assert read_video(late, stride=1).seconds == pytest.approx(np.arange(30) / 30)


@pytest.mark.parametrize(
    ("fps", "kept"),
    [
        (10, list(range(0, 30, 3))),
        (30, list(range(30))),
        (1000, list(range(30))),
        (12.5, [0, 3, 5, 8, 10, 12]),
        (0.1, [0]),
    ],
)
def test_fps_takes_the_first_frame_at_or_after_each_tick(studio, fps, kept):
    """Times in Matroska are whole milliseconds, so that frame 1 of 30 a second lies just before its tick."""
    frames = read_video(studio.encode("a.mkv"), stride=None, fps=fps)
    assert frames.frame_index.tolist()[: len(kept)] == kept
    assert studio.indices(frames.pixels) == frames.frame_index.tolist()


def test_fps_where_the_rate_varies_repeats_and_invents_nothing(studio):
    frames = read_video(studio.encode("a.mkv", milliseconds=TRAILS), stride=None, fps=10)
    index = frames.frame_index.tolist()
    expected, tick = [], 0
    for position, time in enumerate(TRAILS):
        if time + 1 >= tick * 100:
            expected.append(position)
            tick = (time + 1) // 100 + 1
    assert index == expected
    assert index[-10:] == list(range(20, 30))  # 4 a second: each once


@pytest.mark.parametrize(
    ("span", "kept"),
    [
        ((0.5, None), range(15, 30)),
        ((None, 0.5), range(15)),
        ((0.2, 0.4), range(6, 12)),
        ((1 / 3, 2 / 3), range(10, 20)),  # the file says 0.333 and 0.667
        ((None, 1 / 3), range(10)),
        ((0.0, 99.0), range(30)),
    ],
)
def test_a_span_is_chosen_by_presentation_time(studio, span, kept):
    path = studio.encode("a.mkv")
    frames = read_video(path, stride=1, start_seconds=span[0], end_seconds=span[1])
    assert frames.frame_index.tolist() == list(kept)
    assert studio.indices(frames.pixels) == list(kept)
    assert frames.report.status == "ok"
    strided = read_video(path, stride=4, start_seconds=span[0], end_seconds=span[1])
    assert strided.frame_index.tolist() == list(kept)[::4]
    timed = read_video(path, stride=None, fps=10, start_seconds=span[0], end_seconds=span[1])
    assert timed.frame_index.tolist() == list(kept)[::3]


def test_decoding_stops_at_the_end_of_a_span(studio):
    report = read_video(studio.encode("a.mp4"), end_seconds=0.2).report
    assert report.num_frames_decoded == 7
    assert report.status == "ok"
    assert report.coverage == 1


def test_an_empty_span_is_a_failure_that_says_so(studio):
    reader = iter_video(studio.encode("a.mp4"), start_seconds=5, end_seconds=6)
    assert list(reader) == []
    assert reader.report.status == "failed"
    assert reader.report.reason == "no frame is shown from 5 s to 6 s: the last is at 0.97 s"
    with pytest.raises(VideoError, match="no frame is shown from 5 s to 6 s"):
        read_video(reader.path, start_seconds=5, end_seconds=6)


@pytest.mark.parametrize(
    "arguments",
    [
        {"stride": 0},
        {"stride": 1.5},
        {"stride": None},
        {"stride": 4, "fps": 5},
        {"stride": None, "fps": 0},
        {"stride": None, "fps": math.nan},
        {"start_seconds": -1},
        {"start_seconds": 2, "end_seconds": 2},
        {"end_seconds": math.nan},
        {"chunk_frames": 0},
    ],
)
def test_arguments_out_of_range_are_usage_errors(studio, arguments):
    with pytest.raises(UsageError):
        iter_video(studio.encode("a.mp4", 2), **arguments)


def test_fps_does_not_catch_up_after_a_pause(studio):
    pause = [index * 33 + (1000 if index >= 5 else 0) for index in range(30)]
    frames = read_video(studio.encode("a.mkv", milliseconds=pause), stride=None, fps=10)
    assert frames.frame_index.tolist() == [0, 3, 5, 7, 10, 13, 16, 19, 22, 25, 28]


# ---------------------------------------------------------------- streaming


@pytest.mark.parametrize(
    "arguments", [{"stride": 1}, {"stride": 4}, {"stride": None, "fps": 11}, {"start_seconds": 0.31}]
)
@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_chunks_change_nothing(studio, name, arguments):
    path = studio.encode(name, codec="libx264", options={"bf": "3"})
    whole = read_video(path, **arguments)
    for size in (1, 2, 7, 100):
        reader = iter_video(path, **arguments, chunk_frames=size)
        chunks = list(reader)
        assert [len(chunk) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
        joined = Frames(
            np.concatenate([chunk.pixels for chunk in chunks]),
            np.concatenate([chunk.seconds for chunk in chunks]),
            np.concatenate([chunk.frame_index for chunk in chunks]),
            reader.identity,
            reader.report,
        )
        assert same(joined, whole)
        assert {chunk.identity for chunk in chunks} == {whole.identity}


def test_a_reader_decodes_no_further_than_asked_and_holds_nothing(studio):
    reader = iter_video(studio.encode("a.mp4", 300), stride=4, chunk_frames=5)
    assert reader.report.status == "failed"
    chunk = next(reader)
    assert reader.report.num_frames_decoded == 17  # 4 * 4 + 1
    assert (reader.report.status, reader.report.reason) == ("partial", "decoding has not finished")
    alive = weakref.ref(chunk.pixels)
    del chunk
    next(reader)
    assert alive() is None
    assert sum(len(rest) for rest in reader) == 75 - 10
    assert reader.report.status == "ok"


def test_identity_is_that_of_the_content(studio, tmp_path):
    path = studio.encode("a.mp4")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert iter_video(path).identity == read_video(path).identity == digest


# ---------------------------------------------------------------- pictures


def quarters(index, width, height):
    """Four greys, all different."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 80
    image[: height // 2, width // 2 :] = 160
    image[height // 2 :, : width // 2] = 240
    return image


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_are_turned_and_mirrored_as_the_file_asks(studio, degrees, mirrored):
    turn = {"degrees": degrees, "hflip": mirrored}  # mirrors after turning
    frames = read_video(studio.encode("a.mp4", 2, draw=quarters, turn=turn), stride=1)
    expected = np.rot90(quarters(0, 64, 48), degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    assert frames.pixels.shape[1:] == expected.shape
    assert np.abs(frames.pixels[1].astype(int) - expected).mean() < 4


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "width", "height"),
    [
        ("odd.avi", "mpeg4", "yuv420p", 65, 47),
        ("odd.mkv", "ffv1", "yuv420p", 51, 33),
        ("ten-bit.mp4", "libx264", "yuv420p10le", 64, 48),
        ("ten-bit.mkv", "ffv1", "yuv422p10le", 65, 47),
        ("grey.mkv", "ffv1", "gray", 65, 47),
        ("full-range.mp4", "libx264", "yuvj420p", 64, 48),
        ("motion-jpeg.avi", "mjpeg", "yuvj420p", 64, 48),
        ("windows.wmv", "wmv2", "yuv420p", 64, 48),
        ("web.webm", "libvpx-vp9", "yuv420p", 65, 47),
        ("program.mpg", "mpeg2video", "yuv420p", 64, 48),
        ("flash.flv", "flv", "yuv420p", 64, 48),
        ("rgb.mov", "png", "rgb24", 65, 47),
        ("one.mp4", "libx264", "yuv420p", 16, 16),
    ],
)
def test_codecs_sizes_and_pixel_formats(studio, name, codec, pix_fmt, width, height):
    count = 1 if name == "one.mp4" else 12
    path = studio.encode(name, count, codec=codec, pix_fmt=pix_fmt, width=width, height=height)
    frames = read_video(path, stride=1)
    assert frames.pixels.shape == (count, height, width, 3)
    assert studio.indices(frames.pixels) == list(range(count))
    assert frames.seconds == pytest.approx(np.arange(count) / 30, abs=1e-3)
    assert frames.report.status == "ok"
    expected = [frame.to_ndarray(format="rgb24") for frame in studio.plain(path)]
    assert np.array_equal(frames.pixels, expected)


def test_pictures_that_change_size_get_the_first_ones(studio):
    first = studio.encode("a.ts", 10)
    second = studio.encode("b.ts", 10, width=96, height=80)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    frames = read_video(first, stride=1)
    assert frames.pixels.shape == (20, 48, 64, 3)
    assert studio.indices(frames.pixels) == [*range(10)] * 2
    assert frames.report.times_repaired  # they begin anew half-way
    assert frames.seconds == pytest.approx(np.arange(20) / 30)


def test_an_unknown_colour_matrix_is_read_as_untagged(studio):
    path = studio.encode("a.mp4", options={"x264-params": "colormatrix=YCgCo"})
    with pytest.raises(OSError, match="not supported"):
        studio.plain(path)[0].to_ndarray(format="rgb24")
    frames = read_video(path, stride=1)
    assert studio.indices(frames.pixels) == list(range(30))
    assert frames.report.status == "ok"


# ---------------------------------------------------------------- times


def swapping(first):
    """Makes pairs of packets change their presentation times, from frame `first` on."""

    def swap(packet):
        index = packet.pts // 512
        packet.dts -= 1024
        packet.pts += 0 if index < first else 512 if index % 2 == 0 else -512

    return swap


def test_times_in_another_order_are_sorted(studio):
    path = studio.encode("a.mp4", codec="mpeg4", options={"qmax": "2"})
    swapped = studio.remux(path, "b.mp4", swapping(2))
    assert np.diff([frame.pts for frame in studio.plain(swapped)]).min() < 0
    frames = read_video(swapped, stride=2)
    assert frames.report.times_repaired
    assert frames.report.status == "ok"
    assert frames.seconds == pytest.approx(np.arange(0, 30, 2) / 30)
    assert studio.indices(frames.pixels) == list(range(0, 30, 2))


def test_missing_times_are_counted(studio):
    path = studio.encode("a.h264")
    assert {frame.pts for frame in studio.plain(path)} == {None}
    frames = read_video(path, stride=1)
    assert frames.report.times_repaired
    assert np.ptp(np.diff(frames.seconds)) < 1e-9
    assert frames.seconds[1] > 0


def test_a_span_is_chosen_by_counted_times_too(studio):
    path = studio.encode("a.h264")
    period = read_video(path, stride=1).seconds[1]
    frames = read_video(path, stride=1, start_seconds=10 * period, end_seconds=20 * period)
    assert frames.frame_index.tolist() == list(range(10, 20))


def test_times_rise_even_where_nothing_announced_that_they_do_not(studio, monkeypatch):
    swapped = studio.remux(studio.encode("a.mp4", codec="mpeg4"), "b.mp4", swapping(10))
    assert read_video(swapped, stride=1).seconds == pytest.approx(np.arange(30) / 30)
    monkeypatch.setattr(passes, "survey_packets", lambda *_, **__: Survey(False, 0, 0.0))
    frames = read_video(swapped, stride=1)
    assert frames.report.times_repaired
    assert frames.seconds[:11] == pytest.approx([*np.arange(10) / 30, 11 / 30])  # as the file has it
    assert np.diff(frames.seconds).min() > 0
    assert frames.seconds[12:] == pytest.approx(np.arange(12, 30) / 30)  # as if it had been announced


# ---------------------------------------------------------------- damage


def noise(index, width, height):
    """Pictures that fill a file evenly."""
    return np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
@pytest.mark.parametrize(
    ("name", "codec", "container_options"),
    [
        ("a.mp4", "libx264", {"movflags": "faststart"}),
        ("a.mov", "mpeg4", {"movflags": "faststart"}),
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx-vp9", {}),
        ("a.avi", "mpeg4", {}),
        ("a.flv", "flv", {}),
    ],
)
def test_a_file_cut_short_is_partial_and_keeps_its_beginning(studio, name, codec, container_options, share):
    path = studio.encode(
        name, 60, codec=codec, container_options=container_options, draw=noise, options={"g": "12"}
    )
    whole = read_video(path, stride=1)
    assert whole.report.status == "ok"
    short = studio.cut(path, share)
    frames = read_video(short, stride=1)
    report = frames.report
    assert report.status == "partial"
    assert len(studio.plain(short)) <= report.num_frames_decoded == len(frames) < 60
    assert report.num_frames_expected == pytest.approx(60, abs=1)
    assert str(report.num_frames_decoded) in report.reason
    assert report.coverage == pytest.approx(len(frames) / 60, abs=0.02)
    intact = len(frames) - 1  # the last picture may have been cut through
    assert np.array_equal(frames.pixels[:intact], whole.pixels[:intact])
    assert np.array_equal(frames.seconds, whole.seconds[: len(frames)])


def test_a_span_before_the_damage_is_whole(studio):
    path = studio.cut(studio.encode("a.mkv", 60), 0.7)
    assert read_video(path).report.status == "partial"
    assert read_video(path, end_seconds=0.3).report.status == "ok"
    assert read_video(path, start_seconds=0.2, end_seconds=1.9).report.status == "partial"


def test_a_span_behind_the_damage_fails(studio):
    path = studio.encode("a.mp4", 60, draw=noise, container_options={"movflags": "faststart"})
    reader = iter_video(studio.cut(path, 0.5), start_seconds=1.5)
    assert list(reader) == []
    assert reader.report.status == "failed"
    assert reader.report.reason.startswith("no frame is shown from 1.5 s")
    assert 0 < reader.report.num_frames_decoded < 45


def test_an_mp4_that_lost_its_index_fails(studio):
    reader = iter_video(studio.cut(studio.encode("a.mp4"), 0.5))
    assert list(reader) == []
    assert reader.report.status == "failed"
    assert reader.report.reason.startswith("the file cannot be opened: it is cut short, damaged or no video")
    assert reader.report.coverage == 0
    with pytest.raises(VideoError, match=r"a-0\.5\.mp4: the file cannot be opened"):
        read_video(reader.path)


def test_damage_makes_no_noise(studio, capfd):
    list(iter_video(studio.cut(studio.encode("a.mp4", container_options={"movflags": "faststart"}), 0.7)))
    list(iter_video(studio.cut(studio.encode("b.mp4"), 0.5)))
    captured = capfd.readouterr()
    assert "x264" not in captured.out
    assert [line for line in captured.err.splitlines() if "x264" not in line] == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"video,label\n" * 200, "the file holds text"),
        (bytes(range(256)) * 40, "the file cannot be opened"),
    ],
)
def test_files_that_are_no_videos_fail(tmp_path, content, reason):
    path = tmp_path / "table.txt"
    path.write_bytes(content)
    reader = iter_video(path)
    assert list(reader) == []
    assert reader.report.status == "failed"
    assert reader.report.reason.startswith(reason)
    assert reader.report.num_frames_decoded == 0


@pytest.mark.parametrize("cover", [False, True])
def test_sound_alone_is_no_video_even_with_a_cover(studio, cover):
    reader = iter_video(studio.sound("a.m4a", cover=cover))
    assert list(reader) == []
    assert (reader.report.status, reader.report.reason) == ("failed", "the file has no video stream")


def test_a_codec_nobody_knows_fails(studio):
    reader = iter_video(studio.patch(studio.encode("a.mp4"), b"avc1", b"qq7z"))
    assert list(reader) == []
    assert reader.report.status == "failed"
    assert "codec is unknown" in reader.report.reason


def test_a_play_list_does_not_reach_the_network(tmp_path):
    visits = []

    def serve():
        with suppress(TimeoutError):
            connection, _ = server.accept()
            visits.append(connection.recv(1000))
            connection.close()

    with socket.create_server(("localhost", 0)) as server:
        server.settimeout(0.3)
        address = f"http://localhost:{server.getsockname()[1]}/a.ts"
        path = tmp_path / "list.m3u8"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n")
        thread = threading.Thread(target=serve)
        thread.start()
        reader = iter_video(path)
        assert list(reader) == []
        thread.join()
    assert reader.report.status == "failed"
    assert visits == []


@pytest.mark.parametrize("name", ["missing.mp4", ".", "x" * 300])
def test_a_path_that_is_no_file_is_an_error_at_once(tmp_path, name):
    with pytest.raises(VideoError, match=r"does not exist|is not a file|cannot be read: File name too long"):
        iter_video(tmp_path / name)


@pytest.mark.parametrize("name", ["c:d.mp4", "%03d.mp4", "é ü.mp4", "-i.mp4", "file:x.mp4"])
def test_names_that_mean_something_to_ffmpeg(studio, monkeypatch, name):
    path = studio.encode("a.mp4")
    path.rename(studio.folder / name)
    monkeypatch.chdir(studio.folder)
    assert read_video(name).report.status == "ok"


def test_metadata_in_another_encoding_is_no_obstacle(studio):
    path = studio.patch(studio.encode("a.mp4"), b"VideoHandler", b"Vid\xe9oHandler")
    assert read_video(path).report.status == "ok"


# ---------------------------------------------------------------- promises that alarm nobody


def test_sound_files_raise_no_alarm(studio):
    for path in (
        studio.encode("variable.mkv", milliseconds=TRAILS),
        studio.encode("variable.mp4", milliseconds=TRAILS),
        studio.encode("gaps.avi", codec="mpeg4", milliseconds=TRAILS),  # counts the frames between, too
        studio.encode("long-sound.mkv", audio_seconds=4),
        studio.patch(studio.encode("untagged.mkv", audio_seconds=4), b"DURATION", b"DUTARION"),
        studio.encode("long-sound.mp4", audio_seconds=4),
        studio.encode("fragments.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
        studio.encode("a.ts"),
        studio.encode("a.mpg", codec="mpeg2video"),
    ):
        report = read_video(path).report
        assert report.status == "ok", (path.name, report)
        assert report.num_frames_decoded == 30, path.name
        assert report.num_frames_expected in (30, 31, None), (path.name, report)


def test_frames_outside_an_edit_list_are_not_missed(studio):
    """A clip cut out of an MP4 without encoding anew keeps, and counts, frames that are not to be shown."""

    def earlier(packet):
        packet.pts -= 512 * 20
        packet.dts -= 512 * 20

    path = studio.remux(studio.encode("a.mp4"), "b.mp4", earlier, options={"avoid_negative_ts": "disabled"})
    report = read_video(path, stride=1).report
    assert report.num_frames_decoded == len(studio.plain(path)) == 10
    assert (report.status, report.num_frames_expected) == ("ok", 10)


def test_a_matroska_file_cut_short_with_its_sound_is_noticed_without_a_tag(studio):
    whole = studio.encode("a.mkv", 90, audio_seconds=3, draw=noise)
    whole = studio.patch(whole, b"DURATION", b"DUTARION")
    assert read_video(whole).report.status == "ok"
    report = read_video(studio.cut(whole, 0.5)).report
    assert report.status == "partial"
    assert "the duration of 3.0" in report.reason


def test_the_pictures_own_duration_goes_before_the_sounds(studio):
    path = studio.encode("a.mkv", 60, audio_seconds=6, draw=noise)
    report = read_video(studio.cut(path, 0.5)).report
    assert report.status == "partial"
    assert report.num_frames_expected == pytest.approx(60, abs=1)
    assert "the duration of 2.00 s" in report.reason


@pytest.mark.parametrize(("missing", "status"), [(2, "ok"), (3, "partial")])
def test_two_frames_may_be_missing(studio, missing, status):
    path = studio.encode("a.avi", 30 - missing, codec="mpeg4")
    data = path.read_bytes()
    at = data.index(b"strh") + 8 + 32  # dwLength of the stream's header
    path.write_bytes(data[:at] + (30).to_bytes(4, "little") + data[at + 4 :])
    report = read_video(path).report
    assert (report.status, report.num_frames_expected) == (status, 30)


# ---------------------------------------------------------------- anything


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.wmv", "wmv2"), ("a.ts", "libx264")],
)
def test_whatever_happened_to_a_file_nothing_is_raised_and_nothing_made_up(studio, name, codec):
    chance = random.Random(name)
    path = studio.encode(name, 24, codec=codec, options={"g": "8"}, container_options={})
    original = path.read_bytes()
    for kind in ("bits", "bits", "head", "hole", "cut", "cut"):
        data = bytearray(original)
        at = chance.randrange(len(data))
        if kind == "bits":
            for _ in range(20):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif kind == "head":
            data[at % 600] ^= 0xFF
        elif kind == "hole":
            del data[at : at + 300]
        else:
            del data[at:]
        path.write_bytes(data)
        reader = iter_video(path, stride=1, chunk_frames=5)
        chunks = list(reader)
        count = sum(len(chunk) for chunk in chunks)
        assert count == reader.report.num_frames_decoded >= len(studio.plain(path)) - 1
        assert (reader.report.status == "failed") == (count == 0)
        if count:
            assert (np.diff(np.concatenate([chunk.seconds for chunk in chunks])) > 0).all()


def test_chunks_of_any_size_hold_the_same_frames_and_stay_as_they_are(tmp_path):
    film = np.random.default_rng(0).integers(0, 256, (75, 16, 24, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", film, fps=25)
    whole = read_video(tmp_path / "a.mp4", stride=1)
    for size in (1, 7, 32, 70, 1000):
        chunks = list(iter_video(tmp_path / "a.mp4", stride=1, chunk_frames=size))
        assert [len(chunk.pixels) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
        np.testing.assert_array_equal(np.concatenate([chunk.pixels for chunk in chunks]), whole.pixels)
