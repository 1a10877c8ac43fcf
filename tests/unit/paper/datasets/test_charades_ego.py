"""Charades-Ego from made-up files with the quirks of the real files, and from files gone wrong."""

import pytest
from tests.conftest import read_rows, write_rows

from actiondiff.errors import TableError, UnknownNameError
from actiondiff.paper.datasets.charades_ego import CHARADES_EGO, read_charades_ego


def by_id(table):
    return {example.name.removesuffix(".mp4"): example for example in table.examples}


@pytest.fixture
def files(samples, tmp_path):
    """A copy of the files, to change."""
    for path in (samples["charades-ego"] / "charades_ego").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_lines_end_with_crlf_and_scripts_have_commas(samples):
    path = next(samples["charades-ego"].rglob("*train.csv"))
    assert path.read_bytes().count(b"\r\n") == 87
    assert b'"Script 1, made up."' in path.read_bytes()
    assert len(read_charades_ego(path.parent, protocol="all")) == 86 + 46


def test_viewpoints_and_splits(samples):
    folder = samples["charades-ego"]
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


def test_labels_are_unique_known_and_complete(samples):
    table = read_charades_ego(samples["charades-ego"], protocol="all")
    clips = by_id(table)
    assert len(table.label_names) == 157
    assert table.label_names[0] == "c000 Lifting a lamp"
    assert clips["TWICEEGO"].labels == (  # c042 and c041 stand there twice
        "c041 Hiding a bucket",
        "c042 Lifting a clock",
        "c043 Moving a clock somewhere",
    )
    assert clips["NONE1EGO"].labels == ()
    assert table.labels_are_complete
    assert table.multi_label
    # an interval that ends before it starts still names a class
    assert [label[:4] for label in clips["BACK1EGO"].labels] == ["c060", "c063", "c153"]


def test_groups_are_subjects_and_scripts_have_keys(samples):
    clips = by_id(read_charades_ego(samples["charades-ego"], protocol="all"))
    assert clips["SAME1"].group == clips["SAME1EGO"].group == "D2EF"
    assert clips["SAME1"].columns["script"] == clips["SAME1EGO"].columns["script"]
    assert clips["SAME1"].columns["script"] != clips["BACK1EGO"].columns["script"]


def test_timed_labels_are_cut_merged_and_put_in_order(samples):
    table = read_charades_ego(samples["charades-ego"], protocol="all", timed=True)
    assert not table.labels_are_complete

    def spans(video):
        found = [c for c in table.examples if c.name.removesuffix(".mp4") == video]
        return [(c.labels[0][:4], c.start_seconds, c.end_seconds) for c in found]

    assert spans("BACK1EGO") == [("c060", 7.1, 14.75), ("c063", 11.1, 14.75)]  # c153 15.20 14.75 is none
    assert spans("SAME1EGO") == [("c026", 0.0, 9.0), ("c032", 0.0, 9.0)]
    assert ("c152", 0.0, 20.0) in spans("LONG1EGO")  # written as 0.00 21.00
    # c041 0.00 9.80;c041 7.75 19.50 are one, c042 7.75 19.80;c042 19.50 23.00 too
    assert spans("TWICEEGO") == [("c041", 0.0, 19.5), ("c042", 7.75, 23.0), ("c043", 9.5, 22.5)]
    assert spans("HOURS").count(("c152", 1.5, 9.25)) == 1  # apart from c152 67.00 118.25
    assert spans("NONE1EGO") == []


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
    text = text.replace("c081 6.25 11.50", "c981 6.25 11.50", 1).replace("c060 7.10 14.75", "c060 7.10", 1)
    path.write_text(text.replace("SHORT,", "SAME1EGO,"))
    with pytest.raises(TableError) as error:
        read_charades_ego(files)
    said = "\n".join(error.value.problems)
    assert "(BLANKEGO)" in said
    assert "(BACK1EGO)" in said
    assert "SAME1EGO is listed several times" in said


def test_other_mistakes(files, tmp_path):
    with pytest.raises(UnknownNameError, match="third-to-first"):
        read_charades_ego(files, protocol="third_to_first")
    (files / "Charades_v1_classes.txt").write_text("Holding some clothes\n")
    with pytest.raises(TableError, match="a line should be like"):
        read_charades_ego(files)
    (files / "Charades_v1_classes.txt").unlink()
    with pytest.raises(TableError, match=r"Charades_v1_classes\.txt"):
        read_charades_ego(files)


def test_every_protocol_can_be_read(samples):
    for name in CHARADES_EGO.protocols:
        assert len(read_charades_ego(samples["charades-ego"], protocol=name))
