"""Tables as people write them: every separator and encoding of a spreadsheet, and every problem at once."""

import os
import re
import unicodedata

import pytest

from actiondiff.datasets.base import Table
from actiondiff.datasets.columns import differ_by_one_letter
from actiondiff.datasets.export import write_table
from actiondiff.datasets.folders import read_folder
from actiondiff.datasets.table import read_table
from actiondiff.errors import TableError, UnknownNameError, UsageError
from actiondiff.types import Example


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


@pytest.mark.parametrize(
    "header",
    [
        "Video,Label,start,stop (s),Group",
        "file,behavior,Start,End,GROUP",
        "File Name,Behaviour,onset,offset,group",
        "Media file,Action,start_time,end_time,group",
    ],
)
def test_columns_that_are_called_otherwise_are_taken_and_told(write, header, caplog):
    (example,) = read_table(write(f"{header}\na.mp4,eat,0.5,1,x\n")).examples
    assert (example.video, example.labels, example.group, dict(example.columns)) == (
        "a.mp4", ("eat",), "x", {},
    )  # fmt: skip
    assert (example.start_seconds, example.end_seconds) == (0.5, 1)
    first, second = header.split(",")[:2]
    assert f"took the column {first!r} for video, {second!r} for label" in caplog.text


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("video,label,start,onset", "the columns 'start' and 'onset' may both be start_seconds"),
        ("file,clip,label,x", "the columns 'file' and 'clip' may both be video"),
        ("video,behavior,action,x", "the columns 'behavior' and 'action' may both be label"),
        ("video,label,start_seconds,duration", "a column 'duration', but no column end_seconds"),
        ("video,label,start frame,x", "a column 'start frame', but no column start_seconds"),
        ("video,label,Start (ms),x", "a column 'Start (ms)', but no column start_seconds"),
        ("video,label,x,end_ms", "a column 'end_ms', but no column end_seconds"),
    ],
)
def test_columns_that_are_unclear_are_not_guessed(write, header, message):
    (problem,) = problems(write(f"{header}\na.mp4,b,1,2\n"))
    assert message in problem


def test_further_columns_keep_their_names(write):
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
        ("name,label\na.mp4,eat\n", "column video is missing; the header has: name, label"),
        ("video,label,label\na.mp4,eat,run\n", "column label occurs 2 times"),
        ("video,label\na.mp4,eat,run\n", "row 2: 3 cells for 2 columns"),
        ('video,label\n"a.mp4,eat\nb.mp4,run\n', "row 2: not valid CSV"),  # else two clips would be one
        ('video,label\na.mp4,eat\n"b.mp4"x,run\n', "row 3: not valid CSV"),
        ("video,label\n", "no rows"),
        ("", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        ("video,label\na.mp4,eat\n".encode("utf-16")[:-3], "cut short or not utf-16"),
        ("video,label\na.mp4,eat\n".encode("utf-16")[2:], "zero bytes"),
        (b"PK\x03\x04\x81\x00\x8d", "the workbook cannot be read"),
        (b"\xd0\xcf\x11\xe0\x81\x00", "an old workbook or an archive"),
        (b"video,label\na\x81.mp4,eat\n", "not a text file in UTF-8 or Windows-1252"),
    ],
)
def test_not_such_a_table(write, content, said):
    assert said in "; ".join(problems(write(content)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_encodings_of_other_programs(write, encoding, caplog):
    table = read_table(write("video,label\nä é.mp4,grätschen\n".encode(encoding)))
    assert [(e.video, e.labels) for e in table.examples] == [("ä é.mp4", ("grätschen",))]
    assert ("read as Windows-1252 ('ä' is one of its words)" in caplog.text) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:01:03.5", 63.5), ("1:02:03", 3723), ("01:03,25", 63.25), ("75:30", 4530), ("63.5", 63.5)],
)
def test_times_of_the_clock(write, text, seconds, caplog):
    table = read_table(write(f'video,label,start_seconds\na.mp4,eat,"{text}"\n'))
    assert table.examples[0].start_seconds == seconds
    assert ("were read as minutes and seconds" in caplog.text) == (text.count(":") == 1)


@pytest.mark.parametrize("text", ["1:61:00", "00:01:03:12", "1:75", "1h 3m", "-0:03", "12:00 PM"])
def test_times_that_are_no_seconds(write, text):
    (problem,) = problems(write(f"video,label,start_seconds\na.mp4,eat,{text}\n"))
    assert f"row 2: start_seconds is {text!r}" in problem


def test_labels_that_differ_in_one_letter_are_told(write, caplog):
    labels = ("walking", "walkng", "walking", "run1", "run2")
    rows = [f"{number}.mp4,{label}" for number, label in enumerate(labels)]
    read_table(write("\n".join(["video,label", *rows])))
    assert "'walking' (2) and 'walkng' (1)" in caplog.text
    assert "run1" not in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("eating", "etaing", True), ("drink", "drinks", True), ("walk", "talk", True),
        ("walk", "walk", False),
        ("leg2", "leg3", False), ("0001", "0010", False), ("leg12", "leg21", False), ("leg1", "le1g", False),
        ("1 leg", "2 leg", False), ("walk", "wander", False),
        ("run a", "run b", True), ("abcd", "badc", False),
    ],
)  # fmt: skip
def test_one_letter(one, other, expected):
    assert differ_by_one_letter(one, other) is differ_by_one_letter(other, one) is expected


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_spelt_as_on_disk(write, tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    name = unicodedata.normalize(form, "Gehäge/müller_été.mp4")
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).touch()
    path = write(f"video,label\n{unicodedata.normalize(other, name)},eat\n")
    assert [e.video for e in read_table(path, check_files=True).examples] == [name]


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such names")
@pytest.mark.parametrize(
    "name",
    ["a;b.mp4", "a\\b.mp4", "a\nb.mp4", "-a.mp4", "=1+1.mp4", "@x.mp4", "'-a.mp4", "caf\udce9.mp4", "%E9.mp4",
     "a%20b.mp4", "%25E9.mp4", 'q"uote.mp4', "\udcff;\\-.mp4", "é" * 125 + ".mp4"],
)  # fmt: skip
def test_names_survive_our_own_tables(tmp_path, name):
    (tmp_path / name).touch()
    write_table(Table(tmp_path, tmp_path, (Example(name, ("=eat",)),)), tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text("utf-8")
    assert not re.search('(^|,)"?[=+@-]', text.split("\n", 1)[1])  # what a spreadsheet takes for a formula
    (example,) = read_table(tmp_path / "t.csv", check_files=True).examples
    assert (example.video, example.labels) == (name, ("=eat",))


def test_folders_of_servers_and_systems_are_no_classes(tmp_path, caplog):
    names = (
        "eat/a.mp4", "run/b.MP4", "eat/@eaDir/a.mp4/SYNOPHOTO_FILM_H264.mp4", "#recycle/old.mp4",
        "$RECYCLE.BIN/x.mp4", "System Volume Information/y.mp4", "lost+found/z.mp4", "eat/._a.mp4",
        "run/Thumbs.db", ".Trash-1000/t.mp4", "__MACOSX/eat/._a.mp4", "@Recycle/q.mp4",
    )  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    table = read_table(tmp_path)
    assert [(e.video, e.labels) for e in table.examples] == [("eat/a.mp4", ("eat",)), ("run/b.MP4", ("run",))]
    assert "#recycle" in caplog.text
    assert "Name a file itself to include it" in caplog.text


@pytest.mark.parametrize("name", ["eat;drink", " eat"])
def test_a_class_folder_that_cannot_be_a_label(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.mp4").touch()
    with pytest.raises(TableError, match="cannot be a label"):
        read_table(tmp_path)


def test_the_shared_folder_of_a_file_server(shared_dir):
    table = read_table(shared_dir / "cases/nas_folders/disk")
    assert (len(table), table.label_names) == (6, ("eat", "walk"))


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
    (tmp_path / "sleep" / "1.txt").touch()
    with pytest.raises(TableError, match="sleep"):
        read_folder(tmp_path)
    (tmp_path / "loose.mp4").touch()
    with pytest.raises(TableError, match=r"loose\.mp4"):
        read_table(tmp_path)


def test_a_folder_without_videos(tmp_path):
    with pytest.raises(TableError, match="no videos"):
        read_table(tmp_path)
