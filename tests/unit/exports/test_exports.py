"""Files of predictions: a row a video that decoded, every number readable, nothing for what failed."""

import csv
import json
from dataclasses import replace

from tests.conftest import read_rows

from actiondiff.exports.tables import write_failures, write_predictions
from actiondiff.types import DecodeReport, DomainCheck, Prediction

FIXED = ["video", "status", "label", "probability", "coverage", "padding_share", "num_tokens", "num_spans",
         "distance", "outside"]  # fmt: skip
PARTIAL = DecodeReport("partial", "decoding stopped, at 3 s", num_frames_decoded=30, num_frames_expected=90)


def prediction(video="a.mp4", report=None, **probabilities) -> Prediction:
    chosen = probabilities or {"eat": 0.25, "run": 0.75}
    return Prediction(video, chosen, "softmax", num_tokens=7, num_spans=2, padding_share=1 / 3, report=report)


def rows(path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_csv(tmp_path):
    found = [prediction('a "b", ü\n.mp4'), prediction("c.mp4", PARTIAL)]
    write_predictions(tmp_path / "new" / "out", found, ["csv"])
    assert [path.name for path in (tmp_path / "new/out").iterdir()] == ["predictions.csv"]
    header, first, second = rows(tmp_path / "new/out/predictions.csv")
    assert header == [*FIXED, "p(eat)", "p(run)"]
    assert first == ['a "b", ü\n.mp4', "ok", "run", "0.75", "1.0", "0.3333", "7", "2", "", "", "0.250000",
                     "0.750000"]  # fmt: skip
    assert second[1:5] == ["partial", "run", "0.75", "0.3333"]


def test_labels_that_are_named_like_columns(tmp_path):
    write_predictions(tmp_path, [prediction(video="a.mp4", label=0.1, status=0.9)], ["csv"])
    (row,) = read_rows(tmp_path / "predictions.csv")
    assert (row["label"], row["status"], row["p(label)"], row["p(status)"]) == (
        "status",
        "ok",
        "0.100000",
        "0.900000",
    )


def test_json(tmp_path):
    write_predictions(tmp_path, [prediction(report=PARTIAL)], ["json"])
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.json"]
    (item,) = json.loads((tmp_path / "predictions.json").read_text("utf-8"))
    assert list(item) == [*FIXED, "probabilities"]
    assert item["probabilities"] == {"eat": 0.25, "run": 0.75}
    assert (item["video"], item["status"], item["coverage"], item["num_spans"]) == (
        "a.mp4",
        "partial",
        0.3333,
        2,
    )


def test_nothing_predicted(tmp_path):
    write_predictions(tmp_path, [], ["csv", "json"])
    assert rows(tmp_path / "predictions.csv") == [FIXED]
    assert json.loads((tmp_path / "predictions.json").read_text()) == []


def test_failures(tmp_path):
    failed = DecodeReport("failed", "the file has 0 bytes")
    write_failures(tmp_path, [("a.mp4", PARTIAL), ("b.mp4", failed)])
    assert rows(tmp_path / "failures.csv") == [
        ["video", "status", "reason"],
        ["a.mp4", "partial", "decoding stopped, at 3 s"],
        ["b.mp4", "failed", "the file has 0 bytes"],
    ]
    write_failures(tmp_path, [])
    assert rows(tmp_path / "failures.csv") == [["video", "status", "reason"]]


def test_videos_that_lie_outside_get_no_label(tmp_path):
    outside = DomainCheck({"frame rate": 2.64, "features": 1.5}, ("1 frame a second; learnt at 6.25", "far"))
    inside = DomainCheck({"features": 0.25})
    clips = [
        replace(prediction(f"{n}.mp4"), domain=domain) for n, domain in enumerate((outside, inside, None))
    ]
    clips.append(replace(prediction("part.mp4", PARTIAL), domain=outside))
    write_predictions(tmp_path, clips, ["csv"])
    found = read_rows(tmp_path / "predictions.csv")
    assert [(row["status"], row["label"], row["distance"]) for row in found] == [
        ("outside", "", "2.64"), ("ok", "run", "0.25"), ("ok", "run", ""), ("partial", "", "2.64"),
    ]  # fmt: skip
    assert found[0]["outside"] == "1 frame a second; learnt at 6.25 | far"
    write_predictions(tmp_path, clips, ["csv"], abstain_outside=False)
    found = read_rows(tmp_path / "predictions.csv")
    assert [(row["status"], row["label"]) for row in found[:2]] == [("outside", "run"), ("ok", "run")]
    write_failures(tmp_path, [("part.mp4", PARTIAL)], [("0.mp4", outside)])
    assert [list(row.values()) for row in read_rows(tmp_path / "failures.csv")] == [
        ["part.mp4", "partial", PARTIAL.reason],
        ["0.mp4", "outside", "1 frame a second; learnt at 6.25 | far"],
    ]
