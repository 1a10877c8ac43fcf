"""Tables as people write them: every separator and encoding of a spreadsheet, and every problem at once."""

import pytest

from actiondiff.datasets.folders import read_folder
from actiondiff.datasets.table import read_table
from actiondiff.errors import TableError, UnknownNameError, UsageError


@pytest.fixture
def write(tmp_path):
    """Writes a table's text (or bytes) and returns its path."""

    def to_file(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to_file


def problems(path, **options) -> list[str]:
    with pytest.raises(TableError) as caught:
        read_table(path, **options)
    return caught.value.problems


def test_every_column(write):
    table = read_table(
        write(
            "video,label,start_seconds,end_seconds,split,group,site,species\n"
            "a/1.mp4,eat; drink ;eat,0.5,2,train,bella,north,cow\n"
            "b.mp4,,,,,,,\n"
        )
    )
    first, second = table.examples
    assert (first.video, first.labels) == ("a/1.mp4", ("eat", "drink"))
    assert (first.start_seconds, first.end_seconds) == (0.5, 2.0)
    assert (first.split, first.group) == ("train", "bella")
    assert dict(first.columns) == {"site": "north", "species": "cow"}
    assert (second.labels, second.start_seconds, second.split, second.group) == ((), None, "", "")
    assert (table.label_names, table.multi_label, table.columns) == (
        ("drink", "eat"),
        True,
        ("site", "species"),
    )
    assert table.root == table.source.parent
    assert table.values("species") == ["cow", ""]
    assert table.counts() == {"eat": 1, "drink": 1}
    assert table.counts("site") == {"north": 1, "": 1}
    with pytest.raises(UnknownNameError, match="'species'"):
        table.values("speceis")


PLAIN = "video,label,site\nä b.mp4,eat,x\nc.mp4,run,y\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\n\n,,\n"),
        "\n" + PLAIN,
        PLAIN.rstrip("\n"),
        PLAIN.replace(",", " , "),
        'video,"label","site"\n"ä b.mp4","eat",x\nc.mp4,run,y\n',
        'video, "label", "site"\n"ä b.mp4", "eat", "x"\nc.mp4, run, y\n',
        "site,label,video,,\nx,eat,ä b.mp4,,\ny,run,c.mp4,,\n",
    ],
    ids=[
        "utf-8",
        "bom",
        "semicolons",
        "tabs",
        "crlf",
        "blank",
        "blank first",
        "no end",
        "padded",
        "quoted",
        "quoted and padded",
        "order",
    ],
)
def test_one_table_written_in_many_ways(write, content):
    table = read_table(write(content))
    found = [(e.video, e.labels, dict(e.columns)) for e in table.examples]
    assert found == [("ä b.mp4", ("eat",), {"site": "x"}), ("c.mp4", ("run",), {"site": "y"})]
    assert not table.multi_label


def test_a_semicolon_table_with_several_labels_and_decimal_commas(write):
    table = read_table(write('video;label;start_seconds\na.mp4;"eat;run";1,5\n'))
    assert table.examples[0].labels == ("eat", "run")
    assert table.examples[0].start_seconds == 1.5


def test_a_table_without_labels_can_be_extracted(write):
    table = read_table(write("video\na.mp4\nb.mp4\n"))
    assert [example.labels for example in table.examples] == [(), ()]
    assert table.label_names == ()


def test_columns_that_are_called_otherwise_are_not_passed_over(write):
    """Bouts under `start` and `stop (s)` would become labels of whole videos, `Label` would be no label."""
    found = problems(write("video,Label,start,stop (s),Group\na.mp4,eat,0,1,x\n"))
    assert [problem.split(";")[0] for problem in found] == [
        "there is a column 'Label', but no column label",
        "there is a column 'start', but no column start_seconds",
        "there is a column 'stop (s)', but no column end_seconds",
        "there is a column 'Group', but no column group",
    ]
    assert "rename it to start_seconds, or to something else" in found[1]
    table = read_table(write("video,label,start_seconds,end_seconds,start,class\na.mp4,eat,0,1,den 3,Aves\n"))
    assert dict(table.examples[0].columns) == {"start": "den 3", "class": "Aves"}


def test_one_label_typed_on_two_machines_is_one(write):
    table = read_table(write("video,label\na.mp4,\u00e9levage\nb.mp4,e\u0301levage\n"))
    assert table.label_names == ("\u00e9levage",)


def test_all_problems_at_once_by_row(write):
    found = problems(
        write(
            "video,label,start_seconds,end_seconds,split\n"
            ",eat,,,\n"
            "b.mp4,eat,soon,,\n"
            "\n"
            "c.mp4,eat,3,2,\n"
            "d.mp4,eat,-1,nan,\n"
            "e.mp4,eat,,,trian\n"
            "f.mp4,eat,,,train\n"
            "f.mp4,run,,,train\n"
            "./f.mp4,sit,,,train\n"
        )
    )
    said = "\n".join(found)
    for expected in (
        "row 2: video is empty",
        "row 3: start_seconds is 'soon'",
        "row 5: end_seconds 2 is not after start_seconds 3",
        "row 6: start_seconds is '-1'",
        "row 6: end_seconds is 'nan'",
        "row 7: split is 'trian'",
        "row 9: the same clip as row 8",
        "row 10: the same clip as row 8",
    ):
        assert expected in said
    assert len(found) == 8


def test_spans_of_one_video_are_different_clips(write):
    table = read_table(write("video,label,start_seconds,end_seconds\na.mp4,eat,0,1\na.mp4,run,1,2\n"))
    assert len(table) == 2


def test_labels_that_differ_in_case_or_blanks_are_one_misspelt(write):
    (problem,) = problems(write("video,label\na.mp4,Eat\nb.mp4,eat\nc.mp4,run\n"))
    assert "'Eat' and 'eat'" in problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file,label\na.mp4,eat\n", "column video is missing; the header has: file, label"),
        ("video,label,label\na.mp4,eat,run\n", "column label occurs 2 times"),
        ("video,label\na.mp4,eat,run\n", "row 2: 3 cells for 2 columns"),
        ('video,label\n"a.mp4,eat\nb.mp4,run\n', "row 2: not valid CSV"),  # else two clips would be one
        ('video,label\na.mp4,eat\n"b.mp4"x,run\n', "row 3: not valid CSV"),
        ("video,label\n", "no rows"),
        ("", "video is missing"),
        ("video,label\nä.mp4,eat\n".encode("utf-16"), "UTF-8"),
        ("video,label\nä.mp4,eat\n".encode("cp1252"), "UTF-8"),
    ],
)
def test_not_such_a_table(write, content, said):
    assert said in "; ".join(problems(write(content)))


def test_files_are_looked_for_on_request(write, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.mp4").touch()
    (tmp_path / "b.mp4").touch()
    path = write(f"video,label\nsub/a.mp4,eat\nsub\\gone.mp4,eat\n{tmp_path / 'b.mp4'},run\nno.mp4,run\n")
    assert len(read_table(path)) == 4
    assert problems(path, check_files=True) == [
        "row 3: sub/gone.mp4 does not exist",
        "row 5: no.mp4 does not exist",
    ]


def test_a_table_in_another_folder_than_its_videos(write, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    path = write("video,label\na.mp4,eat\n")
    assert read_table(path).root == tmp_path
    assert read_table(path, root=tmp_path / "videos", check_files=True).root == tmp_path / "videos"
    assert problems(path, check_files=True) == ["row 2: a.mp4 does not exist"]


def test_stray_separators_are_no_labels(write):
    table = read_table(write("video,label\na.mp4,;eat;;\nb.mp4,;\nc.mp4, eat ; eat\n"))
    assert [example.labels for example in table.examples] == [("eat",), (), ("eat",)]
    assert not table.multi_label


def test_no_such_table(tmp_path):
    with pytest.raises(UsageError, match=r"no table at .*gone\.csv"):
        read_table(tmp_path / "gone.csv")


def test_a_folder_per_class(tmp_path):
    for name in ("eat/1.mp4", "eat/deep/er/2.MOV", "run/1.avi", "run/notes.txt", ".hidden/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    table = read_table(tmp_path)
    found = {(example.video, example.labels) for example in table.examples}
    assert found == {("eat/1.mp4", ("eat",)), ("eat/deep/er/2.MOV", ("eat",)), ("run/1.avi", ("run",))}
    assert table.root == tmp_path
    (tmp_path / "sleep").mkdir()
    (tmp_path / "sleep" / "1.gif").touch()
    with pytest.raises(TableError, match="sleep"):
        read_folder(tmp_path)
    (tmp_path / "loose.mp4").touch()
    with pytest.raises(TableError, match=r"loose\.mp4"):
        read_table(tmp_path)


def test_a_folder_without_videos(tmp_path):
    with pytest.raises(TableError, match="no videos"):
        read_table(tmp_path)
