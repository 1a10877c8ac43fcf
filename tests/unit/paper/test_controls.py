"""Permuted labels of a stand-in's controls."""

from pathlib import Path

from actiondiff.datasets.base import Table
from actiondiff.paper.controls import permute_labels
from actiondiff.types import Example


def test_permuted_labels_leave_the_test_alone():
    clips = tuple(
        Example(f"{i}.mp4", (f"c{i % 5}",), split=("train", "val", "test")[i % 3]) for i in range(60)
    )
    table = Table(Path("t"), Path(), clips)
    moved = permute_labels(table, seed=1)
    changed = [a.labels != b.labels for a, b in zip(clips, moved.examples, strict=True)]
    assert not any(change for change, clip in zip(changed, clips, strict=True) if clip.split == "test")
    assert sum(changed) > 20
    assert moved.counts() == table.counts()
    assert permute_labels(table, seed=1) == moved
