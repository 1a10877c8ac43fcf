"""The merged store is the one that a single extraction would have filled; what is not there is named."""

import json
import shutil
from pathlib import Path

import pytest
from tests.conftest import identity_of, store_contents
from tests.unit.features.conftest import KEYS, create, features, fill

from actiondiff.cli.main import run
from actiondiff.errors import SettingsMismatchError, StoreError, UsageError
from actiondiff.features.merge import merge_stores
from actiondiff.features.store import FeatureStore

VIDEOS = ("a.mp4", "dir with space/b.mp4", "ünï/чайка.mkv", "d.avi")


@pytest.fixture
def whole(tmp_path) -> dict[str, bytes]:
    """What a store holds that was filled in one go, one failure included."""
    store = fill(tmp_path / "whole", VIDEOS)
    store.fail("bad.mp4", "no frame decodes", identity=identity_of("bad.mp4"))
    store.fail("gone.mp4", "the file does not exist")
    store.tidy()
    return store_contents(store.folder)


@pytest.fixture
def parts(tmp_path) -> list[Path]:
    """The same in three stores that overlap."""
    fill(tmp_path / "one", VIDEOS[:2]).fail("bad.mp4", "no frame decodes", identity=identity_of("bad.mp4"))
    fill(tmp_path / "two", VIDEOS[1:3])
    fill(tmp_path / "three", VIDEOS[3:]).fail("gone.mp4", "the file does not exist")
    return [tmp_path / name for name in ("one", "two", "three")]


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_merged_is_as_if_filled_in_one_go(whole, parts, tmp_path, link, reverse):
    before = [store_contents(part) for part in parts]
    summary = merge_stores(parts[::-1] if reverse else parts, tmp_path / "out", link=link)
    assert store_contents(tmp_path / "out") == whole
    assert (summary.num_videos, summary.num_contents, summary.num_added) == (4, 4, 4)
    assert summary.failed == {"bad.mp4": "no frame decodes", "gone.mp4": "the file does not exist"}
    assert (summary.missing, summary.partial, summary.keys) == ({}, {}, KEYS)
    links = {path.stat().st_nlink for path in (tmp_path / "out").rglob("*.safetensors")}
    assert links == ({2} if link else {1})
    assert FeatureStore.open(tmp_path / "out").verify() == []
    assert [store_contents(part) for part in parts] == before


def test_again_and_bit_by_bit(whole, parts, tmp_path):
    for part, added in zip([*parts, *parts], (2, 1, 1, 0, 0, 0), strict=True):
        assert merge_stores([part], tmp_path / "out").num_added == added
    assert store_contents(tmp_path / "out") == whole


def test_writing_to_the_merged_store_leaves_its_sources(parts, tmp_path):
    before = store_contents(parts[0])
    merge_stores(parts, tmp_path / "out")
    FeatureStore.open(tmp_path / "out").write("another name.mp4", features(VIDEOS[0]))
    assert store_contents(parts[0]) == before


def test_without_links_files_are_copied(whole, parts, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    merge_stores(parts, tmp_path / "out")
    assert store_contents(tmp_path / "out") == whole


def test_features_of_one_content_in_two_stores_come_together(tmp_path):
    fill(tmp_path / "whole", VIDEOS)
    fill(tmp_path / "one", VIDEOS, keys=KEYS[:1])
    fill(tmp_path / "two", VIDEOS, keys=KEYS[1:])
    summary = merge_stores([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert store_contents(tmp_path / "out") == store_contents(tmp_path / "whole")
    assert summary.ok
    assert summary.keys == KEYS


def test_one_content_under_other_names_in_each_store(tmp_path):
    for name, videos in (("whole", ("x.mp4", "y.mp4")), ("one", ("x.mp4",)), ("two", ("y.mp4",))):
        store = create(tmp_path / name)
        store.write(videos, features("same"))
        store.tidy()
    merge_stores([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert store_contents(tmp_path / "out") == store_contents(tmp_path / "whole")


def test_features_win_over_a_failure_wherever_it_stands(tmp_path):
    create(tmp_path / "one").fail("a.mp4", "a bad day", identity=identity_of("a.mp4"))
    fill(tmp_path / "two", ["a.mp4"])
    for order in (("one", "two"), ("two", "one")):
        summary = merge_stores([tmp_path / name for name in order], tmp_path / f"out {order}")
        assert summary.ok
        assert FeatureStore.open(summary.store).failures == {}


def test_what_is_missing_is_named(parts, tmp_path):
    fill(tmp_path / "four", ["e.mp4"], keys=KEYS[:1], status="partial")
    damaged = parts[2] / FeatureStore.open(parts[2]).row("d.avi").file
    damaged.write_bytes(damaged.read_bytes()[:100])
    expected = [*VIDEOS, "bad.mp4", "nowhere.mp4"]
    summary = merge_stores([*parts, tmp_path / "four"], tmp_path / "out", expected=expected)
    assert not summary.ok
    assert summary.missing == {
        "d.avi": f"{damaged} is missing or damaged",
        "e.mp4": "lacks t20.layer9",
        "nowhere.mp4": "is in no store",
    }
    assert summary.partial == {"e.mp4": "cut short"}
    assert set(summary.failed) == {"bad.mp4", "gone.mp4"}


def test_a_whole_file_stands_in_for_a_damaged_one(whole, parts, tmp_path):
    merge_stores(parts, tmp_path / "out", link=False)
    for folder in (parts[0], tmp_path / "out"):
        path = folder / FeatureStore.open(folder).row(VIDEOS[1]).file
        path.write_bytes(path.read_bytes()[:200])
    assert merge_stores(parts, tmp_path / "out").missing == {}
    assert store_contents(tmp_path / "out") == whole


def test_other_bits_are_an_error_that_names_them(parts, tmp_path):
    fill(tmp_path / "other", VIDEOS[:1], change=1e-6)
    with pytest.raises(StoreError, match=r"t20\.layer3 of a\.mp4 \(\w{12}\) has other bits in .*other"):
        merge_stores([*parts, tmp_path / "other"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_in_one_of_two_copies_does_not_spread(parts, tmp_path):
    path = parts[1] / FeatureStore.open(parts[1]).row(VIDEOS[1]).file
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    merge_stores(parts[::-1], tmp_path / "out")
    assert FeatureStore.open(tmp_path / "out").verify() == []


def test_one_name_for_two_contents_is_an_error(parts, tmp_path):
    store = create(tmp_path / "other")
    store.write("a.mp4", features("changed"))
    with pytest.raises(StoreError, match=r"a\.mp4 is the content \w{12} in one store and \w{12} in .*other"):
        merge_stores([*parts, store.folder], tmp_path / "out")


def test_other_settings_and_other_roots_are_refused(parts, tmp_path):
    create(tmp_path / "other", sampling={"stride": 2})
    with pytest.raises(SettingsMismatchError, match=r"one and .*other .* sampling\.stride: 4 against 2"):
        merge_stores([parts[0], tmp_path / "other"], tmp_path / "out")
    create(tmp_path / "moved", root="/mnt/clips")
    with pytest.raises(UsageError, match=r"relative to /data/clips, in .*moved to /mnt/clips"):
        merge_stores([parts[0], tmp_path / "moved"], tmp_path / "out")
    merged = merge_stores([parts[0], tmp_path / "moved"], tmp_path / "out", root="/new/place")
    assert FeatureStore.open(merged.store).root == Path("/new/place")
    with pytest.raises(UsageError, match="at least one"):
        merge_stores([], tmp_path / "out")


def test_the_command(parts, tmp_path, capsys):
    table = tmp_path / "clips" / "table.csv"
    table.parent.mkdir()
    table.write_text("video,label\na.mp4,x\nd.avi,y\nlost.mp4,x\n")
    stores, out = [str(part) for part in parts], str(tmp_path / "out")
    code = run(["features", "merge", *stores, "-o", out, "--check", str(table), "--root", str(table.parent)])
    output = capsys.readouterr().out
    assert code == 3
    assert "missing: lost.mp4: is in no store" in output
    assert "failed: bad.mp4: no frame decodes" in output
    assert "4 videos with t20.layer3, t20.layer9: 1 missing, 2 failed, 0 partial" in output
    shutil.rmtree(out)
    assert run(["features", "merge", stores[1], "-o", out, "--copy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_videos"] == 2
