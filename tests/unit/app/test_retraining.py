"""Training on with corrections: what is tested was never trained on."""

import json

import pytest

from actiondiff.app.retraining import _read_sides, assign_sides
from actiondiff.errors import UsageError


def test_every_third_corrected_video_is_kept_out():
    names = list("abcdefg")
    sides = assign_sides(names, {})
    assert [name for name in names if sides[name] == "test"] == ["c", "f"]
    assert assign_sides(["a"], {}) == {"a": "train"}
    assert assign_sides(["a", "b"], {}) == {"a": "train", "b": "test"}


def test_a_video_stays_on_its_side_however_many_are_corrected_later():
    """Else the next model would be tested on what the one before was trained on."""
    first = assign_sides(["b", "d", "f"], {})
    assert first == {"b": "train", "d": "train", "f": "test"}
    later = assign_sides(list("abcdef"), first)  # the videos come in the order of their names
    assert {name: later[name] for name in first} == first
    assert sum(side == "test" for side in later.values()) == 2
    assert assign_sides(["x"], later)["x"] == "train"


def test_sides_on_disk(tmp_path):
    path = tmp_path / "sides.json"
    assert _read_sides(path) == {}
    path.write_text(json.dumps({"a.mp4": "test", "b.mp4": "train"}), "utf-8")
    assert _read_sides(path) == {"a.mp4": "test", "b.mp4": "train"}
    for text in ("", "[1]", "{"):
        path.write_text(text, "utf-8")
        with pytest.raises(UsageError, match=r"sides\.json is damaged"):
            _read_sides(path)
