"""Label files of DeepEthogram, whole, cut, re-saved and beside the files of other programs."""

import pytest

from actiondiff.datasets.deepethogram import read_deepethogram
from actiondiff.errors import TableError, UsageError


def read(tmp_path, text, **options):
    path = tmp_path / "clip_labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    options.setdefault("fps", 10)
    return [(b.label, b.start_seconds, b.end_seconds) for b in read_deepethogram(path, **options)]


@pytest.mark.parametrize(
    "text",
    [
        ",background,walk\n0,1,0\n1,0,1\n2,0,1\n",
        "background,walk\n1,0\n0,1\n0,1\n",  # without the frames' numbers, no column is lost
        "frame,background,walk\n0,1,0\n1,0,1\n2,0,1\n",
        ",none,walk\n0,1.0,0.0\n1,0.0,1.0\n2,0.0,1.0\n",
        ";background;walk\r\n0;1;0\r\n1;0;1\r\n2;0;1\r\n",
        ",background,walk,,\n0,1,0,,\n1,0,1,,\n2,0,1,,\n\n",
        ",background,walk\n0,True,False\n1,False,True\n2,False,True\n",
        ",walk\n0,0\n1,1\n2,1\n",  # DeepEthogram adds the background itself
        "\ufeff,background,walk\n0,1,0\n1,0,1\n2,0,1\n".encode(),
        ",background,walk\n0,1,0\n1,0,1\n2,0,1\n".encode("utf-16"),
    ],
)
def test_one_matrix_written_in_many_ways(tmp_path, text):
    assert sorted(read(tmp_path, text)) == [("background", 0.0, 0.1), ("walk", 0.1, 0.3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (",background,walk\n", "a header and no rows"),
        (",background,walk,walk\n0,1,0,0\n", "column walk occurs"),
        (",background,none\n0,1,0\n", "column background occurs twice"),
        (",background,walk\n0,1,\n", "row 2: walk is ''; it must be 1, 0 or -1"),
        (",background,walk\n0,1,0.7\n", "row 2: walk is '0.7'"),
        (
            ",background,walk\n0,1,0\n2,0,1\n",
            "row 3: the first column is '2'; it must number the frames, 1 here",
        ),
        (",background,walk\n0,1,0\n1,0,1,1\n", "row 3: 4 cells for 3 columns"),
        (",background,\n0,1,0\n", "a column has no name"),
        (b"\x00\x01\x02", "zero bytes"),
        ("0,1\n" * 5, "the first row is no header"),
    ],
)
def test_what_is_no_such_matrix_is_one_line(tmp_path, text, message):
    with pytest.raises(TableError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frames_without_labels_are_no_background(tmp_path):
    assert read(tmp_path, ",walk,eat\n0,-1,-1\n1,0,-1\n2,0,0\n3,1,0\n") == [
        ("walk", 0.3, 0.4), ("background", 0.2, 0.3),
    ]  # fmt: skip


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none(tmp_path, fps):
    with pytest.raises(UsageError, match="--fps must be"):
        read(tmp_path, ",walk\n0,1\n", fps=fps)


def test_side_files_are_no_labels(tmp_path):
    read(tmp_path, ",walk\n0,1\n")
    (tmp_path / "._clip_labels.csv").write_bytes(b"\x00\x05\x16\x07\xff")
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "@eaDir/old_labels.csv").write_text("x")
    assert {bout.label for bout in read_deepethogram(tmp_path, fps=10)} == {"walk", "background"} - {
        "background"
    }


def test_two_videos_of_one_name(tmp_path):
    for name in ("clip.mp4", "clip.avi"):
        (tmp_path / name).touch()
    with pytest.raises(TableError, match=r"several videos beside it have its name \(clip\.avi, clip\.mp4\)"):
        read(tmp_path, ",walk\n0,1\n")


def test_the_shared_files(shared_dir):
    folder = shared_dir / "cases/deepethogram"
    good = [(b.label, b.start_seconds, b.end_seconds) for b in read_deepethogram(folder / "good")]
    assert [label for label, _, _ in good] == ["background", "walk", "eat"]
    whole = [(b.label, b.start_seconds, b.end_seconds) for b in read_deepethogram(folder / "no_index")]
    assert whole == good
    assert {b.label for b in read_deepethogram(folder / "latin1")} == {"background", "walk", "rearing_é"}
    for name, message in (("empty", "the file is empty"), ("dup", "the column walk occurs 2 times")):
        with pytest.raises(TableError, match=message):
            read_deepethogram(folder / name)
