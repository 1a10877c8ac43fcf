"""What packets and headers tell before frames are decoded."""

import pytest

from actiondiff.errors import VideoError
from actiondiff.video.container import Decoding, duration_seconds, open_video
from actiondiff.video.survey import schedule, survey


def times_rise(path):
    """Whether the file's own times are used."""
    return not schedule(path, survey(path)).is_mended


def repeat(packet):
    packet.pts -= packet.pts % 66  # two packets share a time
    packet.dts = packet.pts


def test_ordinary_times_are_beyond_doubt(studio):
    for path in (
        studio.encode("a.mp4"),
        studio.encode("b.mkv"),
        studio.encode("no-b-frames.mp4", options={"bf": "0"}),
        studio.encode("a.webm", codec="libvpx-vp9"),
        studio.encode("a.ts"),
        studio.encode("intra.avi", codec="mjpeg", pix_fmt="yuvj420p"),
        studio.encode("a.wmv", codec="wmv2"),
    ):
        assert not survey(path).times_in_doubt, path.name
        assert times_rise(path), path.name


def test_repeated_times_are_doubted(studio):
    path = studio.encode("a.mkv", codec="mjpeg", pix_fmt="yuvj420p")
    twice = studio.remux(path, "b.mkv", repeat)
    assert survey(twice).times_in_doubt
    assert not times_rise(twice)


def test_times_that_begin_anew_are_doubted(studio):
    path = studio.encode("a.ts", 100)
    path.write_bytes(path.read_bytes() * 2)
    assert survey(path).times_in_doubt
    assert not times_rise(path)


def test_missing_times_are_doubted(studio):
    path = studio.encode("a.h264", options={"bf": "0"})
    assert survey(path).times_in_doubt
    assert not times_rise(path)


def test_times_that_do_not_fit_the_codecs_order_are_doubted(studio):
    def in_storing_order(packet):
        packet.pts = packet.dts

    with_b_frames = studio.remux(studio.encode("a.mp4", options={"bf": "3"}), "b.mp4", in_storing_order)
    assert survey(with_b_frames).times_in_doubt
    assert not times_rise(with_b_frames)


def test_made_up_times_of_avi_are_doubted(studio):
    assert survey(studio.encode("a.avi", codec="mpeg4")).times_in_doubt


def test_gaps_of_an_avi_are_counted(studio):
    milliseconds = [0, 33, 200, 233, 266, 400]  # frames 0 1 6 7 8 12 at 30 a second
    path = studio.encode("a.avi", 6, codec="mpeg4", milliseconds=milliseconds)
    assert survey(path).num_gaps == 7
    assert survey(studio.encode("b.avi", codec="mpeg4")).num_gaps == 0


def test_the_survey_ends_with_the_longest_stream(studio):
    found = survey(studio.encode("a.mkv", audio_seconds=3))
    assert found.end_seconds == pytest.approx(3, abs=0.05)


def test_durations(studio):
    for name, expected in (("a.mkv", 1.0), ("a.mp4", 1.0), ("a.flv", 1.0)):
        codec = "flv" if name == "a.flv" else "libx264"
        with open_video(studio.encode(name, codec=codec, audio_seconds=0)) as (container, stream):
            assert duration_seconds(container, stream) == pytest.approx(expected, abs=0.04), name
    with open_video(studio.encode("a.h264")) as (container, stream):
        assert duration_seconds(container, stream) is None


def test_an_index_error_at_the_very_end_ends_the_file(studio):
    """PyAV raises it where streams showed up while reading."""

    class Container:
        def __init__(self, container):
            self.container = container

        def demux(self, *streams):
            yield from self.container.demux(*streams)
            raise IndexError

    with open_video(studio.encode("a.mp4")) as (container, stream):
        assert len(list(Decoding(Container(container), stream))) == 30


def test_one_thread_decodes(studio):
    with open_video(studio.encode("a.mp4")) as (_, stream):
        assert stream.codec_context.thread_count == 1


def test_what_is_no_video_is_a_video_error(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0" * 999)
    with pytest.raises(VideoError, match="cut short, damaged or no video"), open_video(path):
        pass
