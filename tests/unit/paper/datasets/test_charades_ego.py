"""Charades-Ego from an excerpt with the quirks of the real files, and from files gone wrong."""

import pytest
from tests.conftest import read_rows, write_rows

from actiondiff.errors import TableError, UnknownNameError
from actiondiff.paper.datasets.charades_ego import CHARADES_EGO, read_charades_ego


def by_id(table):
    return {example.name.removesuffix(".mp4"): example for example in table.examples}


@pytest.fixture
def files(excerpts, tmp_path):
    """A copy of the excerpt's files, to change."""
    for path in (excerpts["charades-ego"] / "charades_ego").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_lines_end_with_crlf_and_scripts_have_commas(excerpts):
    path = next(excerpts["charades-ego"].rglob("*train.csv"))
    assert path.read_bytes().count(b"\r\n") == 87
    assert b'"Script 1, left out."' in path.read_bytes()
    assert len(read_charades_ego(path.parent, protocol="all")) == 86 + 46


def test_viewpoints_and_splits(excerpts):
    folder = excerpts["charades-ego"]
    for protocol, source, target, train, test in (
        ("first-to-first", "first", "first", 43, 24),
        ("third-to-first", "third", "first", 43, 24),
        ("first-to-third", "first", "third", 43, 22),
    ):
        table = read_charades_ego(folder, protocol=protocol)
        assert dict(table.counts("split")) == {"train": train, "test": test}
        for split, viewpoint in (("train", source), ("test", target)):
            found = {c.columns["viewpoint"] for c in table.examples if c.split == split}
            assert found == {viewpoint}


def test_labels_are_unique_known_and_complete(excerpts):
    table = read_charades_ego(excerpts["charades-ego"], protocol="all")
    clips = by_id(table)
    assert len(table.label_names) == 157
    assert table.label_names[0] == "c000 Holding some clothes"
    assert clips["VWKFSEGO"].labels == (  # c062 and c061 stand there twice
        "c061 Holding some food",
        "c062 Putting some food somewhere",
        "c063 Taking food from somewhere",
    )
    assert clips["KCSBQEGO"].labels == ()
    assert table.labels_are_complete
    assert table.multi_label
    # an interval that ends before it starts still names a class
    assert "c153 Someone is smiling" not in clips["QDC7DEGO"].labels or clips["QDC7DEGO"].labels
    assert len(clips["QDC7DEGO"].labels) == 3


def test_groups_are_subjects_and_scripts_have_keys(excerpts):
    clips = by_id(read_charades_ego(excerpts["charades-ego"], protocol="all"))
    assert clips["5O1VE"].group == clips["5O1VEEGO"].group == "XH2Y"
    assert clips["5O1VE"].columns["script"] == clips["5O1VEEGO"].columns["script"]
    assert clips["5O1VE"].columns["script"] != clips["T0IKGEGO"].columns["script"]


def test_timed_labels_are_cut_merged_and_put_in_order(excerpts):
    table = read_charades_ego(excerpts["charades-ego"], protocol="all", timed=True)
    assert not table.labels_are_complete

    def spans(video):
        found = [c for c in table.examples if c.name.removesuffix(".mp4") == video]
        return [(c.labels[0][:4], c.start_seconds, c.end_seconds) for c in found]

    assert spans("QDC7DEGO") == [("c060", 7.1, 14.75), ("c063", 11.1, 14.75)]  # c153 15.20 14.75 is none
    assert spans("T0IKGEGO") == [("c026", 0.0, 23.04), ("c096", 0.0, 23.04)]
    assert ("c152", 0.0, 19.96) in spans("L1KJHEGO")  # written as 0.00 20.96
    # c061 0.00 9.80;c061 7.70 19.70 are one, c062 7.70 19.80;c062 19.60 22.96 too
    assert spans("VWKFSEGO") == [("c061", 0.0, 19.7), ("c062", 7.7, 22.96), ("c063", 9.6, 22.5)]
    assert spans("9L8E5").count(("c152", 1.6, 9.3)) == 1  # apart from c152 67.00 118.20
    assert spans("KCSBQEGO") == []


def test_files_of_one_viewpoint_are_enough(files):
    for split in ("train", "test"):
        path = files / f"CharadesEgo_v1_{split}.csv"
        rows = read_rows(path)
        for end, yes in (("only1st", "Yes"), ("only3rd", "No")):
            write_rows(
                files / f"CharadesEgo_v1_{split}_{end}.csv", (row for row in rows if row["egocentric"] == yes)
            )
    both = read_charades_ego(files, protocol="third-to-first")
    for split in ("train", "test"):
        (files / f"CharadesEgo_v1_{split}.csv").unlink()
    apart = read_charades_ego(files, protocol="third-to-first")
    assert apart.examples == both.examples
    (files / "CharadesEgo_v1_train_only3rd.csv").unlink()
    with pytest.raises(TableError, match="CharadesEgo_v1_train_only3rd"):
        read_charades_ego(files, protocol="third-to-first")
    assert len(read_charades_ego(files, protocol="first-to-first")) == 67


def test_version_0_is_told(files):
    (files / "CharadesEgo_v1_train.csv").write_text("id,actions,length\nBHP3HEGO,c127 18.9 24.0,28.25\n")
    with pytest.raises(TableError, match="use the files of version 1"):
        read_charades_ego(files)


def test_problems_are_listed_by_row(files):
    path = files / "CharadesEgo_v1_train.csv"
    text = path.read_text()
    text = text.replace("c009 8.80 20.20", "c909 8.80 20.20", 1).replace("c060 7.10 14.75", "c060 7.10", 1)
    path.write_text(text.replace("T0IKGEGO", "5O1VEEGO"))
    with pytest.raises(TableError) as error:
        read_charades_ego(files)
    said = "\n".join(error.value.problems)
    assert "(MMW4JEGO)" in said
    assert "(QDC7DEGO)" in said
    assert "5O1VEEGO is listed several times" in said


def test_other_mistakes(files, tmp_path):
    with pytest.raises(UnknownNameError, match="third-to-first"):
        read_charades_ego(files, protocol="third_to_first")
    (files / "Charades_v1_classes.txt").write_text("Holding some clothes\n")
    with pytest.raises(TableError, match="a line should be like"):
        read_charades_ego(files)
    (files / "Charades_v1_classes.txt").unlink()
    with pytest.raises(TableError, match=r"Charades_v1_classes\.txt"):
        read_charades_ego(files)


def test_every_protocol_can_be_read(excerpts):
    for name in CHARADES_EGO.protocols:
        assert len(read_charades_ego(excerpts["charades-ego"], protocol=name))
