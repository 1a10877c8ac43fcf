"""The sets of real clips: coarse classes of an index, whose spans stay with their clip."""

import csv

from actiondiff.datasets.table import read_table

INDEX = """file,class,avg_fps,duration_s
trap1.avi,eland,1.0,31.0
trap2.avi,camera trap,1.0,60.0
box.mp4,boxing,25.0,15.6
clap.mp4,handclapping,25.0,15.1
walk.mp4,walk,30.0,2.6
none.mp4,,30.0,2.0
made_truncated.avi,boxing,25.0,15.0
"""


def test_spans_and_groups(script, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/index.csv").write_text(INDEX)
    tables = script("real_sets").write_real_sets(tmp_path / "videos", tmp_path / "sets")
    rows = {name: read_table(path).examples for name, path in tables.items()}
    named = {example.name for example in rows["animals or people"]}
    assert named == {"trap1.avi", "trap2.avi", "box.mp4", "clap.mp4", "walk.mp4"}
    whole = [e for e in rows["animals or people"] if e.name == "trap2.avi"]
    assert [(e.start_seconds, e.end_seconds, e.labels) for e in whole] == [(0, 60, ("animal",))]
    cut = [e for e in rows["arms or whole body"] if e.name == "box.mp4"]
    assert [(e.start_seconds, e.end_seconds, e.group) for e in cut] == [(0, 2, "box.mp4"), (2, 4, "box.mp4")]
    blocks = [e for e in rows["boxing or clapping"] if e.name == "clap.mp4"]
    assert len(blocks) == 15
    assert len({e.group for e in blocks}) == 5
    with tables["boxing or clapping"].open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["video"] == "../videos/box.mp4"
