"""UCF101 and HMDB51 from made-up official lists, and from lists as they circulate."""

import re

import pytest

from actiondiff.datasets.files import VideoIndex
from actiondiff.errors import TableError, UnknownNameError
from actiondiff.paper.datasets.ucf_hmdb import SHARED_CLASSES, UCF_HMDB, read_list, read_ucf_hmdb


@pytest.fixture(scope="module")
def listed(samples):
    return read_ucf_hmdb(samples["ucf-hmdb"], protocol="all")


def circulate(table, folder, style):
    """The table's clips as CoMix (`v_NAME,0`) or TA3N (`a/b/NAME 80 0`) list them: without brackets."""
    names = list(SHARED_CLASSES)
    for dataset, other in (("ucf101", "hmdb51"), ("hmdb51", "ucf101")):
        for split, word in (("train", "train"), ("test", "val")):
            lines = []
            for clip in table.examples:
                if clip.columns["dataset"] != dataset or clip.split != split:
                    continue
                stem = re.sub(r"[()&]", "", clip.name.removesuffix(".avi"))
                label = names.index(clip.labels[0])
                if style == "comix":
                    lines.append(f"{'' if dataset == 'ucf101' else 'v_'}{stem},{label}")
                else:
                    lines.append(f"dataset/{dataset}/RGB-feature/{stem} 80 {label}")
            name = (
                f"{dataset}_{word}_hmdb_ucf.csv"
                if style == "comix"
                else f"list_{word}_{other}-{dataset}_resnet101.txt"
            )
            (folder / name).write_text("\n".join(lines) + "\n")


def plain(table):
    return sorted(
        (re.sub(r"\W", "", clip.name), clip.labels, clip.split, clip.columns["official_split"])
        for clip in table.examples
    )


def test_twelve_classes_of_fifteen_and_the_unused_left_out(listed):
    assert listed.label_names == tuple(SHARED_CLASSES)
    assert len(listed.label_names) == 12
    assert dict(listed.counts("dataset")) == {"ucf101": 135, "hmdb51": 108}
    assert listed.counts("split") == {"train": 162, "test": 81}
    punch = {c.columns["original_class"] for c in listed.examples if c.labels == ("punch",)}
    assert punch == {"BoxingPunchingBag", "BoxingSpeedBag", "Punch", "punch"}
    assert "HandstandPushups" not in set(listed.values("original_class"))
    assert not listed.multi_label


def test_a_class_whose_folder_and_files_are_spelt_apart(samples):
    clips = read_list(next(samples["ucf-hmdb"].rglob("trainlist01.txt")))
    odd = [clip for clip in clips if clip.folder == "HandstandPushups"]
    assert len(odd) == 2
    assert all(clip.stem.startswith("v_HandStandPushups_g") for clip in odd)
    assert odd[0].group == "HandStandPushups_g08"
    assert {clip.label for clip in odd} == {""}


def test_whole_target_is_tested(samples):
    folder = samples["ucf-hmdb"]
    there = read_ucf_hmdb(folder, protocol="ucf-to-hmdb")
    back = read_ucf_hmdb(folder, protocol="hmdb-to-ucf")
    assert dict(there.counts("split")) == {"train": 90, "val": 45, "test": 108}
    assert dict(back.counts("split")) == {"train": 72, "val": 36, "test": 135}
    for clip in there.examples:
        assert (clip.split == "test") == (clip.columns["dataset"] == "hmdb51")
        if clip.split != "test":
            assert clip.split == {"train": "train", "test": "val"}[clip.columns["official_split"]]
    within = read_ucf_hmdb(folder, protocol="hmdb-to-hmdb")
    assert dict(within.counts("split")) == {"train": 72, "test": 36}
    assert set(within.values("dataset")) == {"hmdb51"}


def test_groups_are_g_numbers_of_a_class_and_films(listed):
    groups = {clip.name: clip.group for clip in listed.examples}
    assert groups["v_Archery_g01_c01.avi"] == "Archery_g01"
    film = "Slow_Train_-_Part_1_[HD]"
    assert {group for group in groups.values() if group.startswith("Slow_Train_-_Part")} == {
        film
    }  # _avi or not
    assert any("(" in group for group in groups.values())
    assert any("#" in name for name in groups)


@pytest.mark.parametrize("style", ["comix", "ta3n"])
def test_circulating_lists_give_the_same_clips(listed, tmp_path, style):
    circulate(listed, tmp_path, style)
    assert plain(read_ucf_hmdb(tmp_path, protocol="all")) == plain(listed)


def test_official_files_go_before_lists(samples, listed, tmp_path):
    circulate(listed, tmp_path, "comix")
    (tmp_path / "ucf101_train_hmdb_ucf.csv").write_text("v_Archery_g01_c01,10\n")
    for path in samples["ucf-hmdb"].rglob("*.txt"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert read_ucf_hmdb(tmp_path, protocol="all").examples == listed.examples


def test_videos_are_found_whatever_the_unpacker_made_of_their_names(listed, samples, tmp_path):
    odd = [clip for clip in listed.examples if re.search(r"[()&!]", clip.name)][:4]
    for clip in odd:
        path = tmp_path / "hmdb" / re.sub(r"[()&!]", "", clip.name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "v_archery_G08_c01.MP4").touch()
    table = read_ucf_hmdb(samples["ucf-hmdb"], tmp_path, protocol="all")
    there = [clip for clip in table.examples if (table.root / clip.video).is_file()]
    assert len(there) == 5
    assert {clip.group for clip in odd} <= {clip.group for clip in there}


def test_two_candidates_are_none(tmp_path):
    for name in ("a_1_1.avi", "a_11.avi"):
        (tmp_path / name).touch()
    index = VideoIndex(tmp_path)
    assert index.find("a_1_1") == "a_1_1.avi"
    assert index.find("a_1-1") is None
    assert index.path_of("x/a_1-1.avi") == "x/a_1-1.avi"


def test_missing_and_wrong_lists(samples, tmp_path):
    with pytest.raises(TableError, match=r"ucf101: 0 of 2 split files.*datasets check ucf-hmdb"):
        read_ucf_hmdb(tmp_path)
    for path in samples["ucf-hmdb"].rglob("*.txt"):
        if path.name != "walk_test_split1.txt":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(TableError, match="hmdb51: 11 of 12"):
        read_ucf_hmdb(tmp_path)
    path = tmp_path / "walk_test_split1.txt"
    path.write_text("HP_1_run_f_nm_np1_ba_med_1.avi 1\nshort 2\n\nHP_walk_f_nm_np10_ba_med_1.avi 3\n")
    with pytest.raises(TableError) as error:
        read_ucf_hmdb(tmp_path)
    assert [problem.split(" is")[0] for problem in error.value.problems] == ["line 1", "line 2", "line 4"]
    path.write_text("\n")
    with pytest.raises(TableError, match="the file lists no clip"):
        read_list(path)
    with pytest.raises(UnknownNameError):
        read_ucf_hmdb(tmp_path, protocol="ucf-to-kinetics")


def test_ten_people_are_people(tmp_path):
    path = tmp_path / "shoot_bow_test_split1.txt"
    path.write_text("Return_of_the_King_7_shoot_bow_u_nm_np10_ba_med_2.avi 1 \n")
    assert read_list(path)[0].group == "Return_of_the_King_7"


def test_every_protocol_can_be_read(samples):
    for name in UCF_HMDB.protocols:
        assert len(read_ucf_hmdb(samples["ucf-hmdb"], protocol=name))
