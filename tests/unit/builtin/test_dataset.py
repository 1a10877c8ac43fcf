"""The procedural world on disk, and its commands."""

import json

import av
import numpy as np
import pytest
from PIL import Image
from tests.conftest import read_rows, written_files

from actiondiff.builtin import dataset as menagerie
from actiondiff.builtin.dataset import BOX_COLUMNS, LONG_COLUMNS, TABLE_COLUMNS, write_menagerie
from actiondiff.builtin.world.protocols import DEVELOPMENT, RESERVED, SOURCE
from actiondiff.builtin.world.world import RenderedClip, world_hash
from actiondiff.cli.main import run
from actiondiff.datasets.table import read_table
from actiondiff.errors import UnknownNameError, UsageError
from actiondiff.video.decode import read_video

OPTIONS = {"train": 8, "test": 4, "val": 4, "seed": 5, "num_long": 1, "minutes": 0.15}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("menagerie")
    write_menagerie(folder, **OPTIONS)
    return folder


def test_the_table_is_one_that_can_be_read(written):
    table = read_table(written / "table.csv", check_files=True)
    assert len(table) == 8 + 4 + 4 * 4
    assert len(table.label_names) == 8
    assert not table.multi_label
    assert tuple(read_rows(written / "table.csv")[0]) == TABLE_COLUMNS
    assert table.counts("split") == {"train": 8, "val": 4, "test": 16}
    assert table.counts("protocol") == {"source": 12, "in-domain": 4, "species": 4, "context": 4, "view": 4}


def test_two_processes_write_the_same_files(written, tmp_path):
    write_menagerie(tmp_path, **OPTIONS, workers=2)
    names = written_files(written)
    assert names == written_files(tmp_path)
    for name in names:
        if name != "world.json":
            assert (tmp_path / name).read_bytes() == (written / name).read_bytes(), name


def test_each_test_differs_from_the_source_in_what_it_says(written):
    own = {"species": SOURCE.bodies, "context": SOURCE.contexts, "view": SOURCE.views}
    new = {"species": DEVELOPMENT.bodies, "context": DEVELOPMENT.contexts, "view": DEVELOPMENT.views}
    for row in read_rows(written / "table.csv"):
        for column in own:
            assert row[column] in (new if row["protocol"] == column else own)[column]


def test_no_individual_is_on_two_sides(written):
    sides = {}
    for row in read_rows(written / "table.csv"):
        sides.setdefault(row["group"], set()).add((row["split"], row["protocol"]))
        assert row["video"].split("/")[1].startswith(row["group"] + "_")
        assert row["label"] not in row["video"].split("_")
    assert all(len(side) == 1 for side in sides.values())


def test_files_decode_to_64_frames_at_25(written):
    videos = [row["video"] for row in read_rows(written / "table.csv")]
    for video in videos[::5]:
        with av.open(str(written / video)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == 25
            assert (stream.height, stream.width) == (64, 64)
            assert sum(1 for _ in container.decode(stream)) == 64


def test_boxes_cover_every_frame(written):
    boxes = read_rows(written / "boxes.csv")
    assert tuple(boxes[0]) == BOX_COLUMNS
    videos = [row["video"] for row in read_rows(written / "table.csv")]
    assert [row["video"] for row in boxes[: 64 * len(videos) : 64]] == videos
    assert [int(row["frame_index"]) for row in boxes[:64]] == list(range(64))
    edges = np.array([[float(row[name]) for name in ("x0", "y0", "x1", "y1")] for row in boxes])
    assert edges.min() >= 0
    assert edges.max() <= 64
    assert (edges[:, 2:] > edges[:, :2]).all()
    long = read_rows(written / "long.csv")[0]["video"]
    assert sum(row["video"] == long for row in boxes) == round(0.15 * 60 * 25)


def test_long_videos_have_timed_truth(written):
    found = read_rows(written / "long.csv")
    assert tuple(found[0]) == LONG_COLUMNS
    examples = read_table(written / "long.csv", check_files=True).examples
    assert examples[0].start_seconds == 0.0
    assert examples[-1].end_seconds == pytest.approx(9.0)
    assert len({example.labels for example in examples}) > 1


def test_it_is_written_what_it_was_made_with(written):
    facts = json.loads((written / "world.json").read_text())
    assert facts["world"] == world_hash()
    assert facts["seed"] == 5
    assert facts["targets"] == "development"
    assert facts["domains"]["view"]["views"] == list(DEVELOPMENT.views)
    assert facts["environment"]["versions"]["numpy"]


def test_the_same_arguments_give_the_same_files(written, tmp_path):
    seen = []

    def note(done, total, video):
        seen.append((done, total, video))

    table = write_menagerie(tmp_path, **OPTIONS, progress=note)
    assert table == tmp_path / "table.csv"
    for name in ("table.csv", "boxes.csv", "long.csv"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()
    assert [done for done, _, _ in seen] == list(range(1, 30))
    assert {video for _, _, video in seen} == {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.mp4")
    }


@pytest.fixture
def nothing_is_drawn(monkeypatch):
    empty = RenderedClip(np.zeros((0, 64, 64, 3), np.uint8), np.zeros((0, 4), np.float32))
    monkeypatch.setattr(menagerie, "render_clip", lambda spec, **size: empty)
    monkeypatch.setattr(menagerie, "write_video", lambda path, pixels, fps: None)


@pytest.mark.usefixtures("nothing_is_drawn")
def test_names_are_unique_however_many_there_are(tmp_path):
    found = read_rows(write_menagerie(tmp_path, train=2000, test=8, val=0, workers=1))
    assert len({row["video"] for row in found}) == len(found) == 2032
    assert len({row["group"] for row in found}) == 508


@pytest.mark.usefixtures("nothing_is_drawn")
def test_reserved_targets(tmp_path):
    found = read_rows(write_menagerie(tmp_path, train=0, test=64, val=0, targets="reserved", workers=1))
    assert {row["species"] for row in found if row["protocol"] == "species"} == set(RESERVED.bodies)


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path):
    with pytest.raises(UnknownNameError, match="targets"):
        write_menagerie(tmp_path / "new", targets="final")
    with pytest.raises(UsageError, match="needs clips"):
        write_menagerie(tmp_path / "new", train=0, test=0, val=0)
    assert not (tmp_path / "new").exists()


def test_write_command(tmp_path, capsys):
    folder = tmp_path / "clips"
    assert (
        run(["menagerie", "write", str(folder), "--train", "2", "--test", "0", "--val", "0", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == {"table": (folder / "table.csv").as_posix()}
    assert len(list(folder.glob("clips/*.mp4"))) == 2
    assert run(["menagerie", "write", str(folder), "--targets", "all"]) == 1
    assert "development, reserved" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "size"), [("actions", (64 + 12 * 96, 16 + 8 * 96)), ("bodies", (64 + 5 * 96, 16 + 8 * 96))]
)
def test_sheet_command(tmp_path, kind, size):
    out = tmp_path / "sheet.png"
    assert run(["menagerie", "sheet", str(out), "--kind", kind]) == 0
    with Image.open(out) as sheet:
        assert sheet.size == size
        assert len(sheet.getcolors(2**20)) > 1000


def test_still_cameras_are_named_in_the_table(tmp_path):
    table = read_table(
        write_menagerie(tmp_path, train=8, test=4, val=0, seed=5, still=True), check_files=True
    )
    assert table.counts("camera")["camera01"] >= 4
    assert (
        len(table.counts("camera")) == 4
    )  # two of the source, where species are tested too, and two new ones
    world = json.loads((tmp_path / "world.json").read_text())
    assert world["world"] == world_hash(still=True)
    assert world["clip"]["height"] == 128
    with pytest.raises(UsageError, match="no long videos of still cameras"):
        write_menagerie(tmp_path / "long", num_long=1, still=True)


def test_clips_without_creatures_show_the_place_of_each_camera(tmp_path):
    options = ["--still", "--train", "8", "--test", "4", "--val", "0", "--workers", "1"]
    assert run(["menagerie", "write", str(tmp_path / "w"), *options, "--empty", "2"]) == 0
    table = read_table(tmp_path / "w" / "table.csv")
    empty = read_table(tmp_path / "w" / "empty.csv", check_files=True)
    assert empty.counts("camera") == dict.fromkeys(table.counts("camera"), 2)
    one, again = (read_video(tmp_path / "w" / f"empty/camera01_0{n}.mp4").pixels for n in (1, 2))
    assert one.shape[1:] == (128, 128, 3)
    assert (one != again).any()  # the noise is each clip's own
    # What clips of the camera show most of the time is what its clips without creatures show.
    places = {}
    for example in table.examples:
        pixels = read_video(tmp_path / "w" / example.video).pixels
        places.setdefault(example.columns["camera"], []).append(np.median(pixels.astype(float), axis=0))
    place = {camera: np.median(np.concatenate([own]), axis=0) for camera, own in places.items()}
    apart = {
        camera: np.abs(np.median(one.astype(float), axis=0) - own).mean() for camera, own in place.items()
    }
    assert min(apart, key=apart.get) == "camera01"
    assert apart["camera01"] < 4 < 8 < sorted(apart.values())[1]
    world = json.loads((tmp_path / "w" / "world.json").read_text())
    assert world["empty_per_camera"] == 2
    with pytest.raises(UsageError, match="cameras that stand still, 0 or more of each; got 2"):
        write_menagerie(tmp_path / "moving", train=2, num_empty=2)
