"""Passes that begin at a key frame, and those that need no second one for the times of an AVI."""

import gc
import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from actiondiff.types import Frames
from actiondiff.video import buffers, passes, survey
from actiondiff.video.buffers import empty_pictures
from actiondiff.video.decode import iter_video

CASES = Path(__file__).parents[2] / "cases" / "videos"
SPANS = ((0.3, 0.7), (1.0, None), (1.31, 1.35), (2.02, 9.0), (2.99, None), (3.1, 3.2), (40.0, None))


def read(path, start=None, end=None, stride=1) -> tuple[list[Frames], object]:
    reader = iter_video(path, stride=stride, start_seconds=start, end_seconds=end)
    return list(reader), reader.report


def same(one, other) -> bool:
    (chunks, report), (other_chunks, other_report) = one, other
    return (
        report == other_report
        and len(chunks) == len(other_chunks)
        and all(
            np.array_equal(a.pixels, b.pixels)
            and np.array_equal(a.seconds, b.seconds)
            and np.array_equal(a.frame_index, b.frame_index)
            for a, b in zip(chunks, other_chunks, strict=True)
        )
    )


def moving(index, width, height):
    """A texture that moves, so that frames refer to each other."""
    film = np.random.default_rng(0).integers(0, 256, (height, width + 400, 3), dtype=np.uint8)
    return film[:, 3 * index : 3 * index + width]


X264 = {"g": "12", "keyint_min": "12", "bf": "2", "sc_threshold": "0"}
UNEVEN = [index * 40 + (index % 7) * 5 + 300 * (index > 50) for index in range(100)]
FILES = {
    "closed.mp4": ({"options": X264}, True),
    "closed.mkv": ({"options": X264}, True),
    "no-b.mp4": ({"options": {**X264, "bf": "0"}}, True),
    "pyramid.mp4": ({"options": {**X264, "bf": "6", "x264-params": "b-pyramid=normal:b-adapt=0"}}, True),
    "uneven.mkv": ({"options": X264, "milliseconds": UNEVEN}, True),
    "uneven.mp4": ({"options": X264, "milliseconds": UNEVEN}, True),
    "each-is-a-key.mp4": ({"options": {"g": "1"}}, True),
    "open.mp4": ({"options": {**X264, "x264-params": "open-gop=1:b-adapt=0"}}, False),
    "open.mkv": ({"options": {**X264, "x264-params": "open-gop=1:b-adapt=0"}}, False),
    "refresh.mp4": ({"options": {**X264, "x264-params": "intra-refresh=1"}}, False),
    "hevc.mp4": ({"codec": "libx265", "options": {"x265-params": "keyint=12:log-level=none"}}, True),
    "hevc.mkv": (
        {"codec": "libx265", "options": {"x265-params": "keyint=12:open-gop=0:log-level=none"}},
        True,
    ),
    "mjpeg.mov": ({"codec": "mjpeg", "pix_fmt": "yuvj420p"}, True),
    "mjpeg.mkv": ({"codec": "mjpeg", "pix_fmt": "yuvj420p"}, True),
    "mpeg4.mp4": ({"codec": "mpeg4", "options": {"g": "12", "bf": "2"}}, False),
    "mpeg2.mkv": ({"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}}, False),
    "closed.ts": ({"options": X264}, False),
    "closed.avi": ({"options": X264}, False),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": {"g": "12", "cpu-used": "8"}}, False),
}


@pytest.fixture
def skipped(monkeypatch):
    """Counts the frames that passes skip; `allowed` can be set to False."""

    class Skipped:
        allowed = True
        count = 0

    enter = passes._enter

    def counting(*arguments):
        entered = enter(*arguments) if Skipped.allowed else None
        Skipped.count += entered[2] if entered else 0
        return entered

    monkeypatch.setattr(passes, "_enter", counting)
    return Skipped


def check_spans(path, skipped, spans=SPANS):
    for start, end in spans:
        skipped.allowed = True
        entered = read(path, start, end, stride=2)
        skipped.allowed = False
        assert same(entered, read(path, start, end, stride=2)), (start, end)


@pytest.mark.parametrize("name", FILES)
def test_a_span_is_the_same_from_a_key_frame_as_from_the_start(studio, skipped, name):
    arguments, can_enter = FILES[name]
    path = studio.encode(name, 100, rate=25, draw=moving, **arguments)
    check_spans(path, skipped)
    assert (skipped.count > 0) == can_enter


def test_every_case_reads_the_same_from_a_key_frame(skipped):
    for path in sorted(CASES.iterdir()):
        if not path.name.startswith("damaged"):
            check_spans(path, skipped, SPANS[:4])
    assert skipped.count


def test_a_key_frame_before_which_frames_are_outside_the_edit_list(studio, skipped):
    source = studio.encode("whole.mp4", 100, rate=25, draw=moving, options=X264)

    def earlier(packet):
        packet.pts -= 8 * 512
        packet.dts -= 8 * 512

    path = studio.remux(source, "listed.mp4", earlier)
    check_spans(path, skipped)


def test_parameters_that_change_within_a_file_are_not_missed(studio, skipped):
    """The second half has other parameters, which only its first packet holds."""
    packets = []
    for number, parameters in enumerate(("chroma-qp-offset=0", "chroma-qp-offset=8")):
        options = {**X264, "bf": "0", "x264-params": parameters}
        part = studio.encode(f"{number}.h264", 50, rate=25, draw=moving, options=options)
        with av.open(str(part)) as reading:
            coded = [bytes(packet) for packet in reading.demux(video=0) if packet.size]
        packets += [coded[0], *map(without_parameters, coded[1:])]
    path = studio.folder / "joined.mp4"
    with av.open(str(studio.folder / "0.h264")) as reading, av.open(str(path), "w") as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0])
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.duration = Fraction(1, 25), 1
            packet.is_keyframe = number % 50 % 12 == 0
            packet.stream = stream
            writing.mux(packet)
    check_spans(path, skipped, [(start / 10, None) for start in range(1, 40, 3)])


def without_parameters(coded):
    units = coded.replace(bytes(4), bytes(3)).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]
    return b"".join(b"\0\0\0\1" + unit for unit in units if unit[0] & 31 not in (7, 8))


def test_damage_on_the_way_sends_the_pass_back_to_the_start(studio, skipped):
    path = studio.encode("a.mp4", 100, rate=25, draw=moving, options=X264)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        sizes = [(p.pos, p.size, p.pts) for p in container.demux(video=0) if p.size]
    for position, size, pts in sizes:
        if pts == 40 * 512:  # 1.6 s; the key frame is at 1.44 s
            data[position + 5 : position + size] = bytes(size - 5)
    path.write_bytes(data)
    check_spans(path, skipped, [(1.7, None)])
    skipped.allowed, skipped.count = True, 0
    _, report = read(path, 1.7)
    assert report.status == "partial"
    assert not skipped.count
    _, report = read(path, 2.6)  # a later key frame is found, before which damage is not noticed
    assert report.status == "ok"
    assert skipped.count == 65


AVIS = {
    "h264-b.avi": {"options": X264},
    "h264.avi": {"options": {**X264, "bf": "0"}},
    "mpeg4-b.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "msmpeg4.avi": {"codec": "msmpeg4v3", "options": {"g": "12"}},
    "mpeg2-b.avi": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
}


@pytest.fixture
def scheduled(monkeypatch):
    """Counts the passes that are made for times alone; `needed` makes every AVI need one."""

    class Scheduled:
        needed = False
        count = 0

    schedule, survey_packets = survey.schedule, survey.survey_packets

    def counting(*arguments):
        Scheduled.count += 1
        return schedule(*arguments)

    def surveying(*arguments, **options):
        findings = survey_packets(*arguments, **options)
        if Scheduled.needed:
            object.__setattr__(findings, "slots", None)
        return findings

    monkeypatch.setattr(passes, "schedule", counting)
    monkeypatch.setattr(passes, "survey_packets", surveying)
    return Scheduled


def check_times(path, scheduled):
    for span in ((None, None), (None, 2.0), (1.02, 2.5)):
        scheduled.needed = False
        once = read(path, *span)
        scheduled.needed = True
        assert same(once, read(path, *span)), (path, span)


@pytest.mark.parametrize("name", AVIS)
def test_times_of_an_avi_need_one_pass_and_are_those_of_two(studio, scheduled, name):
    path = studio.encode(name, 100, rate=25, draw=moving, **AVIS[name])
    read(path)
    assert not scheduled.count
    check_times(path, scheduled)
    assert scheduled.count == 3


@pytest.mark.parametrize("name", AVIS)
def test_damaged_avis_have_the_times_of_two_passes(studio, scheduled, name):
    path = studio.encode(name, 100, rate=25, draw=moving, **AVIS[name])
    data, drawn = path.read_bytes(), random.Random(name)
    for trial in range(12):
        damaged = bytearray(data)
        for _ in range(drawn.choice((1, 3, 20))):
            at = drawn.randrange(len(data) // 10, len(data))
            damaged[at : at + drawn.choice((1, 40, 400))] = bytes(drawn.choice((1, 40, 400)))
        other = path.with_name(f"{trial}-{name}")
        other.write_bytes(damaged[: drawn.randrange(len(damaged) // 2, 2 * len(damaged))])
        check_times(other, scheduled)


def test_cases_that_are_avis_have_the_times_of_two_passes(scheduled):
    for path in sorted(CASES.glob("*.avi")):
        check_times(path, scheduled)


def test_memory_is_used_again_only_when_no_part_of_its_array_is_left():
    buffers._free.clear()
    pictures = empty_pictures((3, 1000, 1000, 3))
    pictures[:] = 7
    part = pictures[1, ::2, :, 1].T
    address = pictures.ctypes.data
    del pictures
    gc.collect()
    others = empty_pictures((3, 1000, 1000, 3))
    others[:] = 9
    assert (part == 7).all()
    del part
    gc.collect()
    again = empty_pictures((2, 1000, 1000, 3))
    assert again.ctypes.data == address
    assert others.ctypes.data != address
    assert (others == 9).all()


def test_memory_that_waits_is_bounded_and_not_much_larger_than_needed():
    buffers._free.clear()
    arrays = [empty_pictures((60, 1000, 1000)) for _ in range(6)]
    arrays.clear()
    gc.collect()
    assert 0 < sum(map(len, buffers._free)) <= buffers._MOST_FREE
    assert len(empty_pictures((20, 1000, 1000)).base.base or ()) != 60_000_000
    buffers._free.clear()
