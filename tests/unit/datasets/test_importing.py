"""Labels of zamba, Camtrap DP, VIA and ELAN: read right, or refused in one line."""

import csv
import json
from random import Random

import pytest

from actiondiff.cli.main import run
from actiondiff.datasets.bouts import tabulate
from actiondiff.datasets.files import MediaFinder
from actiondiff.datasets.importing import PROGRAMS, read_labels
from actiondiff.datasets.table import read_table
from actiondiff.errors import ActionDiffError, TableError, UnknownNameError, UsageError


def spans(bouts):
    return [(b.media, b.label, b.start_seconds, b.end_seconds) for b in bouts]


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(program, path, **options) -> str:
    with pytest.raises(TableError) as caught:
        read_labels(program, path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- zamba


def test_zamba(tmp_path):
    text = "filepath,label,split,site,x\na.mp4,fox,train,A,1\na.mp4,bird,train,A,1\nb.mp4,blank,holdout,B,\n"
    put(tmp_path / "labels.csv", text)
    for name in ("a.mp4", "b.mp4"):
        put(tmp_path / name, "")
    out = tmp_path / "t.csv"
    assert run(["table", "import", "zamba", str(tmp_path / "labels.csv"), "-o", str(out)]) == 0
    found = [(e.video, set(e.labels), e.split, e.group, e.start_seconds) for e in read_table(out).examples]
    assert found == [("a.mp4", {"fox", "bird"}, "train", "A", None), ("b.mp4", {"blank"}, "test", "B", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("filepath,label\n", "a header and no rows"),
        ("filepath,fox,bird\na.mp4,0.1,0.9\n", "the column label is missing; predictions of zamba"),
        ("path,label\na.mp4,fox\n", "the column filepath is missing"),
        ("filepath,label,label\na.mp4,fox,x\n", "the column label occurs 2 times"),
        ("filepath,label\na.mp4,\n,fox\n", "row 2: label is empty; row 3: filepath is empty"),
        ("filepath,label,split\na.mp4,fox,dev\n", "row 2: split is 'dev'"),
        (
            "filepath,label,split\na.mp4,fox,train\na.mp4,cat,holdout\n",
            "rows 2 and 3 contradict each other: split",
        ),
        ("filepath,label,start\na.mp4,fox,1\n", "the file has times"),
        ("filepath,label,duration\na.mp4,fox,1\n", "the file has times"),
    ],
)
def test_what_is_no_table_of_zamba(tmp_path, text, message):
    assert message in refused("zamba", put(tmp_path / "labels.csv", text))


# ---------------------------------------------------------------- Camtrap DP

DAY = "2026-04-12"
OBSERVATIONS = (
    "observationID,deploymentID,mediaID,eventStart,eventEnd,observationLevel,observationType,scientificName,"
    "behavior,individualID,classifiedBy,observationTags\n"
)
MEDIA = "mediaID,deploymentID,timestamp,filePath,fileMediatype\n"
MEDIA += "m1,d1,2026-04-12T05:31:07Z,videos/a.mp4,video/mp4\nm2,d1,2026-04-12T05:40:00Z,b.jpg,image/jpeg\n"


def package(tmp_path, *rows, media=MEDIA, header=OBSERVATIONS):
    put(tmp_path / "observations.csv", header + "".join(f"{row}\n" for row in rows))
    put(tmp_path / "media.csv", media)
    return tmp_path


def test_camtrap_dp(tmp_path, caplog):
    folder = package(
        tmp_path,
        f"1,d1,m1,{DAY}T05:31:09Z,{DAY}T05:31:14Z,media,animal,Vulpes vulpes,walking|sniffing,f1,ann,",
        f"2,d1,m1,{DAY}T07:31:09+02:00,{DAY}T07:31:14+02:00,media,animal,Vulpes vulpes,eating,NA,ann,"
        "startSeconds:2.400 | endSeconds:6.900",
        "3,d1,m1,2026-04-12T05:31:07Z,2026-04-12T05:31:07Z,media,animal,Vulpes vulpes,resting,,ann,",
        "4,d1,m2,2026-04-12T05:40:00Z,2026-04-12T05:40:00Z,media,animal,Vulpes vulpes,eating,,ann,",
        "5,d1,,2026-04-12T05:40:00Z,2026-04-12T05:40:00Z,event,animal,Vulpes vulpes,eating,,ann,",
        "6,d1,m1,2026-04-12T05:31:20Z,2026-04-12T05:31:21Z,media,blank,,,,ann,",
    )
    bouts = read_labels("camtrap-dp", folder)
    assert spans(bouts) == [
        ("videos/a.mp4", "walking", 2, 7), ("videos/a.mp4", "sniffing", 2, 7),
        ("videos/a.mp4", "eating", 2.4, 6.9), ("videos/a.mp4", "resting", None, None),
    ]  # fmt: skip
    assert [b.subject for b in bouts] == ["f1", "f1", "", ""]
    assert {b.group for b in bouts} == {"d1"}
    assert "left out: 1 of events, 1 of pictures, 1 without a behavior" in caplog.text
    species = read_labels("camtrap-dp", folder / "observations.csv", label_from="scientificName")
    assert {b.label for b in species} == {"Vulpes vulpes"}


def test_two_classifiers_of_a_medium_are_a_choice(tmp_path, capsys):
    times = "2026-04-12T05:31:09Z,2026-04-12T05:31:14Z"
    rows = [
        f"1,d1,m1,{times},media,animal,V,walking,,ann,",
        f"2,d1,m1,{times},media,animal,V,eating,,model 1,",
    ]
    folder = package(tmp_path, *rows)
    command = ["table", "import", "camtrap-dp", str(folder), "-o", str(tmp_path / "t.csv")]
    assert run(command) == 1
    assert "'ann', 'model 1'; choose one of them with --observation" in capsys.readouterr().err
    assert run([*command, "--observation", "ann"]) == 0
    assert [e.labels for e in read_table(tmp_path / "t.csv").examples] == [("walking",)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "1,d1,mX,2026-04-12T05:31:09Z,2026-04-12T05:31:14Z,media,animal,V,walk,,,",
            "row 2: there is no media mX",
        ),
        (
            "1,d1,m1,2026-04-12T05:31:06Z,2026-04-12T05:31:14Z,media,animal,V,walk,,,",
            "row 2: -1 to 7 s after",
        ),
        (
            "1,d1,m1,2026-04-12T05:31:19Z,2026-04-12T05:31:14Z,media,animal,V,walk,,,",
            "row 2: 12 to 7 s after",
        ),
        (
            "1,d1,m1,2026-04-12T05:31:09,2026-04-12T05:31:14Z,media,animal,V,walk,,,",
            "must be times with their zone",
        ),
        (
            f"1,d1,m1,{DAY}T05:31:09Z,{DAY}T05:31:14Z,media,animal,V,walk,,,"
            "startSeconds:4.1 | endSeconds:6.9",
            "row 2: observationTags say 4.1 to 6.9 s, but eventStart and eventEnd are 2 and 7 s after",
        ),
        ("1,d1,m1,soon,,media,animal,V,walk,,,", "row 2: eventStart 'soon', eventEnd ''"),
        (
            "1,d1,m1,2026-04-12T05:31:09Z,2026-04-12T05:31:14Z,media,animal,V,,,,",
            "--label-from scientificName",
        ),
        ("", "a header and no rows"),
    ],
)
def test_what_is_no_observation(tmp_path, row, message):
    assert message in refused("camtrap-dp", package(tmp_path, *[row] if row else []))


DEPLOYMENTS = "deploymentID,latitude,deploymentStart,deploymentEnd,timestampIssues\n"


@pytest.mark.parametrize(
    ("deployment", "rows", "message"),
    [
        ("d1", [f"d1,52,{DAY}T00:00:00Z,2026-04-20T00:00:00Z,"], ""),
        ("d1", [], ""),
        ("", [f"d1,52,{DAY}T00:00:00Z,2026-04-20T00:00:00Z,"], ""),
        (
            "d2", [],
            "observations.csv, row 2, and media.csv, row 2, contradict each other: the deployment of the "
            "media m1 is d2 and d1",
        ),
        (
            "d1", [f"d1,52,{DAY}T05:35:00Z,2026-04-20T00:00:00Z,"],
            f"media.csv, row 2, and deployments.csv, row 2, contradict each other: {DAY}T05:31:07Z is "
            f"outside the deployment d1, {DAY}T05:35:00Z to 2026-04-20T00:00:00Z",
        ),
        ("d1", [f"d1,52,{DAY}T05:35:00Z,2026-04-20T00:00:00Z,true"], ""),  # its clock was wrong, as it says
        (
            "d1", [f"d1,{degrees},{DAY}T00:00:00Z,2026-04-20T00:00:00Z," for degrees in (52, 53)],
            "deployments.csv, rows 2 and 3 contradict each other: latitude of the deployment d1 is 52 and 53",
        ),
    ],
)  # fmt: skip
def test_rows_of_two_tables_that_contradict_each_other(tmp_path, deployment, rows, message):
    folder = package(tmp_path, f"1,{deployment},m1,{DAY}T05:31:09Z,{DAY}T05:31:14Z,media,animal,V,walk,,,")
    if rows:
        put(folder / "deployments.csv", DEPLOYMENTS + "".join(f"{row}\n" for row in rows))
    if message:
        assert message in refused("camtrap-dp", folder)
    else:
        assert len(read_labels("camtrap-dp", folder)) == 1


def test_a_table_videos_of_somebody_else(tmp_path):
    folder = package(tmp_path, f"1,d1,m1,{DAY}T05:31:09Z,{DAY}T05:31:14Z,media,animal,V,walk,,,")
    put(tmp_path / "datapackage.json", json.dumps({"resources": [{"name": "videos", "path": "v.csv"}]}))
    put(tmp_path / "v.csv", "mediaID,codec\nm1,h264\n")
    assert read_labels("camtrap-dp", folder)[0].media == "videos/a.mp4"
    put(tmp_path / "v.csv", "mediaID,video\nm1,../x/a.mp4\n")
    assert read_labels("camtrap-dp", folder)[0].media == "../x/a.mp4"


def test_what_is_no_package(tmp_path):
    with pytest.raises(UsageError, match="a package needs observations"):
        read_labels("camtrap-dp", tmp_path)
    row = "1,d1,m1,2026-04-12T05:31:09Z,2026-04-12T05:31:14Z,media,animal,V,walk,,,"
    folder = package(tmp_path, row, media=MEDIA + "m1,d1,2026-04-12T05:31:07Z,c.mp4,video/mp4\n")
    assert "media.csv, row 4: the mediaID m1 occurs twice" in refused("camtrap-dp", folder)
    folder = package(tmp_path, row, header=OBSERVATIONS.replace("behavior", "behaviour"))
    assert "observations.csv has no column behavior" in refused("camtrap-dp", folder)
    for place in ("../observations.csv", "/etc/passwd", "http://x/o.csv", "C:\\o.csv"):
        put(
            tmp_path / "datapackage.json",
            json.dumps({"resources": [{"name": "observations", "path": place}]}),
        )
        assert "it must lie in the package" in refused("camtrap-dp", tmp_path)
    put(tmp_path / "datapackage.json", "[" * 100_000)
    assert "not the description of a package" in refused("camtrap-dp", tmp_path)


# ---------------------------------------------------------------- VIA


SEGMENTS = {"aname": "TEMPORAL-SEGMENTS", "type": 4, "options": {"default": "Default"}}


def via(*items, attributes=None, files=None, **config):
    return {
        "project": {"pname": "x"},
        "config": {"file": {"loc_prefix": config.get("prefix", {"1": "", "3": ""})}},
        "attribute": attributes or {"1": SEGMENTS},
        "file": files or {"1": {"fid": "1", "fname": "a b.mp4", "type": 4, "loc": 1, "src": ""}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {f"1_{i}": {"vid": "1", "flg": 0, "xy": [], **item} for i, item in enumerate(items)},
    }  # fmt: skip


def test_via(tmp_path, caplog):
    items = [
        {"z": [1.5, 2.25], "av": {"1": "walk"}}, {"z": [3, 4], "av": {"1": "default"}},
        {"z": [5.0], "av": {"1": "eat"}}, {"z": [], "av": {"1": "indoors"}},
        {"z": [1], "xy": [2, 1, 1, 5, 5], "av": {"1": "box"}},
    ]  # fmt: skip
    path = put(tmp_path / "p.json", json.dumps(via(*items)))
    assert spans(read_labels("via", path)) == [
        ("a b.mp4", "walk", 1.5, 2.25), ("a b.mp4", "Default", 3, 4), ("a b.mp4", "eat", 5, 5),
        ("a b.mp4", "indoors", None, None),
    ]  # fmt: skip
    assert "left out 1 regions of pictures" in caplog.text


def test_via_checkboxes_and_several_attributes(tmp_path, caplog):
    attributes = {
        "1": {"aname": "act", "type": 2, "options": {"0": "walk", "1": "eat"}},
        "2": {"aname": "who", "type": 1, "options": {}},
    }
    project = via(
        {"z": [0, 1], "av": {"1": "0,1", "2": "fox"}},
        {"z": [1, 2], "av": {"2": "cat"}},
        attributes=attributes,
    )
    path = put(tmp_path / "p.json", json.dumps(project))
    assert "several attributes have values: 'act', 'who'; choose one with --label-from" in refused(
        "via", path
    )
    assert [b.label for b in read_labels("via", path, label_from="act")] == ["walk", "eat"]
    assert "left out 1 segment with values of other attributes than 'act' only" in caplog.text
    assert [b.label for b in read_labels("via", path, label_from="who")] == ["fox", "cat"]
    with pytest.raises(UnknownNameError, match="attribute"):
        read_labels("via", path, label_from="whom")


@pytest.mark.parametrize(
    ("source", "expected"),
    [("sub/c.mp4", "/data/sub/c.mp4"), ("", "a b.mp4"), ("blob:null/1", "a b.mp4")],
)
def test_where_a_file_of_via_lies(tmp_path, source, expected):
    files = {"1": {"fid": "1", "fname": "a b.mp4", "type": 4, "loc": 3, "src": source}}
    project = via({"z": [0, 1], "av": {"1": "x"}}, files=files, prefix={"3": "file:///data/"})
    assert read_labels("via", put(tmp_path / "p.json", json.dumps(project)))[0].media == expected


def test_an_export_of_via(tmp_path):
    columns = "metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata"
    lines = ["# Exported using VGG Image Annotator", f"# CSV_HEADER = {columns}"]
    lines.append('"1_a","[""a.mp4""]",0,"[1.5,2]","[]","{""TEMPORAL-SEGMENTS"":""walk""}"')
    assert spans(read_labels("via", put(tmp_path / "e.csv", "\n".join(lines)))) == [("a.mp4", "walk", 1.5, 2)]
    placeholder = "\n".join(lines).replace("walk", "_DEFAULT")
    assert "the segment has no label" in refused("via", put(tmp_path / "e.csv", placeholder))
    numbers = "\n".join(lines).replace("walk", "1")
    assert "give the project" in refused("via", put(tmp_path / "e.csv", numbers))
    assert "no comment with CSV_HEADER" in refused("via", put(tmp_path / "e.csv", "a,b\n1,2\n"))
    assert "not a project of VIA 3" in refused("via", put(tmp_path / "e.csv", "\n".join([*lines, "x,y"])))


def test_an_export_of_via_with_numbered_attributes(tmp_path):
    """As VIA 3 writes it: columns of `metadata` are numbers of attributes, which a comment defines."""
    attributes = {
        "1": {"aname": "note", "anchor_id": "FILE1_Z2_XY0", "type": 1, "options": {"default": "Default"}},
        "3": {"aname": "act", "anchor_id": "FILE1_Z2_XY0", "type": 4, "options": {"0": "walk", "1": "eat"}},
        "4": {"aname": "who", "anchor_id": "FILE1_Z2_XY0", "type": 2, "options": {"0": "fox", "1": "cat"}},
    }

    def row(times, values):
        cells = (["a é.mp4"], times, [], values)
        files, times, area, values = ('"' + json.dumps(cell).replace('"', '""') + '"' for cell in cells)
        return f'"1_x",{files},0,{times},{area},{values}'

    columns = "metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata"
    lines = [
        '# - metadata of {""1"":""3""} indicates attribute "1" set to an attribute option with id "3"',
        "# FLAG_ID = {}", f"# ATTRIBUTE = {json.dumps(attributes)}", f"# CSV_HEADER = {columns}",
        row([1.5, 2], {"1": "_DEFAULT", "3": "1"}), row([2, 3], {"3": "0", "4": "0,1"}),
        row([3, 4], {"3": "12 steps"}),
    ]  # fmt: skip
    path = put(tmp_path / "e.csv", "\n".join(lines))
    assert "several attributes have values: 'act', 'who'" in refused("via", path)
    labels = [(b.media, b.label, b.start_seconds) for b in read_labels("via", path, label_from="act")]
    assert labels == [("a é.mp4", "eat", 1.5), ("a é.mp4", "walk", 2), ("a é.mp4", "12 steps", 3)]
    assert [b.label for b in read_labels("via", path, label_from="who")] == ["fox", "cat"]
    names = [line.replace(json.dumps(attributes), '{"3": "act", "4": "who"}') for line in lines]
    old = [line.replace("ATTRIBUTE =", "ATTRIBUTES =") for line in names]
    assert "the value is the number of an option" in refused("via", put(tmp_path / "o.csv", "\n".join(old)))
    (bout,) = read_labels("via", put(tmp_path / "o.csv", "\n".join([*old[:-3], old[-1]])), label_from="act")
    assert bout.label == "12 steps"


@pytest.mark.parametrize("number", ["1", 1])
def test_numbers_of_via_may_be_texts_or_numbers(tmp_path, number):
    project = via({"z": [1, 2], "av": {"1": "x"}}, {"z": [2, 3], "av": {"1": "_DEFAULT"}})
    project["view"]["1"]["fid_list"] = [number]
    path = put(tmp_path / "p.json", json.dumps(project))
    assert "segment 1_1: the segment has no label" in refused("via", path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "the file is empty"),
        (json.dumps({"a.jpg12": {"filename": "a.jpg", "regions": []}}), "a project of VIA 2"),
        ("{}", "not a project of VIA 3"),
        ("[1]", "not a project of VIA 3"),
        ("[" * 100_000, "not a project of VIA 3"),
        (json.dumps({"_via_settings": {}}), "a project of VIA 2"),
        (json.dumps(via({"z": [2, 1], "av": {"1": "x"}})), "2 to 1 s is no span"),
        (
            json.dumps(via({"z": [1, 2], "av": {}}, {"z": [1, 2], "av": {"1": "x"}})),
            "segment 1_0: the segment has no label",
        ),
        (json.dumps(via({"z": [1, 2, 3], "av": {"1": "x"}})), "1 to 2 to 3 s is no span"),
        (json.dumps(via({"z": [float("nan")], "av": {"1": "x"}})), "nan s is no span"),
        (json.dumps(via({"z": [1, 2], "av": {}})), "the segment has no label"),
        (json.dumps(via({"z": ["a", 2], "av": {"1": "x"}})), "not a project of VIA 3"),
    ],
)
def test_what_is_no_project_of_via(tmp_path, data, message):
    assert message in refused("via", put(tmp_path / "p.json", data))


# ---------------------------------------------------------------- ELAN


def eaf(
    body,
    *,
    media='MEDIA_URL="file:///C:/data/a%20b.mp4" MIME_TYPE="video/mp4"',
    units="milliseconds",
    start="",
):
    slots = {"t1": "1000", "t2": "2500", "t3": "4000", "t4": None}
    times = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{name}"' + (f' TIME_VALUE="{time}"' if time else "") + "/>"
        for name, time in slots.items()
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{start}<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="{units}">'
        f"<MEDIA_DESCRIPTOR {media}/></HEADER><TIME_ORDER>{times}</TIME_ORDER>{body}</ANNOTATION_DOCUMENT>"
    )


def tier(name, *annotations, more=""):
    inner = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}{i}" '
        f'TIME_SLOT_REF1="{a}" TIME_SLOT_REF2="{b}">'
        f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        for i, (a, b, text) in enumerate(annotations)
    )
    return f'<TIER TIER_ID="{name}" {more}>{inner}</TIER>'


def reference(name, *pairs):
    inner = "".join(
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{own}" ANNOTATION_REF="{other}"><ANNOTATION_VALUE>{text}'
        "</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
        for own, other, text in pairs
    )
    return f'<TIER TIER_ID="{name}">{inner}</TIER>'


BODY = tier("fox", ("t1", "t2", "walk"), ("t2", "t3", "grätschen &amp; so"), more='PARTICIPANT="f1"')


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_elan(tmp_path, encoding):
    text = eaf(BODY).replace('encoding="UTF-8"', f'encoding="{encoding.removesuffix("-sig")}"')
    bouts = read_labels("elan", put(tmp_path / "x.eaf", text.encode(encoding)))
    assert spans(bouts) == [
        ("C:/data/a b.mp4", "walk", 1, 2.5), ("C:/data/a b.mp4", "grätschen & so", 2.5, 4),
    ]  # fmt: skip
    assert {(b.subject, b.group) for b in bouts} == {("f1", "x")}


def test_tiers_references_and_the_choice_of_the_label(tmp_path, caplog):
    body = (
        BODY
        + reference("kind", ("r1", "fox0", "slow"), ("r2", "r1", "very"))
        + tier("note", ("t1", "t3", ""))
    )
    path = put(tmp_path / "x.eaf", eaf(body))
    assert "tier note, annotation note0: it has no text" in refused("elan", path)
    found = read_labels("elan", path, tiers=["fox", "kind"])
    assert spans(found)[2:] == [("C:/data/a b.mp4", "slow", 1, 2.5), ("C:/data/a b.mp4", "very", 1, 2.5)]
    assert {b.label for b in read_labels("elan", path, label_from="tier")} == {"fox", "kind", "note"}
    assert "took the labels of all tiers: fox (2), kind (2), note (1); --tier chooses some" in caplog.text
    with pytest.raises(UnknownNameError, match="Did you mean 'fox'"):
        read_labels("elan", path, tiers=["foxx"])


def test_media_of_elan(tmp_path, caplog):
    put(tmp_path / "v/a.mp4", "")
    media = 'MEDIA_URL="file:///gone/a.mp4" RELATIVE_MEDIA_URL="./v/a.mp4" MIME_TYPE="video/mp4" '
    media += 'TIME_ORIGIN="500"/>'
    media += '<MEDIA_DESCRIPTOR MEDIA_URL="file:///gone/s.wav" MIME_TYPE="audio/x-wav"/>'
    media += '<MEDIA_DESCRIPTOR MEDIA_URL="file:///gone/b.mp4" MIME_TYPE="video/mp4"'
    found = read_labels("elan", put(tmp_path / "x.eaf", eaf(BODY, media=media)))
    assert spans(found)[0] == (str(tmp_path / "v/a.mp4"), "walk", 1.5, 3)
    assert "and not also of /gone/b.mp4" in caplog.text


def test_parts_of_an_annotation_have_no_times_of_their_own(tmp_path):
    """Two references of one tier to one annotation share its time in ELAN, which does not store how."""
    body = BODY + reference("kind", ("r1", "fox0", "slow"), ("r2", "fox0", "fast"), ("r3", "fox1", "late"))
    body += reference("more", ("m1", "r3", "very"), ("m2", "r1", "not"))
    path = put(tmp_path / "x.eaf", eaf(body))
    message = refused("elan", path)
    for name in ("kind, annotation r1", "kind, annotation r2", "more, annotation m2"):
        assert f"tier {name}: its own times are not set" in message
    assert "r3" not in message
    assert "m1" not in message
    assert [bout.label for bout in read_labels("elan", path, tiers=["fox"])] == ["walk", "grätschen & so"]


def test_texts_of_a_vocabulary_and_old_headers(tmp_path):
    body = (
        '<TIER TIER_ID="act"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" CVE_REF="c1" '
        'TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION>'
        '</ANNOTATION></TIER><TIER TIER_ID="empty"/><CONTROLLED_VOCABULARY><CV_ENTRY_ML CVE_ID="c1">'
        '<CVE_VALUE LANG_REF="und">walk</CVE_VALUE></CV_ENTRY_ML></CONTROLLED_VOCABULARY>'
    )
    text = eaf(body).replace(
        '<HEADER TIME_UNITS="milliseconds">', '<HEADER TIME_UNITS="milliseconds" MEDIA_FILE="b.mpg">'
    )
    text = text.replace('MEDIA_URL="file:///C:/data/a%20b.mp4" MIME_TYPE="video/mp4"', 'MEDIA_URL="s.wav"')
    assert spans(read_labels("elan", put(tmp_path / "x.eaf", text))) == [("b.mpg", "walk", 1, 2.5)]


def test_a_relative_address_with_escapes(tmp_path):
    put(tmp_path / "my videos/a ü.mp4", "")
    media = 'MEDIA_URL="file:///gone/a.mp4" RELATIVE_MEDIA_URL="./my%20videos/a%20%C3%BC.mp4" '
    media += 'MIME_TYPE="video/mp4"'
    bouts = read_labels("elan", put(tmp_path / "x.eaf", eaf(BODY, media=media)))
    assert bouts[0].media == str(tmp_path / "my videos/a ü.mp4")


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("words", "not a file of ELAN"),
        ("<html></html>", "it begins with 'html'"),
        (eaf(BODY)[:-30], "not a file of ELAN"),
        (eaf(BODY, start=LAUGHS), "document type definition"),
        (eaf(tier("a", ("t1", "t2", "&a;")), start=OUTSIDE), "document type definition"),
        (eaf("<a>" * 60 + "</a>" * 60), "nested too deeply"),
        (eaf(BODY, units="PAL-frames"), "times are in PAL-frames"),
        (eaf(BODY, media='MEDIA_URL="file:///s.wav" MIME_TYPE="audio/x-wav"'), "no video is linked"),
        (eaf(tier("a", ("t1", "t4", "x"))), "tier a, annotation a0: its own times are not set"),
        (eaf(tier("a", ("t2", "t1", "x"))), "2500 to 1000 ms is no span"),
        (eaf(reference("k", ("r1", "r2", "x"), ("r2", "r1", "y"))), "its own times are not set"),
        (b"\xff\xfe\x00", "not a file of ELAN"),
    ],
)
def test_what_is_no_file_of_elan(tmp_path, text, message):
    assert message in refused("elan", put(tmp_path / "x.eaf", text))


def test_two_coders_and_side_files_in_a_folder_of_elan(tmp_path, capsys):
    put(tmp_path / "v/a.mp4", "")
    media = 'MEDIA_URL="file:///x/a.mp4" RELATIVE_MEDIA_URL="./v/a.mp4" MIME_TYPE="video/mp4"'
    for name in ("ann.eaf", "ben.eaf"):
        put(tmp_path / name, eaf(BODY, media=media))
    put(tmp_path / "._ann.eaf", b"\0\5\x16\7")
    command = ["table", "import", "elan", str(tmp_path), "-o", str(tmp_path / "t.csv")]
    assert run(command) == 1
    assert "was coded in 2 observations: 'ann', 'ben'" in capsys.readouterr().err
    assert run([*command, "--observation", "ben"]) == 0
    assert [e.group for e in read_table(tmp_path / "t.csv").examples] == ["ben", "ben"]


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_source_that_is_absent_or_noise_is_one_line(tmp_path, program, capsys):
    with pytest.raises(ActionDiffError):
        read_labels(program, tmp_path / "gone")
    for name in ("x.csv", "x.json", "x.eaf", "x.boris", "x.boris.gz", "x_labels.csv", "observations.csv"):
        for data in (
            b"",
            b"\0\1\2",
            bytes(range(256)),
            b"\x1f\x8b\x08\0",
            b'{"a":',
            "ä\n".encode("latin-1"),
            b"a,a\n",
        ):
            path = put(tmp_path / program / name, data)
            put(tmp_path / program / "media.csv", data)
            with pytest.raises(ActionDiffError) as caught:
                read_labels(program, path, **({"fps": 5} if program == "deepethogram" else {}))
            assert "\n" not in str(caught.value).strip()


def test_options_without_effect_are_refused(tmp_path):
    for options in ({"fps": 5}, {"label_from": "tier"}, {"tiers": ["a"]}):
        with pytest.raises(UsageError, match="has no effect on boris"):
            read_labels("boris", tmp_path, **options)
    with pytest.raises(UnknownNameError, match="Known: value, tier"):
        read_labels("elan", put(tmp_path / "x.eaf", eaf(BODY)), label_from="tiers")
    with pytest.raises(UnknownNameError, match="Did you mean 'boris'"):
        read_labels("boriss", tmp_path)


def test_our_own_names_come_back(tmp_path):
    """A label that a spreadsheet would run is neutral in the table, and is itself again when it is read."""
    put(tmp_path / "a.mp4", "")
    path = put(tmp_path / "l.csv", "filepath,label\na.mp4,=1+1\n")
    assert run(["table", "import", "zamba", str(path), "-o", str(tmp_path / "t.csv")]) == 0
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["'=1+1"]
    assert read_table(tmp_path / "t.csv").label_names == ("=1+1",)


CODED = {
    "type": "MEDIA",
    "file": {"1": ["a.mp4"]},
    "time offset": 0.0,
    "media_info": {"length": {"a.mp4": 9.0}},
    "events": [[1, "", "walk", ""], [2, "", "walk", ""]],
}
CODED_PROJECT = {
    "behaviors_conf": {"0": {"code": "walk", "type": "State event"}},
    "observations": {"o": CODED},
}
SOUND = {
    "boris": ("x.boris", json.dumps(CODED_PROJECT)),
    "deepethogram": ("x_labels.csv", ",background,walk\n0,1,0\n1,0,1\n2,-1,-1\n"),
    "zamba": ("z.csv", "filepath,label,split,site,x\na.mp4,fox,train,A,1\nb.mp4,blank,holdout,B,\n"),
    "via": ("p.json", json.dumps(via({"z": [1.5, 2.25], "av": {"1": "walk"}}, {"z": [], "av": {"1": "in"}}))),
    "elan": ("x.eaf", eaf(BODY + reference("kind", ("r1", "fox0", "slow")))),
    "camtrap-dp": (
        "observations.csv",
        OBSERVATIONS + f"1,d1,m1,{DAY}T05:31:09Z,{DAY}T05:31:14Z,,,V,walk|s,,,\n",
    ),
}
INSERTED = (
    '"',
    ",",
    ";",
    "\t",
    "\n",
    "\r",
    "\0",
    "é",
    "1e999",
    "NaN",
    "[",
    "]",
    "{",
    "null",
    "-1",
    "<",
    "&",
    "\ufeff",
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, program):
    random = Random(program)
    name, text = SOUND[program]
    options = {"fps": 5.0} if program == "deepethogram" else {}
    put(tmp_path / "media.csv", MEDIA)
    for _ in range(60):
        data = bytearray(text.encode())
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(data) + 1)
            data[at : at + random.choice((0, 0, 1, 8))] = random.choice(INSERTED).encode()
        if random.random() < 0.2:
            del data[random.randrange(len(data)) :]
        path = put(tmp_path / name, bytes(data))
        message = ""
        try:
            bouts = read_labels(program, path, **options)
            files = MediaFinder(tmp_path)
            rows = tabulate(bouts, files, out=tmp_path / "t.csv", source=path, point_seconds=1.0).rows
        except ActionDiffError as error:
            message = str(error)
            rows = ()
        assert "\n" not in message
        assert all(row["label"].strip() for row in rows)
