"""Two individuals in each video, from their boxes to predictions, exports, a report and the page."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import SMALL
from tests.conftest import read_rows, write_rows

from actiondiff.app.corrections import BoutEdit, Correction
from actiondiff.app.opened_folder import OpenedFolder
from actiondiff.app.retraining import Retraining
from actiondiff.cli.main import run
from actiondiff.errors import UsageError, VideoError
from actiondiff.inference.model import ActionDiff
from actiondiff.video.write import write_video

INDIVIDUALS = ("fox", "hare")  # in the left and in the right half
QUICK = ["head.name=mean-linear", "head.input=plain", "head.project=null", "training.epochs=30",
         "training.warmup_epochs=1", "training.learning_rate=0.1", "training.metric=last"]  # fmt: skip


def kind(number: int, individual: str) -> str:
    """Of four videos, each pair of brightnesses occurs once."""
    bit = number // (2 if individual == "hare" else 1) % 2
    return ("dark", "bright")[bit]


@pytest.fixture(scope="session")
def crop_folder(tmp_path_factory) -> Path:
    """`clips/`, `boxes.csv`, `table.csv` with the column individual, and `run`; not to be changed."""
    folder = tmp_path_factory.mktemp("individuals")
    rng = np.random.default_rng(0)
    labels, boxes = [], []
    for number in range(12):
        pixels = rng.integers(0, 60, (12, 32, 64, 3), dtype=np.uint8)
        for place, name in enumerate(INDIVIDUALS):
            half = pixels[:, :, 32 * place : 32 * (place + 1)]
            half += np.uint8(160 * (kind(number, name) == "bright"))
            labels.append({"video": f"clips/{number}.mp4", "individual": name, "label": kind(number, name)})
            edges = {"x0": 32 * place, "y0": 0, "x1": 32 * (place + 1), "y1": 32}
            boxes += [
                {"video": f"clips/{number}.mp4", "frame": n, **edges, "individual": name} for n in range(12)
            ]
        write_video(folder / "clips" / f"{number}.mp4", pixels, fps=10)
    write_rows(folder / "table.csv", labels)
    write_rows(folder / "boxes.csv", boxes)
    store = [str(folder / "features"), "--boxes", str(folder / "boxes.csv"), "--margin", "0", "--stride", "2"]
    assert run(["extract", str(folder / "table.csv"), "-o", *store, *SMALL, "--layers", "vae"]) == 0
    options = [part for option in QUICK for part in ("--set", option)]
    data = [str(folder / "features"), str(folder / "table.csv"), "-o", str(folder / "run")]
    assert run(["train", *data, *options, "--layer", "vae"]) == 0
    return folder


@pytest.fixture
def videos(crop_folder, tmp_path) -> Path:
    """Two of the videos in a folder, beside the boxes of all."""
    (tmp_path / "new/clips").mkdir(parents=True)
    for number in (1, 2):
        shutil.copy(crop_folder / f"clips/{number}.mp4", tmp_path / "new/clips")
    shutil.copy(crop_folder / "boxes.csv", tmp_path / "new")
    return tmp_path / "new/clips"


def predict(crop_folder, *arguments, boxes=True) -> int:
    more = ["--boxes", str(crop_folder / "boxes.csv"), "--boxes-root", str(crop_folder)] if boxes else []
    own = ["--boxes", str(arguments[0].parent / "boxes.csv")] if boxes else more
    return run(["predict", str(crop_folder / "run"), *map(str, arguments), *own, "--device", "cpu"])


EXPECTED = [("1.mp4", "fox", "bright"), ("1.mp4", "hare", "dark"),
            ("2.mp4", "fox", "dark"), ("2.mp4", "hare", "bright")]  # fmt: skip


def test_each_individual_is_predicted_by_itself(crop_folder, videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(crop_folder, videos, "-o", out, "--format", "csv,json", "--heatmaps", "1") == 0
    printed = capsys.readouterr()
    for name, individual, _ in EXPECTED:
        assert f"{name} · {individual}" in printed.out
    assert "4 crops of 2 videos" in printed.err
    rows = read_rows(out / "predictions.csv")
    assert [(Path(row["video"]).name, row["individual"], row["label"]) for row in rows] == EXPECTED
    assert {Path(row["video"]) for row in rows} == {*videos.iterdir()}
    queue = read_rows(out / "queue.csv")
    assert {(row["video"], row["individual"]) for row in queue} == {
        (f"../new/clips/{name}", individual) for name, individual, _ in EXPECTED
    }
    assert len(read_rows(out / "crops/crops.csv")) == 4
    record = json.loads((out / "predicted.json").read_text())
    assert [(Path(v["video"]).name, v["individual"]) for v in record["videos"]] == [
        (name, individual) for name, individual, _ in EXPECTED
    ]
    assert all((out / video["crop"]).is_file() for video in record["videos"])
    assert run(["report", str(out)]) == 0
    page = (out / "report.html").read_text("utf-8")
    assert "4 individuals in 2 videos" in page
    assert "1.mp4 · fox" in page
    assert "not found" not in page


def test_bouts_of_individuals_come_back_from_boris(crop_folder, videos, tmp_path):
    out = tmp_path / "out"
    formats = ("--timeline", "--format", "csv,boris,deepethogram", "--smooth-seconds", "0")
    assert predict(crop_folder, videos, "-o", out, *formats) == 0
    bouts = read_rows(out / "bouts.csv")
    assert [(Path(row["video"]).name, row["individual"], row["label"]) for row in bouts] == EXPECTED
    assert run(["report", str(out)]) == 0
    assert "of 4 individuals" in (out / "report.html").read_text("utf-8")
    for program, path in (("boris", "boris/project.boris"), ("deepethogram", "deepethogram")):
        back = tmp_path / f"{program}.csv"
        assert run(["table", "import", program, str(out / path), "-o", str(back)]) == 0
        rows = [row for row in read_rows(back) if row["label"] != "background"]
        found = [(Path(row["video"]).name, row["individual"], row["label"]) for row in rows]
        assert sorted(found) == EXPECTED


def test_crop_files_are_predicted_like_videos(crop_folder, capsys, tmp_path):
    crops = crop_folder / "features/crops/clips"
    assert predict(crop_folder, crops, "-o", tmp_path / "out", "--json", boxes=False) == 0
    assert json.loads(capsys.readouterr().out)["predicted"] == 24
    model = ActionDiff.from_pretrained(crop_folder / "run", device="cpu")
    path = next(path for path in sorted(crops.iterdir()) if path.stem.startswith("1-mp4_hare"))
    prediction, timeline = model.predict(path), model.timeline(path)
    assert (prediction.video, prediction.individual) == (str(crop_folder / "clips/1.mp4"), "hare")
    assert (timeline.video, timeline.individual) == (prediction.video, "hare")
    assert prediction.label == "dark"
    assert model.localize(path, "dark").individual == "hare"
    with pytest.raises(VideoError, match="whole video"):
        model.predict(crop_folder / "clips/1.mp4")


def test_a_crop_without_its_video_fails_under_the_name_of_the_video(crop_folder, tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    shutil.copy(crop_folder / "clips/1.mp4", tmp_path / "clips")
    shutil.copy(crop_folder / "boxes.csv", tmp_path)
    assert predict(crop_folder, tmp_path / "clips", "-o", tmp_path / "out") == 0
    (tmp_path / "clips/1.mp4").unlink()
    shutil.rmtree(tmp_path / "out/features")
    assert predict(crop_folder, tmp_path / "out/crops", "-o", tmp_path / "again", boxes=False) == 3
    failed = read_rows(tmp_path / "again/failures.csv")
    assert [(Path(row["video"]).name, row["individual"], row["status"]) for row in failed] == [
        ("1.mp4", "fox", "failed"), ("1.mp4", "hare", "failed"),
    ]  # fmt: skip
    assert "1.mp4 · fox" in capsys.readouterr().out


def test_what_does_not_fit_the_model_is_one_line_before_any_work(
    crop_folder, trained, videos, tmp_path, capsys
):
    def refused(*arguments) -> str:
        capsys.readouterr()
        assert run([*map(str, arguments), "-o", str(tmp_path / "out")]) == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err.strip()

    crop = next((crop_folder / "features/crops/clips").iterdir())
    boxes = videos.parent / "boxes.csv"
    assert "--boxes" in refused("predict", crop_folder / "run", videos)
    assert "is a whole video" in refused("predict", crop_folder / "run", videos)
    assert "is a crop; give its video" in refused("predict", trained, crop)
    assert "leave out --boxes" in refused("predict", trained, videos, "--boxes", boxes)
    idle = refused("predict", crop_folder / "run", videos, "--min-score", 0.5)
    assert "--min-score" in idle
    assert "--boxes" in idle
    assert run(["app", str(crop_folder / "run")]) == 1
    assert "name a folder of videos and --boxes" in capsys.readouterr().err


def test_the_page_corrects_individuals(crop_folder, videos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert predict(crop_folder, videos, "-o", out) == 0
    model = ActionDiff.from_pretrained(crop_folder / "run", device="cpu")
    opened = OpenedFolder(model, out, out / "labels", tmp_path / "scratch")
    assert [video.subject.title for video in opened.videos] == [
        f"../new/clips/{name} · {individual}" for name, individual, _ in EXPECTED
    ]
    assert opened.playable(0) == opened.playable(1)
    assert opened.playable(0).resolve() == videos / "1.mp4"
    opened.start()
    opened._reader.join()
    (first, *_) = opened.details(1)["frames"]
    assert first == [0.0, 0.5, 0.0, 0.5, 1.0]  # the hare is in the right half
    edits = (BoutEdit(label="dark", start_seconds=0.1, end_seconds=1.0),)
    for number in range(4):
        name = opened.videos[number].name
        opened.corrections.save(Correction(video=name, bouts=edits, done=True), opened.timelines)
    rows = read_rows(out / "labels/labels.csv")
    assert [(row["video"], row["individual"], row["label"]) for row in rows] == [
        (f"../../new/clips/{name}", individual, "dark") for name, individual, _ in EXPECTED
    ]
    project = json.loads((out / "labels/project.boris").read_text("ascii"))
    assert [event[1] for event in project["observations"]["1"]["events"]] == ["fox", "hare", "fox", "hare"]
    monkeypatch.setattr("actiondiff.app.retraining._MIN_SPANS", 1)
    train, _ = Retraining(opened, crop_folder / "run", "x")._tables()
    sides = {Path(span.video).stem.split("-")[0]: span.split for span in train.examples}
    assert sides == {"1": "train", "2": "test"}  # both individuals of a video
    shutil.copytree(out / "crops/clips", out / "crops/more")
    with pytest.raises(UsageError, match="both about"):
        OpenedFolder(model, out, out / "labels", tmp_path / "scratch")
