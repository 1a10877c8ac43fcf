"""Videos with names in any bytes and of any length: every command keeps every result."""

import os
import shutil

import pytest
from tests.conftest import read_rows

from actiondiff.cli.main import run
from actiondiff.datasets.table import read_table

pytestmark = pytest.mark.skipif(os.name != "posix", reason="other systems have no such names")

NAMES = (
    "a;b|c.mp4", "back\\slash.mp4", "new\nline.mp4", "-dash.mp4", "=1+1.mp4", "caf\udce9.mp4", "%E9.mp4",
    "é" * 125 + "x.mp4", "e\u0301te\u0301.mp4", "[red].mp4", ' "q".mp4',
)  # fmt: skip


@pytest.fixture
def folder(study_folder, tmp_path):
    (tmp_path / "new").mkdir()
    for number, name in enumerate(NAMES):
        shutil.copy(study_folder / "clips" / f"{number}.mp4", tmp_path / "new" / name)
    return tmp_path


def videos_in(path):
    """What a table names, as files."""
    return {(path.parent / example.video).resolve() for example in read_table(path).examples}


def test_predict_keeps_every_result(folder, trained):
    out = folder / "out"
    assert run(["predict", str(trained), str(folder / "new"), "-o", str(out), "--format", "csv,json"]) == 0
    assert len(read_rows(out / "predictions.csv")) == len(NAMES)
    assert videos_in(out / "queue.csv") == {(folder / "new" / name).resolve() for name in NAMES}
    assert run(["report", str(out)]) == 0


def test_timelines_keep_every_result(folder, trained):
    out = folder / "out"
    arguments = [
        "predict",
        str(trained),
        str(folder / "new"),
        "-o",
        str(out),
        "--timeline",
        "--threshold",
        "0",
    ]
    assert run([*arguments, "--format", "boris"]) == 1  # refused at once: BORIS cannot hold one of the names
    assert not out.exists()
    (folder / "new/caf\udce9.mp4").unlink()
    assert run([*arguments, "--format", "boris,deepethogram"]) == 1
    assert run([*arguments, "--format", "csv,json,boris"]) == 0
    expected = {(folder / "new" / name).resolve() for name in NAMES if name != "caf\udce9.mp4"}
    assert videos_in(out / "bouts.csv") <= expected
    for path in (out / "boris/project.boris", out / "boris/aggregated.csv"):
        assert run(["table", "import", "boris", str(path), "-o", str(path.parent / "t.csv")]) == 0
        assert videos_in(path.parent / "t.csv") == videos_in(out / "bouts.csv")
    assert len(videos_in(out / "bouts.csv")) > 3


def test_the_road_from_a_table_to_a_model(folder, quick):
    rows = [f'"new/{name.replace(chr(34), chr(34) * 2)}",{"ab"[i % 2]},{i}' for i, name in enumerate(NAMES)]
    text = "video,label,group\n" + "\n".join(rows).replace("caf\udce9", "caf%E9").replace(
        "new/%E9", "new/%25E9"
    )
    (folder / "t.csv").write_text(text.replace("e\u0301te\u0301", "\u00e9t\u00e9"), "utf-8")
    extract = ["extract", str(folder / "t.csv"), "-o", str(folder / "fs"), "--backbone", "pixels"]
    assert run(extract) == 0
    assert len(read_rows(folder / "fs/index.csv")) == len(NAMES)
    assert run(extract) == 0  # nothing is made again
    assert run(["features", "verify", str(folder / "fs")]) == 0
    arguments = ["train", str(folder / "fs"), str(folder / "t.csv"), "-o", str(folder / "run"), *quick]
    assert run(arguments) == 0
    assert run(["evaluate", str(folder / "run"), str(folder / "fs"), str(folder / "t.csv")]) == 0
    assert run(["videos", "check", str(folder / "new")]) == 0


def test_spans_sums_and_pictures(folder, trained):
    name = "caf\udce9;=.mp4"
    (folder / "new/caf\udce9.mp4").rename(folder / "new" / name)
    (folder / "t.csv").write_text("video,label,start_seconds,end_seconds\nnew/caf%E9;=.mp4,a,0,0.5\n")
    assert (
        run(["table", "spans", str(folder / "t.csv"), "-o", str(folder / "s.csv"), "--seconds", "0.4"]) == 0
    )
    assert (
        run(["table", "add", str(folder / "s.csv"), "-o", str(folder / "sum.csv"), str(folder / "s.csv")])
        == 0
    )
    assert videos_in(folder / "sum.csv") == {(folder / "new" / name).resolve()}
    localize = ["localize", str(trained), str(folder / "new" / name), "--action", "dark"]
    assert run([*localize, "-o", str(folder / "heat.mp4")]) == 0
    predict = ["predict", str(trained), str(folder / "new"), "-o", str(folder / "out"), "--heatmaps", "1"]
    assert run(predict) == 0
    assert run(["report", str(folder / "out")]) == 0
