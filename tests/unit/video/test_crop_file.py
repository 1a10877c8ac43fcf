"""Crop files, which are read like the videos that they are cut from."""

import csv
import json
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import actiondiff as ad
from actiondiff.datasets.boxes import Box, VideoBoxes
from actiondiff.datasets.cropping import CropOptions, plan_crops
from actiondiff.errors import VideoError
from actiondiff.types import Frames
from actiondiff.video.crop_file import identity_of, individual_of, read_crop, write_crop_file
from actiondiff.video.cutting import Cutter
from actiondiff.video.decode import iter_video, read_video
from actiondiff.video.opening import picture_size
from actiondiff.video.probe import check_video, length_seconds, probe
from actiondiff.video.search import find_videos
from actiondiff.video.write import write_video

FPS = 25
OPTIONS = CropOptions()


def noise_video(path, *, frames=30, size=(120, 160), seed=0):
    """A video in which every place of every frame looks different."""
    rng = np.random.default_rng(seed)
    pixels = np.kron(
        rng.integers(0, 256, (frames, size[0] // 8, size[1] // 8, 3), np.uint8), np.ones((1, 8, 8, 1))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, pixels.astype(np.uint8), fps=FPS)
    return path


def boxes_of(video, rows, *, in_seconds=False, in_pixels=True):
    boxes = tuple(sorted((Box(*row) for row in rows), key=lambda box: box.at))
    return VideoBoxes({video.absolute(): boxes}, in_seconds, in_pixels)


def moving(frames=30, *, name=""):
    return [(n, 20 + 2 * n, 30, 50 + 2 * n, 60, 0.9, name) for n in range(frames)]


def crop_file(folder, video, rows=None, *, options=OPTIONS, **kind):
    boxes = boxes_of(video, moving() if rows is None else rows, **kind)
    plan = plan_crops(video, boxes, options)[0]
    path = folder / f"{video.stem}.crop"
    write_crop_file(path, plan.crop)
    return path


def cut_by_hand(whole, crop):
    """The frames of a crop whose pieces all have one side, from the decoded frames, in plain numpy."""
    pictures = []
    for picture, index, seconds in zip(whole.pixels, whole.frame_index, whole.seconds, strict=True):
        at = seconds if crop.in_seconds else index
        piece = crop.pieces[0]
        times = piece.first + piece.step * np.arange(len(piece.columns))
        left = round(float(np.interp(at, times, piece.columns)) - piece.side_px / 2)
        top = round(float(np.interp(at, times, piece.rows)) - piece.side_px / 2)
        left = min(max(left, 0), picture.shape[1] - piece.side_px)
        top = min(max(top, 0), picture.shape[0] - piece.side_px)
        pictures.append(picture[top : top + piece.side_px, left : left + piece.side_px])
    return np.stack(pictures)


@pytest.mark.parametrize("in_seconds", [False, True])
def test_frames_and_features_are_those_of_the_frames_cut_by_hand(tmp_path, in_seconds):
    video = noise_video(tmp_path / "videos/a.mp4")
    rows = [(at / FPS if in_seconds else at, *row) for at, *row in moving()]
    path = crop_file(tmp_path / "crops", video, rows, in_seconds=in_seconds)
    crop, whole = read_crop(path), read_video(video, stride=2)
    frames = read_video(path, stride=2)
    assert np.array_equal(frames.pixels, cut_by_hand(whole, crop))
    assert np.array_equal(frames.seconds, whole.seconds)
    assert np.array_equal(frames.frame_index, whole.frame_index)
    assert frames.identity == crop.identity == identity_of(path) != whole.identity
    backbone = ad.load_backbone("tiny")
    by_hand = Frames(cut_by_hand(whole, crop), whole.seconds, whole.frame_index, crop.identity)
    (key,) = backbone.extract(frames).tokens
    ours, theirs = (backbone.extract(item).tokens[key] for item in (frames, by_hand))
    assert np.array_equal(ours, theirs)


def test_a_span_of_a_crop_is_the_same_span_of_the_source(tmp_path):
    video = noise_video(tmp_path / "a.mp4", frames=60)
    path = crop_file(tmp_path, video, moving(60))
    span = read_video(path, stride=1, start_seconds=1.0, end_seconds=1.5)
    every = read_video(path, stride=1)
    chosen = (every.seconds >= 1.0) & (every.seconds < 1.5)
    assert np.array_equal(span.pixels, every.pixels[chosen])
    assert np.array_equal(span.frame_index, every.frame_index[chosen])


def test_a_crop_is_described_checked_and_listed_like_a_video(tmp_path):
    video = noise_video(tmp_path / "v/a.mp4")
    path = crop_file(tmp_path / "c", video, moving(name="fox"))
    info, crop = probe(path), read_crop(path)
    assert (info.width_px, info.height_px) == (crop.side_px, crop.side_px) == (44, 44)
    assert info.average_rate == FPS
    assert length_seconds(path) == length_seconds(video)
    check = check_video(path)
    assert (check.report.status, check.report.num_frames_decoded) == ("ok", 30)
    assert find_videos([tmp_path / "c"]) == [path]
    assert individual_of(path) == (video, "fox")
    assert individual_of(video) is None


def test_frames_far_from_any_box_show_the_whole_picture(tmp_path):
    video = noise_video(tmp_path / "a.mp4", frames=100)
    rows = [(n, 20, 30, 40, 50) for n in range(5)] + [(n, 80, 60, 120, 100) for n in range(90, 95)]
    options = CropOptions(max_gap_seconds=1.0)
    (plan,) = plan_crops(video, boxes_of(video, rows), options)
    crop = plan.crop
    assert [piece.side_px for piece in crop.pieces] == [30, 60]
    assert (plan.num_frames, plan.num_whole, plan.num_without_box) == (100, 90 - 4 - 51, 90)
    assert list(np.flatnonzero(crop.is_whole(np.arange(100.0)))[[0, -1]]) == [4 + 26, 90 - 26]
    path = tmp_path / "a.crop"
    write_crop_file(path, crop)
    frames, whole = read_video(path, stride=1), read_video(video, stride=1)
    assert frames.pixels.shape == (100, 60, 60, 3)  # all of one size, the largest
    assert np.array_equal(frames.pixels[92], whole.pixels[92, 50:110, 70:130])
    # A whole picture is brought to that size: its mean stays, and it is that of the whole.
    means = frames.pixels[50].mean((0, 1)), whole.pixels[50].mean((0, 1))
    assert np.allclose(*means, atol=3)


def test_a_video_without_boxes_shows_whole_pictures_in_their_own_size(tmp_path):
    video = noise_video(tmp_path / "a.mp4")
    path = crop_file(tmp_path, video, [])
    assert np.array_equal(read_video(path).pixels, read_video(video).pixels)
    assert individual_of(path) == (video, "")


def test_boxes_in_pixels_are_those_of_the_stored_picture_turned(tmp_path):
    """Anamorphic video: detectors see 80 stored columns where a player shows 160."""
    path = tmp_path / "wide.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 80, 120, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for n in range(6):
            pixels = np.full((120, 80, 3), 128, np.uint8)
            pixels[40:60, 30:40] = (255, 0, 0)  # 20 x 20 as shown, with its left edge at 60
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    boxes = [(n, 30, 40, 40, 60) for n in range(6)]
    for kind in ({"in_pixels": True}, {"in_pixels": False}):
        own = boxes if kind["in_pixels"] else [(n, 30 / 80, 40 / 120, 40 / 80, 60 / 120) for n in range(6)]
        crop_path = crop_file(tmp_path, path, own, options=CropOptions(margin=0.5), **kind)
        crop = read_crop(crop_path)
        assert (crop.width_px, crop.height_px, crop.side_px) == (160, 120, 40)
        shown_pixels, stored = read_video(crop_path, stride=1), read_video(crop_path, stride=1, square=False)
        assert shown_pixels.pixels.shape == (6, 40, 40, 3)
        assert stored.pixels.shape == (6, 40, 20, 3)
        for frames, middle in ((shown_pixels, slice(12, 28)), (stored, slice(6, 14))):
            assert (frames.pixels[:, 12:28, middle, 0] > 200).all()
            assert (frames.pixels[:, :8, :, 0] < 160).all()
        assert probe(crop_path).stored_size_px == (20, 40)


def test_a_source_that_moved_or_changed_is_one_line_that_says_what_to_do(tmp_path):
    video = noise_video(tmp_path / "v/a.mp4")
    path = crop_file(tmp_path / "v/crops", video)
    before = read_video(path).pixels
    (tmp_path / "v").rename(tmp_path / "w")  # both move together
    path = tmp_path / "w/crops/a.crop"
    assert np.array_equal(read_video(path).pixels, before)
    noise_video(tmp_path / "w/a.mp4", seed=1)
    with pytest.raises(VideoError, match=r"has changed since the crop was made.*--boxes") as error:
        read_video(path)
    (tmp_path / "w/a.mp4").unlink()
    with pytest.raises(VideoError, match=r"its video is not at .*Put it there") as gone:
        read_video(path)
    assert all("\n" not in str(item.value) for item in (error, gone))
    with pytest.raises(VideoError, match="its video is not at"):
        probe(path)
    assert check_video(path).report.status == "failed"


def test_where_a_source_lies_does_not_change_the_identity(tmp_path):
    paths = [crop_file(tmp_path / name / "crops", noise_video(tmp_path / name / "v/a.mp4")) for name in "ab"]
    other = crop_file(tmp_path / "c", noise_video(tmp_path / "a/v/a.mp4"), options=CropOptions(margin=0.5))
    assert identity_of(paths[0]) == identity_of(paths[1]) != identity_of(other)


HOSTILE = {
    "source": ["/etc/passwd", "C:\\a.mp4", "b.crop", "", 5, None, "a\nb", "x" * 5000],
    "source_sha256": ["", "z" * 64, None, 3],
    "individual": [3, None, ["a"], "a\x00b"],
    "width_px": [0, -1, 1e300, "9", True, None, float("nan"), float("inf"), 10**400],
    "rate": [0, -1, float("nan"), 1e300],
    "unit": ["hours", 1, None],
    "options": [{}, [], None, {"margin": 0.25}, {**CropOptions().settings, "margin": float("nan")}],
    "format": ["actiondiff crop 2", None, 7],
    "pieces": [
        None, {}, [[]], [None], 7,
        [{"first": 0, "step": 1, "columns": [], "rows": [], "sizes": [], "side_px": 8}],
        [{"first": 0, "step": 1, "columns": [1], "rows": [1, 2], "sizes": [1], "side_px": 8}],
        [{"first": 0, "step": 0, "columns": [1], "rows": [1], "sizes": [1], "side_px": 8}],
        [{"first": 0, "step": 1, "columns": [1e300], "rows": [1], "sizes": [1], "side_px": 8}],
        [{"first": 0, "step": 1, "columns": [float("nan")], "rows": [1], "sizes": [1], "side_px": 8}],
        [{"first": 0, "step": 1, "columns": ["1"], "rows": [1], "sizes": [1], "side_px": 8}],
        [{"first": 0, "step": 1, "columns": [True], "rows": [1], "sizes": [1], "side_px": 8}],
        [{"first": 0, "step": 1, "columns": [1], "rows": [1], "sizes": [1], "side_px": 10**9}],
        2 * [{"first": 0, "step": 1, "columns": [1], "rows": [1], "sizes": [1], "side_px": 8}],
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, v) for name, values in HOSTILE.items() for v in values])
def test_a_hostile_crop_file_is_one_line(tmp_path, name, value):
    path = crop_file(tmp_path, noise_video(tmp_path / "a.mp4", frames=2), moving(2))
    content = json.loads(path.read_text())
    read_crop(path)
    path.write_text(json.dumps({**content, name: value}))
    with pytest.raises(VideoError, match="is not a crop file: ") as error:
        read_crop(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert check_video(path).report.status == "failed"


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 200_000, b"\xff\xfe", b"null", b"1" * 5000, b'{"a": ' * 9999, b"\0" * 99]
)
def test_a_file_that_is_no_crop_file_is_one_line(tmp_path, text):
    path = tmp_path / "a.crop"
    path.write_bytes(text)
    with pytest.raises(VideoError, match="is not a crop file: "):
        read_crop(path)
    with pytest.raises(VideoError, match="is not a crop file: "):
        probe(path)


def test_a_crop_larger_than_its_source_takes_no_memory(tmp_path):
    path = crop_file(tmp_path, noise_video(tmp_path / "a.mp4", frames=3), moving(3))
    content = json.loads(path.read_text())
    content["pieces"][0]["side_px"] = 32768
    path.write_text(json.dumps(content))
    assert read_video(path, stride=1).pixels.shape == (3, 120, 160, 3)


def test_memory_does_not_grow_with_length(tmp_path):
    peaks = []
    for frames in (100, 800):
        video = noise_video(tmp_path / f"{frames}.mp4", frames=frames)
        path = crop_file(tmp_path, video, [(n, 20, 30, 50, 60) for n in range(frames)])
        list(iter_video(path, stride=1, chunk_frames=8))  # what is made once
        tracemalloc.start()
        for chunk in iter_video(path, stride=1, chunk_frames=8):
            del chunk
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_the_cutter_follows_times_where_the_rate_is_odd(tmp_path):
    """Frame k of a video whose rate changes: a box at its time is met at that time, not at k / rate."""
    path = tmp_path / "odd.mkv"
    times = [0, 1, 2, 10, 11, 30]  # in 1/25 s
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for n in times:
            frame = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 9, np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    rows = [(n / FPS, 20 + 2 * n, 30, 50 + 2 * n, 60) for n in range(31)]
    (plan,) = plan_crops(path, boxes_of(path, rows, in_seconds=True), CropOptions(smooth_seconds=0))
    assert plan.num_frames == 6
    assert plan.num_without_box == 0
    cutter = Cutter(plan.crop, 120, 160)
    lefts = [cutter.place(k, n / FPS).corner[1] for k, n in enumerate(times)]
    assert lefts == [max(0, 35 + 2 * n - plan.crop.side_px // 2) for n in times]


def test_odd_videos_are_cut_as_they_are_decoded(tmp_path):
    """Each video of the corpus: damaged, anamorphic, with odd times, turned. Nothing but the cut differs."""
    cases = Path(__file__).parents[2] / "cases"
    with open(cases / "index.csv", newline="") as file:
        names = [row["video"] for row in csv.DictReader(file) if row["status"] != "failed"]
    assert len(names) > 20
    for number, name in enumerate(names):
        video = tmp_path / f"{number}{Path(name).suffix}"
        video.write_bytes((cases / "videos" / name).read_bytes())
        boxes = boxes_of(
            video, [(0.04 * n, 0.3, 0.3, 0.5, 0.6) for n in range(6)], in_seconds=True, in_pixels=False
        )
        (plan,) = plan_crops(video, boxes, CropOptions(max_gap_seconds=1e6))
        path = tmp_path / f"{number}.crop"
        write_crop_file(path, plan.crop)
        for square in (True, False):
            whole, frames = (read_video(item, stride=2, square=square) for item in (video, path))
            cutter = Cutter(plan.crop, *whole.pixels.shape[1:3])
            (top, left), (height, width) = cutter.place(0, 0.0).corner, cutter.place(0, 0.0).size
            cut = whole.pixels[:, top : top + height, left : left + width]
            assert np.array_equal(frames.pixels, cut), name
            assert np.array_equal(frames.frame_index, whole.frame_index)
            assert np.array_equal(frames.seconds, whole.seconds)
            assert frames.report == whole.report
            middle = whole.pixels.shape[2] * 0.4, whole.pixels.shape[1] * 0.45
            assert np.allclose((left + width / 2, top + height / 2), middle, atol=1.5), name
        info = probe(path)
        assert (info.height_px, info.width_px) == read_video(path).pixels.shape[1:3], name
        assert picture_size(path, square=False) == read_video(path, square=False).pixels.shape[1:3], name


@pytest.mark.parametrize("turn", [{"degrees": 90}, {"degrees": -90}, {"degrees": 180, "hflip": True}])
def test_a_turned_video_is_cut_as_it_is_shown(studio, turn):
    video = studio.encode("turned.mp4", 6, turn=turn, draw=lambda index, w, h: spot(w, h))
    whole = read_video(video, stride=1)
    rows, columns = np.nonzero(whole.pixels[0, :, :, 0] > 128)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    path = crop_file(video.parent, video, [(n, *map(float, box)) for n in range(6)])
    frames = read_video(path, stride=1)
    bright = np.argwhere(frames.pixels[0, :, :, 0] > 128)
    assert len(bright) == len(rows)  # all of the spot is in the crop, in the middle
    assert np.allclose(bright.mean(0), (np.array(frames.pixels.shape[1:3]) - 1) / 2, atol=1.1)


def spot(width, height):
    """A bright rectangle in the upper left part of a dark picture."""
    picture = np.full((height, width, 3), 20, np.uint8)
    picture[12:20, 16:28] = 235
    return picture
