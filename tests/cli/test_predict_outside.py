"""`actiondiff predict` abstains on videos unlike those that the model was trained on, and says why."""

import json
import shutil

import numpy as np
import pytest
from tests.cli.conftest import SMALL
from tests.conftest import read_rows, write_rows

from actiondiff.app.corrections import BoutEdit, Correction
from actiondiff.app.folder_server import _read_cutting
from actiondiff.app.opened_folder import OpenedFolder
from actiondiff.app.retraining import Retraining
from actiondiff.cli.main import run
from actiondiff.features.store import FeatureStore
from actiondiff.inference.guard import load_guard
from actiondiff.inference.model import ActionDiff
from actiondiff.video.write import write_video

LEARNT = "learnt at 5"  # every second frame of 10 a second


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A video like those of training, and one of each kind that is not."""
    folder = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(5)
    pixels = random.integers(0, 90, (12, 32, 32, 3), dtype=np.uint8) + np.uint8(150)
    write_video(folder / "like.mp4", pixels, fps=10)
    write_video(folder / "slow.mp4", pixels, fps=1)
    write_video(folder / "fast.mp4", np.repeat(pixels, 3, axis=0), fps=30)
    write_video(folder / "gray.mp4", np.repeat(pixels[..., :1], 3, axis=-1), fps=10)
    write_video(folder / "small.mp4", pixels[:, :8, :8], fps=10)
    write_video(folder / "black.mp4", pixels // 64, fps=10)
    return folder


def predict(trained, *arguments) -> int:
    return run(["predict", str(trained), *map(str, arguments), "--device", "cpu"])


def test_what_lies_outside_has_no_label_and_comes_first(trained, videos, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(trained, videos, "-o", out) == 0
    printed = capsys.readouterr().out
    assert "Outside what the model has learnt from, 4 of 6 videos; they get no label" in printed
    assert f"slow.mp4: 1 frame a second; {LEARNT}" in printed
    found = {row["video"].rsplit("/", 1)[1]: row for row in read_rows(out / "predictions.csv")}
    assert {name: (row["status"], bool(row["label"])) for name, row in found.items()} == {
        "like.mp4": ("ok", True), "fast.mp4": ("ok", True),  # it is sampled by time, as the others
        "slow.mp4": ("outside", False), "gray.mp4": ("outside", False), "small.mp4": ("outside", False),
        "black.mp4": ("outside", False),
    }  # fmt: skip
    reasons = {name: row["outside"] for name, row in found.items()}
    assert "pictures of 8x8 pixels; learnt from 32x32" in reasons["small.mp4"]
    assert "mean saturation 0 %" in reasons["gray.mp4"]
    assert "mean brightness 1 %" in reasons["black.mp4"]
    assert all(row["probability"] for row in found.values())
    queue = read_rows(out / "queue.csv")
    assert [bool(row["outside"]) for row in queue] == [True] * 4 + [False] * 2
    listed = read_rows(out / "failures.csv")
    assert {row["video"].rsplit("/", 1)[1] for row in listed} == {
        "slow.mp4", "gray.mp4", "small.mp4", "black.mp4",
    }  # fmt: skip
    # What is sampled by time is stored apart, with that in the settings.
    stores = [FeatureStore.open(out / name) for name in ("features", "features-by-time")]
    assert [store.settings["sampling"] for store in stores] == [{"stride": 2}, {"fps": 5.0}]
    assert [len(store.videos()) for store in stores] == [4, 2]
    seconds = stores[1].load(stores[1].index.identity[0], []).seconds
    assert np.median(np.diff(seconds)) == pytest.approx(0.2, abs=0.01)

    # A second run reads no video, and gives labels where one asks for them.
    assert predict(trained, videos, "-o", out, "--no-abstain-outside", "--json") == 0
    assert json.loads(capsys.readouterr().out)["outside"] == 4
    again = read_rows(out / "predictions.csv")
    assert all(row["label"] for row in again)
    assert sum(row["status"] == "outside" for row in again) == 4


def test_timelines_have_no_bouts_where_they_lie_outside(trained, videos, tmp_path, capsys):
    arguments = ["--timeline", "--format", "csv,json"]
    assert predict(trained, videos / "like.mp4", videos / "slow.mp4", "-o", tmp_path, *arguments) == 0
    assert "unknown" in capsys.readouterr().out
    like, slow = json.loads((tmp_path / "timelines.json").read_text())
    assert like["bouts"]
    assert like["outside"] == []
    assert slow["bouts"] == []
    assert slow["outside"][0] == f"1 frame a second; {LEARNT}"
    assert read_rows(tmp_path / "queue.csv")[0]["video"].endswith("slow.mp4")
    assert run(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "1 of 2 videos lie outside what the model has learnt from" in page
    assert f"1 frame a second; {LEARNT}" in page


def test_a_model_without_a_guard_says_so(trained, videos, tmp_path, capsys, caplog):
    """As models of older versions are."""
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run/guard.safetensors").unlink()
    assert predict(tmp_path / "run", videos / "slow.mp4", "-o", tmp_path / "out") == 0
    assert "This model has no guard" in capsys.readouterr().out
    assert "1 frames a second were read; the model has learnt from 5" in caplog.text
    (row,) = read_rows(tmp_path / "out/predictions.csv")
    assert (row["status"], bool(row["label"]), row["distance"]) == ("ok", True, "")


def test_training_on_with_corrections_widens_the_guard(trained, videos, tmp_path):
    """On the page: videos of another frame rate are inside once the model has learnt from them."""
    for n in range(3):
        shutil.copyfile(videos / "slow.mp4", tmp_path / f"{n}.mp4")
        with open(tmp_path / f"{n}.mp4", "ab") as file:
            file.write(bytes(8 + n))  # other contents
    model = ActionDiff.from_pretrained(trained, device="cpu")
    opened = OpenedFolder(model, tmp_path, tmp_path / "out", tmp_path / "scratch")
    opened.start()
    opened._reader.join()
    assert [row["outside"].split(" | ")[0] for row in opened.state()["videos"]] == [
        f"1 frame a second; {LEARNT}"
    ] * 3
    assert all(timeline.bouts == () for timeline in opened.timelines.values())
    assert opened.cut_values()["abstain_outside"] is True
    opened.cut(_read_cutting(b'{"abstain_outside": false}'))  # the switch of the page
    assert opened.cut_values()["abstain_outside"] is False
    assert all(timeline.bouts for timeline in opened.timelines.values())
    opened.cut(_read_cutting(b"{}"))  # the model's own values
    assert not any(timeline.bouts for timeline in opened.timelines.values())
    for video in opened.videos:
        bout = BoutEdit(label="bright", start_seconds=0, end_seconds=video.timeline.end_seconds)
        opened.corrections.save(Correction(video=video.name, bouts=(bout,), done=True), opened.timelines)
    retraining = Retraining(opened, trained, "before")
    retraining._compare(*retraining._tables())
    sides = json.loads((tmp_path / "out/models/sides.json").read_text("utf-8"))
    assert sides == {"0.mp4": "train", "1.mp4": "train", "2.mp4": "test"}
    after, name = retraining._models["new"]
    assert not any(opened.predict(after, video).abstains for video in opened.videos)
    assert (
        load_guard(tmp_path / "out/models" / name, token_width=model.config.token_width).facts
        == after.guard.facts
    )


def test_scores_stand_beside_the_share_of_clips_outside(trained, videos, tmp_path, capsys):
    metrics = json.loads((trained / "metrics.json").read_text("utf-8"))
    assert metrics["test"]["outside"] == {"num_clips": 0, "causes": {}}
    words = f"0 of {metrics['test']['num_clips']} test clips lie outside what the model has learnt from."
    assert words in (trained / "README.md").read_text("utf-8")

    names = ("like", "slow", "gray", "black")
    rows = [{"video": str(videos / f"{name}.mp4"), "label": "bright"} for name in names]
    write_rows(tmp_path / "table.csv", rows)
    store = str(tmp_path / "features")
    assert run(["extract", str(tmp_path / "table.csv"), "-o", store, *SMALL, "--stride", "2"]) == 0
    capsys.readouterr()
    evaluate = ["evaluate", str(trained), store, str(tmp_path / "table.csv")]
    assert run([*evaluate, "--json"]) == 0
    outside = json.loads(capsys.readouterr().out)["outside"]
    assert outside["num_clips"] == 3
    assert (outside["causes"]["frame rate"], outside["causes"]["saturation"]) == (1, 2)
    assert run(evaluate) == 0
    assert "3 of 4 test clips (75 %) lie outside what the model has learnt from" in capsys.readouterr().out

    # A model of an older version has no guard.
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run/guard.safetensors").unlink()
    assert run(["evaluate", str(tmp_path / "run"), *evaluate[2:], "--json"]) == 0
    assert "outside" not in json.loads(capsys.readouterr().out)
