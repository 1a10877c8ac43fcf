"""`actiondiff predict`: a row a video that decodes, an exit code for those that do not."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import read_rows, store_contents, written_files

from actiondiff.cli.main import run
from actiondiff.extraction import runners
from actiondiff.inference.feature_cache import FeatureCache
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.options import TimelineOptions
from actiondiff.video.write import write_video

FIXED = ["video", "status", "label", "probability", "coverage", "padding_share", "num_tokens", "num_spans",
         "distance", "outside"]  # fmt: skip


def predict(trained, *arguments) -> int:
    return run(["predict", str(trained), *map(str, arguments), "--device", "cpu"])


def test_predict_a_folder(study_folder, trained, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(trained, study_folder / "clips", "-o", out, "--format", "csv,json") == 0
    printed = capsys.readouterr().out
    assert "16 predicted, 0 partial, 0 failed" in printed
    assert printed.startswith("The model's own test: NOT SHOWN TO BE BETTER THAN GUESSING")
    assert "a guess" in printed  # four test clips show nothing, so no probability is printed

    found = read_rows(out / "predictions.csv")
    assert list(found[0]) == [*FIXED, "p(bright)", "p(dark)"]
    videos = sorted((study_folder / "clips").iterdir(), key=lambda path: path.as_posix())
    assert [row["video"] for row in found] == [str(path) for path in videos]
    for row in found:
        assert (row["status"], float(row["coverage"]), row["num_tokens"], row["num_spans"]) == (
            "ok",
            1,
            "6",
            "1",
        )
        assert float(row["padding_share"]) == 0.25  # six frames in two windows of four
        assert float(row["probability"]) == max(float(row["p(bright)"]), float(row["p(dark)"]))
        assert float(row["p(bright)"]) + float(row["p(dark)"]) == pytest.approx(1, abs=2e-6)
        assert row["label"] == max(("bright", "dark"), key=lambda label: float(row[f"p({label})"]))
    items = json.loads((out / "predictions.json").read_text())
    assert [item["video"] for item in items] == [row["video"] for row in found]
    alone = ActionDiff.from_pretrained(trained, device="cpu").predict(found[3]["video"])
    assert items[3]["probabilities"] == pytest.approx(alone.probabilities, abs=2e-6)
    assert read_rows(out / "failures.csv") == []


def test_what_does_not_decode_is_no_row(study_folder, trained, tmp_path, capsys):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "good, ü.mp4").write_bytes((study_folder / "clips/0.mp4").read_bytes())
    (folder / "bad.mp4").write_text("no video")
    (folder / "empty.avi").touch()
    out = tmp_path / "out"
    assert predict(trained, folder, "-o", out, "--json") == 3
    summary = json.loads(capsys.readouterr().out)
    counts = {"predicted": 1, "partial": 0, "failed": 2, "outside": 0}
    assert summary == {**counts, "out": str(out), "beats_guessing": False}
    assert [row["video"] for row in read_rows(out / "predictions.csv")] == [str(folder / "good, ü.mp4")]
    failed = read_rows(out / "failures.csv")
    assert [(row["video"], row["status"]) for row in failed] == [
        (str(folder / "bad.mp4"), "failed"),
        (str(folder / "empty.avi"), "failed"),
    ]
    assert "0 bytes" in failed[1]["reason"]
    assert predict(trained, folder / "bad.mp4", "-o", tmp_path / "none") == 3
    assert read_rows(tmp_path / "none/predictions.csv") == []
    assert "failed" in capsys.readouterr().out


def test_a_partial_video_has_a_row_with_its_coverage(trained, shared_dir, tmp_path, capsys):
    cut = shared_dir / "videos" / "made_truncated_ucf101_Basketball.avi"
    assert predict(trained, cut, "-o", tmp_path / "out") == 3
    assert "1 predicted, 1 partial, 0 failed" in capsys.readouterr().out
    (row,) = read_rows(tmp_path / "out/predictions.csv")
    assert row["status"] == "partial"
    assert float(row["coverage"]) == pytest.approx(85 / 141, abs=1e-4)
    failure, outside = read_rows(tmp_path / "out/failures.csv")
    assert (failure["video"], failure["status"]) == (str(cut), "partial")
    assert (outside["video"], outside["status"]) == (str(cut), "outside")  # the model knows pictures of 32x32


def test_an_interruption_keeps_what_was_predicted(study_folder, trained, tmp_path, monkeypatch):
    classify = ActionDiff.classify
    seen = []

    def interrupt(self, features, name):
        seen.append(name)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return classify(self, features, name)

    monkeypatch.setattr(ActionDiff, "classify", interrupt)
    assert predict(trained, study_folder / "clips", "-o", tmp_path / "out") == 130
    assert [row["video"] for row in read_rows(tmp_path / "out/predictions.csv")] == seen[:3]


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the videos that are decoded from now on."""
    from actiondiff.inference import reading

    names: list[str] = []
    read = reading.read_chunks

    def note(video, *arguments, **options):
        names.append(str(video))
        return read(video, *arguments, **options)

    monkeypatch.setattr(reading, "read_chunks", note)
    return names


def test_other_options_need_no_second_pass(study_folder, trained, tmp_path, decoded, monkeypatch):
    """Features are kept by content; neither videos nor the backbone are needed to cut bouts again."""
    videos = tmp_path / "videos"
    shutil.copytree(study_folder / "clips", videos)
    shutil.copy(videos / "3.mp4", videos / "three again.mp4")
    assert predict(trained, videos, "-o", tmp_path / "out", "--timeline") == 0
    assert len(decoded) == 16
    first = (tmp_path / "out/scores.csv").read_text()
    decoded.clear()
    monkeypatch.setattr("actiondiff.inference.reading.backbone_from_settings", None)
    options = ["--timeline", "--min-seconds", 99, "--format", "csv,json"]
    assert predict(trained, videos, "-o", tmp_path / "out", *options) == 0
    assert (tmp_path / "out/scores.csv").read_text() == first
    assert read_rows(tmp_path / "out/bouts.csv") == []
    assert predict(trained, videos, "-o", tmp_path / "other", "--features", tmp_path / "out/features") == 0
    assert len(read_rows(tmp_path / "other/predictions.csv")) == 17
    assert decoded == []
    assert not (tmp_path / "other/features").exists()


@pytest.mark.parametrize("options", [(), ("--timeline",)])
def test_several_processes_predict_the_same_as_one(
    study_folder, trained, tmp_path, decoded, monkeypatch, options
):
    """Failures too; the processes are started only where there is enough to do."""
    videos = tmp_path / "videos"
    shutil.copytree(study_folder / "clips", videos)
    (videos / "bad.mp4").write_text("no video")
    monkeypatch.setattr(runners, "_WORTH_A_WORKER", 1)
    monkeypatch.setattr(runners, "num_cores", lambda: 2)
    assert predict(trained, videos, "-o", tmp_path / "one", "--workers", 1, *options) == 3
    assert len(decoded) == 17
    decoded.clear()
    assert predict(trained, videos, "-o", tmp_path / "two", *options) == 3
    assert decoded == [str(videos / "bad.mp4")]
    assert features_in(tmp_path / "one") == features_in(tmp_path / "two")
    results = [name for name in written_files(tmp_path / "one") if name.endswith(".csv")]
    assert "failures.csv" in results
    for name in results:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def features_in(out):
    contents = store_contents(out / "features")
    return {name: data for name, data in contents.items() if name.endswith(".safetensors")}


def test_the_store_of_the_training_serves_too(study_folder, trained, tmp_path, decoded):
    assert predict(trained, study_folder / "clips", "-o", tmp_path / "new") == 0
    decoded.clear()
    features = tmp_path / "features"
    shutil.copytree(study_folder / "features", features)
    assert predict(trained, study_folder / "clips", "-o", tmp_path / "out", "--features", features) == 0
    assert decoded == []
    texts = [(tmp_path / name / "predictions.csv").read_text() for name in ("new", "out")]
    assert texts[0] == texts[1]


def test_changed_and_damaged_videos_are_read_again(study_folder, trained, tmp_path, decoded):
    videos = tmp_path / "videos"
    shutil.copytree(study_folder / "clips", videos)
    assert predict(trained, videos, "-o", tmp_path / "out") == 0
    first = (tmp_path / "out/predictions.csv").read_text()
    decoded.clear()
    shutil.copy(videos / "1.mp4", videos / "0.mp4")  # a content that is stored, under another name
    stored = sorted((tmp_path / "out/features").rglob("*.safetensors"))
    stored[5].write_bytes(stored[5].read_bytes()[:100])
    assert predict(trained, videos, "-o", tmp_path / "out") == 0
    assert len(decoded) <= 1
    rows = read_rows(tmp_path / "out/predictions.csv")
    assert [rows[0][name] for name in FIXED[1:]] == [rows[1][name] for name in FIXED[1:]]
    assert (tmp_path / "out/predictions.csv").read_text().splitlines()[2:] == first.splitlines()[2:]


def test_a_store_of_another_backbone_is_refused(study_folder, trained, tmp_path, capsys):
    clips, features = study_folder / "clips", tmp_path / "features"
    assert run(["extract", str(clips), "-o", str(features), "--backbone", "pixels", "--device", "cpu"]) == 0
    capsys.readouterr()
    assert predict(trained, clips, "-o", tmp_path / "out", "--features", features) == 1
    assert "was made with other settings" in capsys.readouterr().err
    assert not (tmp_path / "out/predictions.csv").exists()


def test_an_interrupted_prediction_goes_on(study_folder, trained, tmp_path, decoded, monkeypatch, capsys):
    add = FeatureCache.add
    names = []

    def interrupt(self, video, features):
        if len(names) == most:
            raise KeyboardInterrupt
        names.append(str(video))
        add(self, video, features)

    monkeypatch.setattr(FeatureCache, "add", interrupt)
    most = 0
    assert predict(trained, study_folder / "clips", "-o", tmp_path / "none") == 130
    assert not (tmp_path / "none/predictions.csv").exists()
    most = 4
    assert predict(trained, study_folder / "clips", "-o", tmp_path / "out") == 130
    assert "\n4 of 16 videos are done, and their features are in" in capsys.readouterr().err
    monkeypatch.setattr(FeatureCache, "add", add)
    decoded.clear()
    assert predict(trained, study_folder / "clips", "-o", tmp_path / "out") == 0
    assert len(decoded) == 12
    assert not set(decoded) & set(names)
    assert len(read_rows(tmp_path / "out/predictions.csv")) == 16


KILLED = """
import os, sys
from actiondiff.cli.main import run
from actiondiff.inference.feature_cache import FeatureCache

add, names = FeatureCache.add, []

def kill(self, video, features):
    if len(names) == 4:
        os.kill(os.getpid(), 9)
    names.append(video)
    add(self, video, features)

FeatureCache.add = kill
run(sys.argv[1:])
"""


def test_a_killed_prediction_loses_nothing(study_folder, trained, tmp_path, decoded):
    """Neither the features of the videos that it had read, nor the results of an earlier run."""
    clips, out = study_folder / "clips", tmp_path / "out"
    assert predict(trained, clips / "0.mp4", "-o", out, "--features", tmp_path / "features") == 0
    before = {name: (out / name).read_bytes() for name in ("predictions.csv", "queue.csv")}
    arguments = ["predict", trained, clips, "-o", out, "--features", tmp_path / "features", "--device", "cpu"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert {name: (out / name).read_bytes() for name in before} == before
    decoded.clear()
    assert predict(trained, clips, "-o", out, "--features", tmp_path / "features") == 0
    assert len(decoded) == 16 - 1 - 4
    assert predict(trained, clips, "-o", tmp_path / "fresh") == 0
    assert (out / "predictions.csv").read_bytes() == (tmp_path / "fresh/predictions.csv").read_bytes()


def test_a_device_that_is_not_there(study_folder, trained, tmp_path, capsys):
    """It is reported in one line, before anything is read or written."""
    for device, message in (("cuda:99", "there is no device cuda:99"), ("gpu", "unknown device 'gpu'")):
        arguments = ["predict", str(trained), str(study_folder / "clips"), "-o", str(tmp_path / "out")]
        assert run([*arguments, "--device", device]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out/features").exists()


def test_what_cannot_be_done_is_said(study_folder, trained, tmp_path, capsys):
    clip, out = study_folder / "clips/0.mp4", tmp_path / "out"
    (tmp_path / "nothing").mkdir()
    for arguments, said in (
        ([trained, clip, "-o", out, "--format", "xlsx"], "unknown format 'xlsx'. Known: csv, json."),
        ([trained, tmp_path / "gone.mp4", "-o", out], "gone.mp4 does not exist"),
        ([trained, tmp_path / "nothing", "-o", out], "no videos in"),
        ([study_folder / "features", clip, "-o", out], "holds no trained model"),
        ([tmp_path / "gone", clip, "-o", out], "there is no folder"),
    ):
        assert predict(*arguments) == 1
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not out.exists()


def test_abstaining_and_the_queue(study_folder, trained, tmp_path, capsys):
    """Below the limit a clip has no label; the queue holds the least certain, to be labelled."""
    out = tmp_path / "out"
    assert predict(trained, study_folder / "clips", "-o", out, "--abstain-below", 0.999, "--queue", 3) == 0
    found = read_rows(out / "predictions.csv")
    doubtful = [row for row in found if float(row["probability"]) < 0.999]
    assert [row for row in found if not row["label"]] == doubtful
    assert f"{len(doubtful)} abstained" in capsys.readouterr().out
    queue = read_rows(out / "queue.csv")
    assert len(queue) == 3
    least = sorted(abs(float(row["p(bright)"]) - float(row["p(dark)"])) for row in found)[:3]
    assert [float(row["certainty"]) for row in queue] == pytest.approx(least, abs=1e-4)
    assert {row["label"] for row in queue} == {""}
    assert all((out / row["video"]).resolve().is_file() for row in queue)


def test_timeline(study_folder, trained, tmp_path, capsys):
    """Every format at once, of a video that is dark, then bright; the summary counts its bouts."""
    pixels = np.random.default_rng(9).integers(0, 90, (40, 32, 32, 3), dtype=np.uint8)
    pixels[20:] += 150
    write_video(tmp_path / "long.mp4", pixels, fps=10)
    out = tmp_path / "out"
    formats = "csv,json,boris,deepethogram"
    options = ["--timeline", "--format", formats, "--span-seconds", 0.8, "--min-seconds", 1, "--threshold", 0]
    assert predict(trained, tmp_path / "long.mp4", "-o", out, *options, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    bouts = read_rows(out / "bouts.csv")
    assert summary["bouts"] == len(bouts) >= 1
    assert {row["label"] for row in bouts} <= {"bright", "dark"}
    assert {name for name in written_files(out) if not name.startswith("features/")} == {
        "bouts.csv", "scores.csv", "timelines.json", "queue.csv", "failures.csv", "predicted.json",
        "boris/project.boris", "boris/aggregated.csv", "boris/tabular/long.csv",
        "deepethogram/long/long_labels.csv", "deepethogram/videos.csv",
    }  # fmt: skip
    assert len(read_rows(out / "queue.csv")) == 5  # four seconds in stretches of 0.8
    found = ActionDiff.from_pretrained(trained, device="cpu").timeline(
        tmp_path / "long.mp4", options=TimelineOptions(span_seconds=0.8, min_seconds=1, threshold=0)
    )
    assert [float(row["start_seconds"]) for row in bouts] == pytest.approx(
        [bout.start_seconds for bout in found.bouts], abs=1e-3
    )
    assert (
        predict(trained, tmp_path / "long.mp4", "-o", tmp_path / "none", "--timeline", "--abstain-below", 1)
        == 0
    )
    assert read_rows(tmp_path / "none/bouts.csv") == []


def test_another_arithmetic(study_folder, trained, tmp_path, capsys):
    """It is what the backbone works in, and is written down."""
    found = {}
    for name, options in (("own", []), ("other", ["--dtype", "bfloat16"])):
        assert predict(trained, study_folder / "clips/1.mp4", "-o", tmp_path / name, *options) == 0
        record = json.loads((tmp_path / name / "predicted.json").read_text())
        found[record["dtype"]] = record["videos"][0]["probabilities"]["dark"]
    assert set(found) == {"float32", "bfloat16"}
    assert found["float32"] != found["bfloat16"]
    assert found["float32"] == pytest.approx(found["bfloat16"], abs=0.1)
    assert predict(trained, study_folder / "clips/1.mp4", "-o", tmp_path, "--dtype", "int8") == 1
    assert "--dtype: Input should be 'float32', 'float16' or 'bfloat16'" in capsys.readouterr().err


def test_heatmaps_of_the_surest_clips(study_folder, trained, tmp_path, capsys):
    """Of each label the surest, as numbers and as a strip, and what the model itself finds there."""
    out = tmp_path / "out"
    assert predict(trained, study_folder / "clips", "-o", out, "--heatmaps", 2, "--json") == 0
    assert json.loads(capsys.readouterr().out)["heatmaps"] == 4
    record = json.loads((out / "predicted.json").read_text())
    made = record["heatmaps"]
    for label in ("bright", "dark"):
        surest = sorted(record["videos"], key=lambda video: -video["probabilities"][label])
        assert [row["video"] for row in made if row["label"] == label] == [row["video"] for row in surest[:2]]
    model = ActionDiff.from_pretrained(trained, device="cpu")
    for row in made:
        picture = out / row["picture"]
        with Image.open(picture) as strip:
            assert strip.size == (4 * 96 + 6, 2 * 96 + 2)
        alone = model.localize(row["video"], row["label"])
        with np.load(picture.with_suffix(".npz")) as numbers:
            assert np.array_equal(numbers["probabilities"], alone.probabilities)
            assert str(numbers["action"]) == row["label"]
    assert predict(trained, study_folder / "clips", "-o", out) == 0
    assert "heatmaps" not in json.loads((out / "predicted.json").read_text())


def test_heatmaps_of_bouts(trained, tmp_path, capsys):
    """Only the bout is searched, and of a long one its beginning."""
    pixels = np.random.default_rng(9).integers(0, 90, (340, 32, 32, 3), dtype=np.uint8)
    pixels[20:] += 150
    write_video(tmp_path / "long.mp4", pixels, fps=10)
    out = tmp_path / "out"
    options = ["--timeline", "--span-seconds", 0.8, "--min-seconds", 1, "--heatmaps", 1]
    assert predict(trained, tmp_path / "long.mp4", "-o", out, *options) == 0
    made = json.loads((out / "predicted.json").read_text())["heatmaps"]
    assert f"{len(made)} heatmaps" in capsys.readouterr().out
    bouts = {row["label"]: row for row in read_rows(out / "bouts.csv")}
    assert {row["label"] for row in made} == set(bouts) == {"bright", "dark"}
    for row in made:
        with np.load((out / row["picture"]).with_suffix(".npz")) as numbers:
            seconds = numbers["seconds"]
        start, end = (float(bouts[row["label"]][name]) for name in ("start_seconds", "end_seconds"))
        assert seconds[0] == pytest.approx(start, abs=1e-3)
        assert len(seconds) == min(64, round((end - start) * 5))  # every second frame is sampled


def test_options_of_bouts_need_a_timeline(study_folder, trained, tmp_path, capsys):
    clip = study_folder / "clips/0.mp4"
    for arguments, said in (
        (["--format", "boris"], "add --timeline"),
        (["--min-seconds", 1], "--min-seconds is about bouts: add --timeline"),
        (["--timeline", "--format", "camtrap-dp"], "--about"),
        (["--about", "about.csv"], "--about is used for Camtrap DP only; got about.csv. Add --timeline"),
        (["--timeline", "--project", "p.yaml"], "--project is used for Camtrap DP only; got p.yaml"),
    ):
        assert predict(trained, clip, "-o", tmp_path / "out", *arguments) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_timelines_that_all_failed_are_recorded_as_timelines(trained, tmp_path, capsys):
    (tmp_path / "bad.mp4").write_text("no video")
    assert predict(trained, tmp_path / "bad.mp4", "-o", tmp_path / "out", "--timeline") == 3
    assert json.loads((tmp_path / "out/predicted.json").read_text())["kind"] == "timelines"
    assert "bouts" in capsys.readouterr().out


def test_a_damaged_crop_does_not_end_the_work_on_other_videos(trained, study_folder, tmp_path):
    (tmp_path / "videos").mkdir()
    shutil.copyfile(study_folder / "clips/0.mp4", tmp_path / "videos/good.mp4")
    (tmp_path / "videos/bad.crop").write_text("{")
    arguments = ["predict", str(trained), str(tmp_path / "videos"), "-o", str(tmp_path / "out")]
    assert run([*arguments, "--device", "cpu", "--workers", "1"]) == 3
    assert [Path(row["video"]).name for row in read_rows(tmp_path / "out/predictions.csv")] == ["good.mp4"]
    (failed,) = read_rows(tmp_path / "out/failures.csv")
    assert "is not a crop file" in failed["reason"]
