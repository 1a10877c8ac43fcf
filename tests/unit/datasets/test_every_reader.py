"""Every reader of labels, on one file written in many ways: read right, or refused in one line."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import openpyxl
import pytest

from actiondiff.datasets.importing import read_labels
from actiondiff.datasets.table import read_table
from actiondiff.errors import ActionDiffError
from actiondiff.paper.datasets.animal_kingdom import read_animal_kingdom
from actiondiff.paper.datasets.charades_ego import read_charades_ego
from actiondiff.paper.datasets.samples import write_sample
from actiondiff.paper.datasets.ucf_hmdb import read_list

LABEL = "grätschen"  # in no way ASCII, so that a wrong encoding shows


@dataclass
class Reader:
    """A reader: the file that is varied, those beside it, and labels as (label, start) of what is read."""

    name: str
    text: str
    read: Callable[..., set]
    beside: tuple[tuple[str, str], ...] = ()
    encodings: tuple[str, ...] = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be-bom", "cp1252")
    delimiter: str = ","


def of_program(program, **options):
    def read(path):
        return {(bout.label, bout.start_seconds) for bout in read_labels(program, path, **options)}

    return read


def of_table(path):
    return {(label, clip.start_seconds) for clip in read_table(path).examples for label in clip.labels}


def of_charades(path):
    table = read_charades_ego(path.parent, protocol="first-to-first", timed=True)
    return {(clip.labels[0], clip.start_seconds) for clip in table.examples}


TABULAR = """\
Observation id,Source,Time offset (s),Media duration (s),FPS,Subject,Behavior,Behavior type,Time
o,player #1:a.mp4,0.0,20.04,25,fox,grätschen,START,2.0
o,player #1:a.mp4,0.0,20.04,25,fox,grätschen,STOP,6.2
o,player #1:a.mp4,0.0,20.04,25,,call,POINT,7.0
"""
AGGREGATED = """\
Observation id,Source,Time offset (s),Media duration (s),Subject,Behavior,Behavior type,Start (s),Stop (s)
o,player #1:a.mp4,0.0,20.04,fox,grätschen,STATE,2.0,6.2
o,player #1:a.mp4,0.0,20.04,No focal subject,call,POINT,7.0,7.0
"""
PROJECT = {
    "behaviors_conf": {"0": {"code": LABEL, "type": "State event"}},
    "observations": {
        "o": {
            "type": "MEDIA", "file": {"1": ["a.mp4"]}, "time offset": 0.0,
            "media_info": {"length": {"a.mp4": 9.0}}, "events": [[2, "", LABEL, ""], [6, "", LABEL, ""]],
        }
    },
}  # fmt: skip
OBSERVATIONS = """\
observationID,deploymentID,mediaID,eventStart,eventEnd,behavior,scientificName,individualID
1,d1,m1,2026-04-12T05:31:09Z,2026-04-12T05:31:14Z,grätschen,Vulpes vulpes,
2,d1,m1,2026-04-12T05:31:20Z,2026-04-12T05:31:24Z,call,Vulpes vulpes,f1
"""
MEDIA = "mediaID,deploymentID,timestamp,filePath,fileMediatype\nm1,d1,2026-04-12T05:31:07Z,a.mp4,video/mp4\n"
VIA_PROJECT = {
    "config": {}, "attribute": {"1": {"aname": "act", "type": 1, "options": {}}},
    "file": {"1": {"fname": "a.mp4", "type": 4, "loc": 1, "src": ""}}, "view": {"1": {"fid_list": ["1"]}},
    "metadata": {"1_x": {"vid": "1", "z": [2, 6], "xy": [], "av": {"1": LABEL}}},
}  # fmt: skip
VIA_EXPORT = """\
# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata
"1_x","[""a.mp4""]",0,"[2,6]","[]","{""act"":""grätschen""}"
"""
EAF = """<?xml version="1.0" encoding="ENCODING"?><ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///a.mp4" MIME_TYPE="video/mp4"/></HEADER><TIME_ORDER><TIME_SLOT
TIME_SLOT_ID="t1" TIME_VALUE="2000"/><TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="6000"/></TIME_ORDER>
<TIER TIER_ID="act"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="t1"
TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>grätschen</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>
"""
VIDEOS = """\
id,subject,scene,script,actions,length,egocentric
A1EGO,S1,Küche,"One, two.",c000 2.00 6.00;c001 7.00 8.00,9.0,Yes
"""
CLASSES = "c000 grätschen\nc001 call\n"

TEST_VIDEOS = VIDEOS.splitlines()[0] + "\nB1EGO,S2,x,y,,9.0,Yes\n"
EGO = ("CharadesEgo_v1_train.csv", "CharadesEgo_v1_test.csv", "Charades_v1_classes.txt")
TABLE = "video,label,start_seconds,end_seconds\na.mp4,grätschen,2,6\na.mp4,call,7,8\n"
ZAMBA = "filepath,label,split,site\na.mp4,grätschen,train,A\nb.mp4,call,val,B\n"
MATRIX = ",background,grätschen,call\n0,1,0,0\n1,0,1,0\n2,0,0,1\n"


def of_list(path):
    return {(clip.stem, None) for clip in read_list(path)}


def of_folder(path):
    return of_program("camtrap-dp")(path.parent)


READERS = {
    "table": Reader("t.csv", TABLE, of_table),
    "table with semicolons": Reader("t.csv", TABLE.replace(",", ";"), of_table, delimiter=";"),
    "zamba": Reader("t.csv", ZAMBA, of_program("zamba")),
    "boris tabular": Reader("t.csv", TABULAR, of_program("boris")),
    "boris aggregated": Reader("t.csv", AGGREGATED, of_program("boris")),
    "boris project": Reader("t.boris", json.dumps(PROJECT, ensure_ascii=False), of_program("boris")),
    "deepethogram": Reader("a_labels.csv", MATRIX, of_program("deepethogram", fps=1.0)),
    "camtrap-dp observations": Reader(
        "observations.csv", OBSERVATIONS, of_program("camtrap-dp"), (("media.csv", MEDIA),)
    ),
    "camtrap-dp media": Reader("media.csv", MEDIA, of_folder, (("observations.csv", OBSERVATIONS),)),
    "via project": Reader("t.json", json.dumps(VIA_PROJECT, ensure_ascii=False), of_program("via")),
    "via export": Reader("t.csv", VIA_EXPORT, of_program("via")),
    "elan": Reader("t.eaf", EAF, of_program("elan"), encodings=("utf-8", "utf-8-sig", "utf-16", "cp1252")),
    "charades-ego videos": Reader(EGO[0], VIDEOS, of_charades, ((EGO[1], TEST_VIDEOS), (EGO[2], CLASSES))),
    "charades-ego classes": Reader(EGO[2], CLASSES, of_charades, ((EGO[0], VIDEOS), (EGO[1], TEST_VIDEOS))),
    "hmdb51": Reader("walk_test_split1.txt", "Grätsche_walk_f_cm_np1_ba_bad_0.avi 1 \n", of_list),
}
NO_TABLES = ("boris project", "via project", "via export", "elan", "charades-ego classes", "hmdb51")


def put(folder, reader, data):
    for name, text in reader.beside:
        (folder / name).write_text(text, "utf-8")
    path = folder / reader.name
    path.write_bytes(data)
    return path


def encoded(text, encoding):
    text = text.replace("ENCODING", encoding.removesuffix("-sig"))
    if encoding == "utf-16-be-bom":
        return b"\xfe\xff" + text.encode("utf-16-be")
    return text.encode(encoding)


def right(reader, folder):
    return reader.read(put(folder, reader, encoded(reader.text, "utf-8")))


def attempt(reader, path):
    """What is read, or None if it is refused; a refusal is one line, and nothing else is raised."""
    try:
        return reader.read(path)
    except ActionDiffError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    return None


@pytest.fixture(params=READERS)
def reader(request):
    return READERS[request.param]


@pytest.fixture(params=[name for name in READERS if name not in NO_TABLES])
def table(request):
    """A reader of tables with a header."""
    return READERS[request.param]


def test_encodings_and_ends_of_lines(reader, tmp_path):
    expected = right(reader, tmp_path)
    assert any("rätsch" in label for label, _ in expected)
    for encoding in reader.encodings:
        for end in ("\n", "\r\n"):
            data = encoded(reader.text.replace("\n", end), encoding)
            assert reader.read(put(tmp_path, reader, data)) == expected, (encoding, end)


@pytest.mark.parametrize("data", [b"", b" \n\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\0\0\0", b"\x81\x8d\x9d"])
def test_nothing_and_noise_are_refused(reader, tmp_path, data):
    assert attempt(reader, put(tmp_path, reader, data)) is None


def test_a_file_that_is_cut_short_or_of_another_kind(reader, tmp_path):
    expected = {label for label, _ in right(reader, tmp_path)} | {"background"}
    data = encoded(reader.text, "utf-8")
    for at in range(1, len(data), max(1, len(data) // 40)):
        read = attempt(reader, put(tmp_path, reader, data[:at]))
        for label, _ in read or ():  # never a label that nobody gave, apart from one that was cut itself
            assert any(
                known.startswith(label.removesuffix("\ufffd").removesuffix("Ã")) for known in expected
            ), label
    book = io.BytesIO()
    openpyxl.Workbook().save(book)
    for other in (
        book.getvalue(),
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        b"%PDF-1.7",
        b"<html></html>",
        b"{}",
        b"[]",
    ):
        assert attempt(reader, put(tmp_path, reader, other)) is None


def test_header_only_and_columns_of_one_name(table, tmp_path):
    reader = table
    header, *rows = reader.text.splitlines()
    assert attempt(reader, put(tmp_path, reader, f"{header}\n".encode())) is None
    names = header.split(reader.delimiter)
    for name in filter(None, names):
        twice = "\n".join([header + reader.delimiter + name, *(row + reader.delimiter for row in rows)])
        assert attempt(reader, put(tmp_path, reader, f"{twice}\n".encode())) is None, name


@pytest.mark.parametrize("value", ["", " ", "TRUE", "False", "NA", "-1", "1e999", "nan", '""', "=1+1", "'"])
def test_cells_that_are_blank_or_of_another_kind(table, tmp_path, value):
    """Each cell in turn. What is read has no label but those of the file, or the text that was put in."""
    reader = table
    expected = {label for label, _ in right(reader, tmp_path)} | {"background", value.strip()}
    header, *rows = reader.text.splitlines()
    for number, row in enumerate(rows):
        if '"' in row:
            continue
        cells = row.split(reader.delimiter)
        for at in range(len(cells)):
            changed = [*rows]
            changed[number] = reader.delimiter.join([*cells[:at], value, *cells[at + 1 :]])
            data = "\n".join([header, *changed, ""]).encode()
            read = attempt(reader, put(tmp_path, reader, data)) or set()
            assert {label for label, _ in read} <= expected
            assert all(label for label, _ in read)
            assert all(start is None or 0 <= start < 1e6 for _, start in read), (number, at, read)


def test_animal_kingdom(tmp_path):
    """Its workbook, with each cell of a row blank or of another kind."""
    path = next(write_sample("animal-kingdom", tmp_path).rglob("*.xlsx"))
    expected = set(read_animal_kingdom(path).label_names)
    for sheet, row in (("AR", 2), ("CARe", 2), ("Action", 5), ("Animal", 2)):
        for value in (None, 3.5):
            for column in range(1, 5):
                book = openpyxl.load_workbook(path)
                book[sheet].cell(row, column).value = value
                book.save(tmp_path / "AR_metadata.xlsx")
                message, labels = "", set()
                try:
                    table = read_animal_kingdom(tmp_path / "AR_metadata.xlsx")
                    labels = {label for clip in table.examples for label in clip.labels}
                except ActionDiffError as error:
                    message = str(error)
                assert "\n" not in message
                assert labels <= expected | {"3.5"}
