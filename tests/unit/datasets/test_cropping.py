"""Boxes of detectors, their tracks, and the videos that are cropped around them."""

import json

import av
import numpy as np
import pytest
from tests.conftest import read_rows

from actiondiff.builtin.dataset import write_menagerie
from actiondiff.cli.main import run
from actiondiff.datasets.boxes import Box, read_boxes
from actiondiff.datasets.cropping import link_boxes
from actiondiff.datasets.table import read_table
from actiondiff.errors import TableError, UsageError
from actiondiff.video.decode import read_video
from actiondiff.video.write import write_video

SIDE = 20


def moving_squares(path, *, frames=30, second=False):
    """A red square that moves to the right on gray, and perhaps a blue one below that stands still."""
    pixels = np.full((frames, 120, 160, 3), 128, np.uint8)
    for n in range(frames):
        pixels[n, 20:40, 10 + 3 * n : 30 + 3 * n] = (255, 0, 0)
        if second:
            pixels[n, 90:110, 100:120] = (0, 0, 255)
    write_video(path, pixels, fps=25)
    return path


def boxes_csv(path, *, second=False, step=1, unit="frame"):
    lines = [f"video,{unit},x0,y0,x1,y1,score"]
    for n in range(0, 30, step):
        at = n if unit == "frame" else n / 25
        lines.append(f"a.mp4,{at},{10 + 3 * n},20,{30 + 3 * n},40,0.9")
        if second:
            lines.append(f"a.mp4,{at},100,90,120,110,0.5")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("unit", ["frame", "seconds"])
def test_the_crop_follows_the_animal(tmp_path, unit):
    video = moving_squares(tmp_path / "a.mp4")
    boxes = boxes_csv(tmp_path / "b.csv", step=5, unit=unit)
    assert run(["videos", "crop", str(video), "--boxes", str(boxes), "-o", str(tmp_path / "out"),
                "--margin", "0.5", "--smooth-seconds", "0.1"]) == 0  # fmt: skip
    (row,) = read_rows(tmp_path / "out/crops.csv")
    assert (row["side_px"], row["num_frames"], row["num_without_box"]) == ("40", "30", "24")
    crop = read_video(tmp_path / "out" / row["video"], stride=1)
    assert crop.pixels.shape == (30, 40, 40, 3)
    assert np.allclose(crop.seconds, np.arange(30) / 25, atol=1e-3)
    # The square is in the middle until the last box, and the size of the crop does not change.
    red = (crop.pixels[1:26, :, :, 0] > 190) & (crop.pixels[1:26, :, :, 1] < 90)
    centres = [np.argwhere(mask).mean(0) for mask in red]
    assert np.allclose(centres, 19.5, atol=2.5)


def test_two_animals_are_two_videos_and_the_surer_is_first(tmp_path):
    video = moving_squares(tmp_path / "a.mp4", second=True)
    boxes = boxes_csv(tmp_path / "b.csv", second=True)
    command = ["videos", "crop", str(video), "--boxes", str(boxes), "--json"]
    assert run([*command, "-o", str(tmp_path / "one")]) == 0
    assert [row["individual"] for row in read_rows(tmp_path / "one/crops.csv")] == ["1"]
    assert run([*command, "-o", str(tmp_path / "two"), "--individuals", "2"]) == 0
    rows = read_rows(tmp_path / "two/crops.csv")
    colours = [
        read_video(tmp_path / "two" / row["video"], stride=8).pixels[1, 15, 15].argmax() for row in rows
    ]
    assert colours == [0, 2]


def test_megadetector_boxes_are_shares_of_the_picture(tmp_path):
    video = moving_squares(tmp_path / "a.mp4")
    path = tmp_path / "md.json"
    detections = [
        {"category": "1", "conf": 0.8, "bbox": [(10 + 3 * n) / 160, 20 / 120, 20 / 160, 20 / 120],
         "frame_number": n} for n in range(0, 30, 3)
    ]  # fmt: skip
    person = {"category": "2", "conf": 0.99, "bbox": [0, 0, 1, 1], "frame_number": 0}
    images = [{"file": "a.mp4", "detections": [person, *detections]}, {"file": "b.mp4", "detections": None}]
    content = {"images": images, "detection_categories": {"1": "animal", "2": "person"}}
    path.write_text(json.dumps(content))
    read = read_boxes(path)
    own = read.boxes[video]
    assert len(own) == 10
    assert (own[1].at, own[1].score) == (3, 0.8)
    assert own[1].x1 * 160 == pytest.approx(39)
    assert not read.in_pixels
    assert not read_boxes(path, min_score=0.9).boxes[video]
    assert run(["videos", "crop", str(video), "--boxes", str(path), "-o", str(tmp_path / "out")]) == 0
    assert read_rows(tmp_path / "out/crops.csv")[0]["side_px"] == "30"

    del detections[0]["frame_number"]
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="boxes of pictures"):
        read_boxes(path)
    path.write_text("[]")
    with pytest.raises(UsageError, match="not in MegaDetector's format"):
        read_boxes(path)


def test_boxes_of_the_drawn_world_and_its_labels(tmp_path):
    write_menagerie(tmp_path / "w", train=2, test=0, val=0, workers=1, still=True)
    command = ["videos", "crop", str(tmp_path / "w/clips"), "--boxes", str(tmp_path / "w/boxes.csv"),
               "--table", str(tmp_path / "w/table.csv"), "-o", str(tmp_path / "out")]  # fmt: skip
    assert run(command) == 0
    table = read_table(tmp_path / "out/table.csv", check_files=True)
    before = read_table(tmp_path / "w/table.csv")
    assert table.counts() == before.counts()
    assert table.counts("camera") == before.counts("camera")
    assert table.counts("group") == before.counts("group")
    assert all(row["num_without_box"] == "0" for row in read_rows(tmp_path / "out/crops.csv"))
    assert all(int(row["side_px"]) < 100 for row in read_rows(tmp_path / "out/crops.csv"))


def test_tracks_end_at_long_gaps_and_names_come_before_overlap():
    def box(at, x=0.0, name=""):
        return Box(at, x, 0, x + 10, 10, 1.0, name)

    def linked(*boxes, max_gap=50):
        sequences = link_boxes(boxes, max_gap=max_gap, min_overlap=0.1)
        return [(own.individual, [[box.at for box in track] for track in own.tracks]) for own in sequences]

    # A long gap ends a track, and the next animal continues the sequence.
    assert linked(box(0), box(5), box(90)) == [("1", [[0, 5], [90]])]
    # Two animals at the same time are two sequences; a third one later continues that of the surest.
    assert linked(box(0), box(0, 50), box(1), box(1, 50), box(2), box(99, 99)) == [
        ("1", [[0, 1, 2], [99]]),
        ("2", [[0, 1]]),
    ]
    names = linked(box(0, 0, "ana"), box(9, 500, "ana"), box(9, 0, "bo"), max_gap=5)
    assert names == [("ana", [[0], [9]]), ("bo", [[9]])]
    # Numbers that are names already are not given again.
    assert {name for name, _ in linked(box(0, 0, "1"), box(0, 50))} == {"1", "2"}


def test_a_video_without_boxes_is_written_whole_and_said(tmp_path, capsys):
    for name in ("a.mp4", "b.mp4"):
        moving_squares(tmp_path / "v" / name, frames=4)
    (tmp_path / "v/c.mp4").write_bytes(b"no video")
    boxes_csv(tmp_path / "v/b.csv")
    assert run(["videos", "crop", str(tmp_path / "v"), "--boxes", str(tmp_path / "v/b.csv"),
                "-o", str(tmp_path / "out")]) == 3  # fmt: skip
    rows = {row["source"].rsplit("/", 1)[1]: row for row in read_rows(tmp_path / "out/crops.csv")}
    assert (rows["b.mp4"]["side_px"], rows["b.mp4"]["num_without_box"]) == ("0", "4")
    printed = capsys.readouterr().out
    assert "1 of them whole" in printed
    assert "c.mp4" in printed


def test_wrong_boxes_are_named(tmp_path, capsys):
    video = moving_squares(tmp_path / "a.mp4", frames=2)
    path = tmp_path / "b.csv"
    path.write_text("video,frame,x0,y0,x1\na.mp4,0,1,1,2\n")
    with pytest.raises(TableError, match="y1 are missing"):
        read_boxes(path)
    path.write_text("video,frame,x0,y0,x1,y1\na.mp4,0,9,1,2,2\na.mp4,zero,1,1,2,2\n")
    with pytest.raises(TableError, match="row 3"):
        read_boxes(path)
    path.write_text("video,frame,x0,y0,x1,y1\nother.mp4,0,1,1,2,2\n")
    command = ["videos", "crop", str(video), "--boxes", str(path), "-o", str(tmp_path / "out")]
    assert run(command) == 1
    boxes_csv(path, second=True)
    (tmp_path / "t.csv").write_text("video,label\na.mp4,run\n")
    assert run([*command, "--individuals", "2", "--table", str(tmp_path / "t.csv")]) == 1
    assert "which of the individuals 1, 2 of" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_a_source_that_is_cut_short_is_said_to_be_partial(tmp_path, capsys):
    video = moving_squares(tmp_path / "a.mp4")
    data = remuxed_cut(video, tmp_path / "v/a.mkv")
    boxes = tmp_path / "v/b.csv"
    boxes.write_text("video,frame,x0,y0,x1,y1\na.mkv,0,1,1,20,20\n")
    assert run(["videos", "crop", str(data), "--boxes", str(boxes), "-o", str(tmp_path / "out")]) == 3
    assert "1 partial, 0 failed" in " ".join(capsys.readouterr().out.split())


def remuxed_cut(source, path):
    """The video as a Matroska file whose last part is missing."""
    path.parent.mkdir()
    with av.open(str(source)) as read, av.open(str(path), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                write.mux(packet)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path
