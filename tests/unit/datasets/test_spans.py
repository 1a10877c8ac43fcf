"""Videos cut into spans, and tables put together."""

from fractions import Fraction

import av
import numpy as np
import pytest

from actiondiff.datasets.base import Table
from actiondiff.datasets.joining import join_tables, write_examples
from actiondiff.datasets.spans import cut_spans
from actiondiff.datasets.table import read_table
from actiondiff.errors import TableError, UsageError
from actiondiff.types import Example
from actiondiff.video.decode import read_video
from actiondiff.video.probe import length_seconds, probe
from actiondiff.video.write import write_video


@pytest.fixture
def root(tmp_path):
    write_video(tmp_path / "a.mp4", np.zeros((100, 16, 16, 3), np.uint8), fps=10)
    return tmp_path


def table(root, *rows) -> Table:
    return Table(root / "t.csv", root, tuple(Example("a.mp4", labels, a, b, "val") for labels, a, b in rows))


def cut(found) -> list[str]:
    return [f"{'+'.join(e.labels)} {e.start_seconds:g}-{e.end_seconds:g}" for e in found]


def test_a_span_has_what_covers_enough_of_it(root):
    """Ten seconds: walk from 0 to 3, eat from 2 to 5.9, nothing after."""
    known = table(root, (("walk",), 0, 3), (("eat",), 2, 5.9))
    found = cut_spans(known, span_seconds=2)
    assert cut(found) == ["walk 0-2", "eat+walk 2-4", "eat 4-6", "background 6-8", "background 8-10"]
    assert {example.split for example in found} == {"val"}
    assert cut(cut_spans(known, span_seconds=2, min_share=0.9, background="")) == [
        "walk 0-2",
        "eat 2-4",
        "eat 4-6",
    ]
    assert cut(cut_spans(known, span_seconds=4, step_seconds=3))[:2] == ["eat+walk 0-4", "eat 3-7"]


def test_where_one_thing_happens_at_a_time_a_span_has_one_label(root):
    """Half walk, half eat, one after the other: a table of single labels stays one."""
    known = table(root, (("walk",), 0, 3), (("eat",), 3, 10))
    assert cut(cut_spans(known, span_seconds=2))[:3] == ["walk 0-2", "eat 2-4", "eat 4-6"]


def test_with_background_of_its_own_the_rest_is_not_labelled(root):
    known = table(root, (("walk",), 0, 3), (("background",), 3, 6))
    assert cut(cut_spans(known, span_seconds=2)) == ["walk 0-2", "walk 2-4", "background 4-6"]


def test_time_that_nobody_labelled_is_not_background(root):
    """A row whose label is empty, as in a queue that is not filled in, says nothing of its time."""
    known = table(root, (("walk",), 0, 3), ((), 4, 7))
    assert cut(cut_spans(known, span_seconds=2)) == ["walk 0-2", "walk 2-4", "background 8-10"]
    with pytest.raises(TableError, match="no row has a label"):
        cut_spans(table(root, ((), None, None)), span_seconds=2)


def test_labels_beyond_the_end_of_a_video_are_refused(root):
    """Ten seconds; times of another frame rate, or of another file, would else be cut off in silence."""
    found = cut_spans(table(root, (("walk",), 0, 3), (("eat",), 3, 10.9)), span_seconds=2)
    assert cut(found)[-1] == "eat 8-10"
    with pytest.raises(TableError) as caught:
        cut_spans(table(root, (("walk",), 0, 3), (("eat",), 3, 12), (("eat",), 10, None)), span_seconds=2)
    first, second = caught.value.problems
    assert first.startswith("a.mp4: eat from 3 s to 12 s, but its frames end at 10.00 s")
    assert second.startswith("a.mp4: eat from 10 s to the end, but")


@pytest.mark.parametrize("name", ["late.mkv", "unfinished.mkv", "a.mpg"])
def test_spans_fill_the_pictures_whatever_the_header_says(tmp_path, name):
    """Four seconds: the first begins at 3 s on its file's clock, of the others no header knows the length."""
    options = {"live": "1"} if name == "unfinished.mkv" else {}
    with av.open(str(tmp_path / name), "w", container_options=options) as container:
        stream = container.add_stream("mpeg2video" if name == "a.mpg" else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(100):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index + (75 if name == "late.mkv" else 0), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    seconds = read_video(tmp_path / name, stride=1).seconds
    assert (seconds[0], seconds[-1]) == (0, pytest.approx(3.96))
    assert probe(tmp_path / name).duration_seconds != pytest.approx(4, abs=0.1)
    assert length_seconds(tmp_path / name) == pytest.approx(4)
    found = cut_spans(Table(tmp_path, tmp_path, (Example(name, ("x",)),)), span_seconds=1)
    assert [(example.start_seconds, example.end_seconds) for example in found] == [
        (0, 1), (1, 2), (2, 3), (3, 4)
    ]  # fmt: skip


def test_spans_say_what_is_wrong(root):
    with pytest.raises(UsageError, match="above 0"):
        cut_spans(table(root, (("walk",), 0, 3)), span_seconds=0)
    with pytest.raises(TableError, match=r"gone\.mp4"):
        cut_spans(Table(root, root, (Example("gone.mp4", ("x",), 0, 1),)), span_seconds=1)


def test_a_queue_with_labels_filled_in_joins_its_table(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "table.csv").write_text(
        "video,label,start_seconds,end_seconds,group,site\n"
        "v/a.mp4,walk,,,bella,north\nv/b.mp4,eat,1,2,max,south\nv/c.mp4,,,,,\n"
    )
    (tmp_path / "out/queue.csv").write_text(
        "video,label,start_seconds,end_seconds,suggestion,probability,certainty\n"
        "../v/a.mp4,eat,,,walk,0.3,0.1\n../v/new.mp4,run;eat,0.000,2.560,walk,0.3,0.1\n../v/b.mp4,,0,2,eat,0.4,0.2\n"
    )
    tables = [read_table(tmp_path / "table.csv"), read_table(tmp_path / "out/queue.csv")]
    joined = join_tables(tables, root=tmp_path / "both")
    assert (joined.num_replaced, joined.num_without_label) == (1, 2)
    write_examples(tmp_path / "both/table.csv", joined.examples, root=tmp_path / "both")
    found = read_table(tmp_path / "both/table.csv")
    assert [(e.video, e.labels, e.start_seconds, e.group, e.columns) for e in found.examples] == [
        ("../v/a.mp4", ("eat",), None, "bella", {"site": "north"}),
        ("../v/b.mp4", ("eat",), 1, "max", {"site": "south"}),
        ("../v/new.mp4", ("run", "eat"), 0, "", {"site": ""}),
    ]
    assert found.examples[2].end_seconds == 2.56
