"""Features of animals that boxes cut out of their videos, from `extract --boxes` to a trained head."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import read_rows, write_rows

from actiondiff.cli.main import run
from actiondiff.datasets.table import read_table
from actiondiff.errors import UsageError, VideoError
from actiondiff.features.store import FeatureStore
from actiondiff.inference.model import ActionDiff
from actiondiff.start.comparison import StartVerdict
from actiondiff.start.road import StartOptions, _Road, start
from actiondiff.types import FeatureKey, Frames
from actiondiff.video.crop_file import read_crop
from actiondiff.video.decode import read_video
from actiondiff.video.write import write_video

EXTRACT = ["--backbone", "pixels", "--stride", "2", "--device", "cpu", "--json"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Videos in which a bright and a dark animal move; `labels.csv` names the one on the left of each."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    rows, boxes = [], []
    for number in range(16):
        pixels = rng.integers(100, 130, (12, 64, 96, 3), dtype=np.uint8)
        kind = ("dark", "bright")[number % 2]
        for n in range(12):
            for individual, left in (("ana", 8 + n), ("bo", 60 + n)):
                is_bright = (individual == "ana") == (kind == "bright")
                pixels[n, 24:40, left : left + 16] = 230 if is_bright else 20
                boxes.append([f"clips/{number}.mp4", n, left, 24, left + 16, 40, individual])
        write_video(folder / "clips" / f"{number}.mp4", pixels, fps=10)
        rows.append({"video": f"clips/{number}.mp4", "label": kind, "site": ("north", "south")[number // 8]})
    write_rows(folder / "labels.csv", rows)
    write_rows(folder / "named.csv", [{**row, "individual": "ana"} for row in rows])
    for name, chosen in (("two.csv", ("ana", "bo")), ("ana.csv", ("ana",))):
        with open(folder / name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["video", "frame", "x0", "y0", "x1", "y1", "individual"])
            writer.writerows(row for row in boxes if row[-1] in chosen)
    detections = {}
    for video, n, left, top, right, bottom, individual in boxes:
        shares = [left / 96, top / 64, (right - left) / 96, (bottom - top) / 64]
        own = {
            "category": "1",
            "conf": 0.9 if individual == "ana" else 0.6,
            "bbox": shares,
            "frame_number": n,
        }
        detections.setdefault(video, []).append(own)
    images = [{"file": video, "detections": own} for video, own in detections.items()]
    content = {"detection_categories": {"1": "animal"}, "images": images}
    (folder / "megadetector.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def store(world) -> Path:
    """Features of both animals of each video; not to be changed."""
    command = ["extract", str(world / "clips"), "--boxes", str(world / "two.csv"), *EXTRACT]
    assert run([*command, "-o", str(world / "features")]) == 0
    return world / "features"


def test_each_animal_has_features_of_its_own(world, store):
    opened = FeatureStore.open(store)
    assert len(opened.videos()) == 32
    assert opened.settings["sampling"]["crops"]["margin"] == 0.25
    rows = read_rows(store / "crops/crops.csv")
    assert {row["individual"] for row in rows} == {"ana", "bo"}
    assert all((row["num_frames"], row["num_whole"]) == ("12", "0") for row in rows)
    assert all(name.startswith("clips/") and name.endswith(".crop") for name in opened.videos())


def test_features_have_the_bits_of_frames_that_are_cut_by_hand(world, store):
    from actiondiff.backbones.base import load_backbone

    crop = read_crop(store / "crops/clips/3-mp4_bo.crop")
    whole = read_video(world / "clips/3.mp4", stride=2)
    (piece,), side = crop.pieces, crop.side_px
    pictures = []
    for picture, index in zip(whole.pixels, whole.frame_index, strict=True):
        when = piece.first + piece.step * np.arange(len(piece.columns))
        left, top = (round(np.interp(index, when, c) - side / 2) for c in (piece.columns, piece.rows))
        left, top = min(max(left, 0), 96 - side), min(max(top, 0), 64 - side)
        pictures.append(picture[top : top + side, left : left + side])
    backbone = load_backbone("pixels", device="cpu")
    by_hand = backbone.extract(Frames(np.stack(pictures), whole.seconds, whole.frame_index, crop.identity))
    opened = FeatureStore.open(store)
    stored = opened.load(crop.identity, opened.keys())
    (key,) = opened.keys()
    assert np.array_equal(stored.tokens[key], by_hand.tokens[key])
    assert np.array_equal(stored.seconds, whole.seconds)


def test_extraction_from_crops_continues_and_keeps_other_settings_out(world, tmp_path, capsys):
    def extract(*arguments):
        code = run(["extract", *map(str, arguments), *EXTRACT, "-o", str(tmp_path / "f")])
        out = capsys.readouterr()
        return code, json.loads(out.out) if code == 0 else out.err.strip().splitlines()[-1]

    labels, boxes = world / "labels.csv", world / "ana.csv"
    assert run(["extract", str(labels), "--boxes", str(boxes), *EXTRACT, "--dry-run", "--no-time",
                "-o", str(tmp_path / "f")]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["contents_to_do"] == 16
    assert not (tmp_path / "f").exists()
    assert extract(world / "clips/0.mp4", "--boxes", boxes)[1]["num_done"] == 1
    assert extract(labels, "--boxes", boxes)[1]["num_done"] == 15
    assert extract(labels, "--boxes", boxes)[1]["num_skipped"] == 16
    assert len(read_rows(tmp_path / "f/crops/crops.csv")) == 16
    code, line = extract(labels, "--boxes", boxes, "--margin", "0.5")
    assert (code, "holds features of crops (margin 0.25" in line) == (1, True)
    code, line = extract(labels)
    assert (code, "not of whole videos" in line) == (1, True)
    code, line = extract(labels, "--margin", "0.5")
    assert (code, "--margin needs --boxes" in line) == (1, True)
    code, line = extract(world / "clips/0.mp4", tmp_path / "f/crops/clips")
    assert (code, "do not belong in one store" in line) == (1, True)
    # The crops alone, which name no boxes, are the same features.
    assert extract(tmp_path / "f/crops/table.csv")[1]["num_skipped"] == 16


def test_an_extraction_that_was_killed_after_the_crops_continues(world, tmp_path, monkeypatch, capsys):
    command = ["extract", str(world / "clips"), "--boxes", str(world / "ana.csv"), *EXTRACT]
    monkeypatch.setattr("actiondiff.extraction.planned.FeatureStore.create", None)
    with pytest.raises(TypeError):
        run([*command, "-o", str(tmp_path / "f")])
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["crops"]
    capsys.readouterr()
    assert run([*command, "-o", str(tmp_path / "f")]) == 0
    assert json.loads(capsys.readouterr().out)["num_done"] == 16


def test_boxes_of_megadetector_take_the_surest_animal(world, tmp_path):
    command = ["extract", str(world / "labels.csv"), "--boxes", str(world / "megadetector.json"), *EXTRACT]
    assert run([*command, "-o", str(tmp_path / "one")]) == 0
    rows = read_rows(tmp_path / "one/crops/crops.csv")
    assert [(row["individual"], row["score"]) for row in rows] == 16 * [("1", "0.900")]
    assert run([*command, "-o", str(tmp_path / "two"), "--individuals", "2"]) == 1  # whose labels are they?
    command[1] = str(world / "clips")
    assert run([*command, "-o", str(tmp_path / "two"), "--individuals", "2"]) == 0
    assert len(read_rows(tmp_path / "two/crops/crops.csv")) == 32


def test_a_users_own_table_is_joined_with_the_crops(world, store, quick, tmp_path, capsys):
    run_folder, out = tmp_path / "run", tmp_path / "out"
    train = ["train", str(store), "-o", str(run_folder), *quick]
    train += ["--domain", "site", "--source", "north", "--target", "south"]
    # Two animals are there, and the labels do not say which of them they are about.
    assert run([*train, str(world / "labels.csv")]) == 1
    assert "has the individuals ana, bo; add a column individual" in capsys.readouterr().err
    assert run([*train, str(world / "named.csv")]) == 0
    with gzip.open(run_folder / "predictions.csv.gz", "rt", newline="") as file:
        clips = list(csv.DictReader(file))
    assert {Path(clip["video"]).name.split("_")[1] for clip in clips} == {"ana.crop"}
    # The head tells bright from dark, which the whole picture, of one of each, does not.
    capsys.readouterr()
    assert run(["evaluate", str(run_folder), str(store), str(world / "named.csv"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["num_clips"], result["scores"]["accuracy"]) == (8, 1.0)
    # Crops are predicted, by several processes as well; a whole video is refused in one line.
    command = ["predict", str(run_folder), str(store / "crops/clips")]
    for workers in ("1", "2"):
        assert run([*command, "--workers", workers, "-o", str(out / workers)]) == 0
    rows = [read_rows(out / workers / "predictions.csv") for workers in ("1", "2")]
    assert rows[0] == rows[1]
    assert sum(row["status"] == "ok" for row in rows[0]) == 32
    model = ActionDiff.from_pretrained(run_folder)
    with pytest.raises(VideoError, match="this is a whole video, and features of crops around animals"):
        model.predict(world / "clips/0.mp4")


def test_a_head_on_whole_videos_refuses_crops(trained, store):
    model = ActionDiff.from_pretrained(trained)
    with pytest.raises(VideoError, match=r"this is a crop \(margin 0.25.*give the videos themselves"):
        model.predict(store / "crops/clips/0-mp4_ana.crop")


def test_the_layer_track_holds_what_the_crop_takes_away(world, store, quick, tmp_path):
    """The way of a crop, in sides of it, and the share of it that the animal fills."""
    command = ["extract", str(world / "clips"), "--boxes", str(world / "ana.csv"), *EXTRACT]
    assert run([*command, "--layers", "1,track", "--smooth-seconds", "0", "-o", str(tmp_path / "f")]) == 0
    opened = FeatureStore.open(tmp_path / "f")
    crop = read_crop(tmp_path / "f/crops/clips/0-mp4_ana.crop")
    tokens = opened.load(crop.identity, opened.keys()).tokens
    track = tokens[FeatureKey.of(0, "track")]
    assert track.dtype == np.float32
    assert track.shape == (6, 3)
    # The animal moves by one pixel a frame, and every second frame is a token.
    assert np.allclose(track[1:, 0], 2 / crop.side_px)
    assert np.allclose(track[:, 1], 0)
    assert np.allclose(track[:, 2], 16 / crop.side_px)
    assert track[0, 0] == 0
    # The other channels are those that are made without it.
    plain = [*command, "--layers", "1", "--smooth-seconds", "0", "-o", str(tmp_path / "plain")]
    assert run(plain) == 0
    other = FeatureStore.open(tmp_path / "plain").load(crop.identity, [FeatureKey.of(0, 1)])
    assert np.array_equal(other.tokens[FeatureKey.of(0, 1)], tokens[FeatureKey.of(0, 1)])
    # It may be added later, to a store that has the backbone's features.
    plain[plain.index("--layers") + 1] = "track"
    assert run(plain) == 0
    later = FeatureStore.open(tmp_path / "plain").load(crop.identity, [FeatureKey.of(0, "track")])
    assert np.array_equal(later.tokens[FeatureKey.of(0, "track")], track)
    # A head reads both, and predicts crops with both.
    arguments = ["train", str(tmp_path / "f"), str(world / "labels.csv"), *quick]
    assert run([*arguments, "--keys", "t0.layer1,t0.track", "-o", str(tmp_path / "run")]) == 0
    crops = str(tmp_path / "f/crops/clips")
    assert run(["predict", str(tmp_path / "run"), crops, "-o", str(tmp_path / "out"), "--workers", "1"]) == 0


def test_the_layer_track_of_a_whole_video_is_zero(world, tmp_path):
    assert (
        run(["extract", str(world / "clips/0.mp4"), *EXTRACT, "--layers", "track", "-o", str(tmp_path)]) == 0
    )
    opened = FeatureStore.open(tmp_path)
    (key,) = opened.keys()
    (row,) = (opened.row(name) for name in opened.videos())
    assert not opened.load(row.identity, [key]).tokens[key].any()


def test_a_start_takes_the_animals_by_themselves(world, tmp_path):
    """The first feature cuts them out, the others read its crops; new videos are predicted by boxes, too."""
    boxes, out, lines, commands = world / "two.csv", tmp_path / "s", [], []
    options = StartOptions(world / "clips", world / "named.csv", out, boxes=boxes, camera="none")

    def run_command(words):
        commands.append(list(words))
        return run(list(words)) if words[0] == "extract" else 0, ""

    with pytest.raises(UsageError, match="the groups were refused"):
        start(options, run_command=run_command, echo=lines.append, confirm=lambda proposal: False,
              ask=lambda question: True)  # fmt: skip
    (extract,) = [words for words in commands if words[0] == "extract"]
    assert extract[-2:] == ["--boxes", str(boxes)]
    assert len(FeatureStore.open(out / "features/pixels").videos()) == 16
    # The groups are of videos, though the features are of the animals in them.
    assert "groups: 16, from each video on its own" in " ".join(lines)
    road = _Road(options, run_command, lines.append)
    commands[:] = []
    road.extract(out / "labelled.csv", "motion", None)
    assert commands[0][1] == str(out / "features/pixels/crops/table.csv")
    assert {row["individual"] for row in read_rows(Path(commands[0][1]))} == {"ana"}
    table = read_table(out / "labelled.csv")
    assert len(road.with_features("motion", table.examples, table.root)) == 16
    verdict = StartVerdict("works", "It works.", "motion")
    road.finish(verdict, [world / "clips/0.mp4"], is_timed=False)
    (predict,) = [words for words in commands if words[0] == "predict"]
    assert predict[-2:] == ["--boxes", str(boxes)]
