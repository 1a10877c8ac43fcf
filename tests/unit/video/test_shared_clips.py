"""Real clips, many of them odd: every one against what an independent loop finds."""

from pathlib import Path

import av
import numpy as np
import pytest
from tests.conftest import read_rows

from actiondiff.video.decode import iter_video
from actiondiff.video.probe import probe

FAILED = {"made_empty.mp4", "made_truncated_k400_abseiling.mp4"}
PARTIAL = {
    "decord_corrupted.mp4",
    "made_truncated_flipping_a_pancake.mkv",
    "made_truncated_ucf101_Basketball.avi",
}
REPAIRED = {"ntu_S001C001P001R001A001_rgb.avi", "ucf101_ApplyEyeMakeup_test.avi"}


def decoded_frames(row: dict[str, str]) -> int:
    """The index counts the frames before the first damage."""
    return {"decord_corrupted.mp4": 49}.get(row["file"], int(row["decoded_frames"] or 0))


@pytest.fixture(scope="module")
def clips(shared_dir: Path) -> list[dict[str, str]]:
    return read_rows(shared_dir / "videos" / "index.csv")


def test_every_clip_decodes_as_the_index_says(clips, shared_dir):
    for row in clips:
        reader = iter_video(shared_dir / "videos" / row["file"], stride=1, chunk_frames=16)
        seconds = [chunk.seconds for chunk in reader]
        report = reader.report
        name = row["file"]
        expected = "failed" if name in FAILED else "partial" if name in PARTIAL else "ok"
        assert report.status == expected, (name, report)
        assert bool(report.reason) == (expected != "ok")
        assert report.num_frames_decoded == decoded_frames(row), name
        assert report.times_repaired == (name in REPAIRED), name
        assert reader.identity.startswith(row["sha256_16"])
        if expected != "failed":
            times = np.concatenate(seconds)
            assert times[0] == 0
            assert (np.diff(times) > 0).all()
            if name in REPAIRED:
                assert times == pytest.approx(np.arange(len(times)) / float(row["avg_fps"]))


def test_coverage_of_what_was_cut_short(shared_dir):
    for name, coverage in (
        ("decord_corrupted.mp4", 49 / 50),
        ("made_truncated_flipping_a_pancake.mkv", 179 / 310),
        ("made_truncated_ucf101_Basketball.avi", 85 / 141),
    ):
        reader = iter_video(shared_dir / "videos" / name)
        list(reader)
        assert reader.report.coverage == pytest.approx(coverage), name


def test_pixels_and_times_are_those_of_a_plain_loop(clips, shared_dir):
    for row in clips:
        if row["file"] in FAILED or row["decode_error"]:
            continue
        path = shared_dir / "videos" / row["file"]
        stride, turns = 9, round(int(row["rotation"]) / 90)
        position = 0
        chunks = iter_video(path, stride=stride, chunk_frames=1, square=False)
        with av.open(str(path)) as container:
            frames = container.decode(video=0)
            for index in range(int(row["decoded_frames"])):
                frame = next(frames)
                if index % stride:
                    continue
                chunk = next(chunks)
                expected = np.rot90(frame.to_ndarray(format="rgb24"), turns)
                assert chunk.frame_index.tolist() == [index]
                assert np.array_equal(chunk.pixels[0], expected), (row["file"], index)
                if row["file"] not in REPAIRED:
                    assert chunk.seconds[0] == pytest.approx(frame.time)
                position += 1
        assert list(chunks) == []
        assert position == -(-int(row["decoded_frames"]) // stride)


def test_probe_reads_what_the_index_says(clips, shared_dir):
    for row in clips:
        if row["file"] in FAILED:
            continue
        info = probe(shared_dir / "videos" / row["file"])
        assert info.stored_size_px == (int(row["width"]), int(row["height"]))
        assert (info.rotation_degrees - int(row["rotation"])) % 360 == 0
        assert info.average_rate == pytest.approx(float(row["avg_fps"]), abs=1e-2)
        assert info.pixel_format == row["pix_fmt"]
        assert (info.num_frames_from_header or 0) == int(row["header_frames"])
        assert info.has_audio == (row["audio_streams"] != "0")
        assert row["container"] in info.container
