"""Groups and labels that `actiondiff start` proposes from what people's folders look like."""

from dataclasses import replace

import numpy as np
import pytest

from actiondiff.datasets.base import Table
from actiondiff.datasets.packing import pack_arrays
from actiondiff.errors import UsageError
from actiondiff.start.groups import (
    GroupProposal,
    join_alike,
    propose_groups,
    warn_of_unknown_recordings,
)
from actiondiff.start.labels import find_labels
from actiondiff.types import Example


def clips(*names, labels=("eat", "run")):
    return [Example(name, (labels[i % len(labels)],)) for i, name in enumerate(names)]


def test_names_up_to_their_first_number():
    examples = clips(*(f"cam{camera}_{take:04d}.mp4" for camera in range(4) for take in range(4)))
    proposal = propose_groups(examples)
    assert proposal.num_groups == 4
    assert proposal.names["cam3_0002.mp4"] == "cam3"
    assert "first number" in proposal.reason


def test_names_that_end_with_a_running_number():
    examples = clips(
        *(f"{who}_meadow_{take:02d}.mp4" for who in ("bella", "max", "rex") for take in range(4))
    )
    proposal = propose_groups(examples)
    assert set(proposal.names.values()) == {"bella_meadow", "max_meadow", "rex_meadow"}
    assert "without their last number" in proposal.reason
    named_after_labels = [Example(f"{label}_{n}.mp4", (label,)) for label in ("eat", "run") for n in range(8)]
    assert propose_groups(named_after_labels).num_groups == 16
    of_one_series = [Example(f"clip{n}.mp4", (("eat", "run")[n % 2],)) for n in range(8)]
    assert propose_groups(of_one_series).num_groups == 8


def test_folders_come_before_names_but_not_the_folders_of_labels():
    examples = clips(*(f"site{site}/{take}.mp4" for site in "abc" for take in range(4)))
    assert propose_groups(examples).names["siteb/1.mp4"] == "siteb"
    by_class = [Example(f"{label}/{n}.mp4", (label,)) for label in ("eat", "run") for n in range(4)]
    assert propose_groups(by_class, labels_are_folders=True).num_groups == 8  # eat/1 is not run/1
    people = [Example(f"{label}/person{n}_d1.mp4", (label,)) for label in ("eat", "run") for n in range(4)]
    assert propose_groups(people, labels_are_folders=True).num_groups == 4


def test_a_grouping_that_leaves_a_class_in_one_group_is_not_taken():
    examples = [Example(f"cam{n // 4}_{n}.mp4", (("eat", "run")[n // 8],)) for n in range(16)]
    assert propose_groups(examples).num_groups == 16  # two cameras a class would leave one to learn from


def test_a_rare_class_does_not_undo_the_groups_of_all_others():
    cameras = [Example(f"cam{n // 4}_{n}.mp4", (("eat", "run")[n % 2],)) for n in range(24)]
    assert propose_groups(cameras).num_groups == 6
    rare = [
        replace(example, labels=("yawn",)) if n in (3, 9) else example for n, example in enumerate(cameras)
    ]
    assert propose_groups(rare).num_groups == 6
    # A class that one camera alone has could not be tested: each video is its own, and the reason says so.
    local = [replace(example, labels=("yawn",)) if n < 4 else example for n, example in enumerate(cameras)]
    proposal = propose_groups(local)
    assert proposal.num_groups == 24
    assert proposal.reason == (
        "each video on its own, as the names of the videos up to their first number would leave yawn 1 group"
    )
    assert propose_groups(local, only="names").num_groups == 6
    two = [Example("cam1_1.mp4", ("eat",)), Example("cam1_2.mp4", ("run",))]
    assert propose_groups(two).num_groups == 2


def test_copies_of_a_recording_are_joined():
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(3, 20)).astype(np.float32) for _ in range(8)]
    arrays[5] = arrays[2]
    examples = clips(*(f"{n}.mp4" for n in range(8)))
    each = GroupProposal({e.video: e.video for e in examples}, "each video on its own")
    joined = join_alike(each, pack_arrays(arrays, examples, ("eat", "run")))
    assert joined.num_groups == 7
    assert joined.names["5.mp4"] == joined.names["2.mp4"] == "2.mp4"
    assert "look the same" in joined.reason


def test_labels_are_looked_for_in_the_folder(tmp_path):
    with pytest.raises(UsageError, match="none"):
        find_labels(tmp_path, None)
    (tmp_path / "labels.csv").write_text("video,label\na.mp4,eat\nb.mp4,run\n")
    assert find_labels(tmp_path, None).kind == "table"
    (tmp_path / "notes.csv").write_text("camera,weather\n1,rain\n")
    assert find_labels(tmp_path, None).path.name == "labels.csv"
    (tmp_path / "more.csv").write_text("video,label\na.mp4,eat\n")
    (tmp_path / "._a_labels.csv").write_bytes(b"\0")  # the side file of another program
    assert find_labels(tmp_path, tmp_path).kind == "folders"
    with pytest.raises(UsageError, match=r"labels\.csv.*more\.csv\b(?!.*DeepEthogram\))"):
        find_labels(tmp_path, None)
    with pytest.raises(UsageError, match="no labels at"):
        find_labels(tmp_path, tmp_path / "gone.csv")


def test_a_folder_per_class_says_that_recordings_are_unknown_and_proposes_them(tmp_path, caplog):
    names = [f"{label}/cam{n // 2}_{n % 2}.mp4" for label in ("eat", "run") for n in range(8)]
    table = Table(tmp_path, tmp_path, tuple(Example(name, (name[:3],)) for name in names))
    warn_of_unknown_recordings(table)
    assert "nothing says which of 16 videos are of one recording" in caplog.text
    assert "Their names suggest 4 groups, such as cam0" in caplog.text
    caplog.clear()

    # A table is warned of where its names suggest groups, and not where it has them or a split.
    file = replace(table, source=tmp_path / "t.csv")
    warn_of_unknown_recordings(file)
    assert "suggest 4 groups" in caplog.text
    caplog.clear()
    grouped = tuple(replace(example, group="g") for example in table.examples)
    warn_of_unknown_recordings(replace(table, examples=grouped))
    each = tuple(Example(f"{n}.mp4", (("eat", "run")[n % 2],)) for n in range(8))
    warn_of_unknown_recordings(replace(file, examples=each))
    assert not caplog.text
