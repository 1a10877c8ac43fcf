"""The feature store: what goes in comes out, in the same bytes however it was filled; damage is found."""

import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from tests.conftest import identity_of, store_contents
from tests.unit.features.conftest import KEYS, SETTINGS, create, features, fill

from actiondiff.errors import SettingsMismatchError, StoreError, UnknownNameError, UsageError
from actiondiff.features.feature_file import read_entry
from actiondiff.features.store import FeatureStore
from actiondiff.types import Appearance

VIDEOS = ("a.mp4", "dir with space/b.mp4", "ünï/чайка.mkv", 'odd,"name".avi')


def path_of(store: FeatureStore, name: str) -> Path:
    return store.folder / store.row(name).file


def test_roundtrip(tmp_path):
    fill(tmp_path, VIDEOS)
    store = FeatureStore.open(tmp_path)
    assert store.videos() == sorted(VIDEOS)
    assert store.keys() == list(KEYS)
    assert store.root == Path("/data/clips")
    for name in VIDEOS:
        read, written = store.read(name), features(name)
        assert read.tokens.keys() == written.tokens.keys()
        for key in KEYS:
            assert read[key].dtype == np.float32
            assert np.array_equal(read[key], written[key])
        assert np.array_equal(read.seconds, written.seconds)
        assert np.array_equal(read.frame_index, written.frame_index)
        assert (read.identity, read.report) == (written.identity, written.report)
        assert (read.num_windows, read.padding_share) == (2, 3 / 8)
    assert list(store.read("a.mp4", (20, 9)).tokens) == [KEYS[1]]
    assert np.array_equal(store.load(identity_of("a.mp4"), [(20, "layer9")])[20, 9], features("a.mp4")[20, 9])


def test_what_pictures_look_like_is_stored_and_what_only_students_know_where_it_is_known(tmp_path):
    store = create(tmp_path)
    seen = Appearance(240, 320, 0.5, 0.2)
    for name, look in (("a.mp4", seen), ("b.mp4", seen._replace(strangeness=1.5))):
        store.write(name, replace(features(name), appearance=look))
    assert store.read("a.mp4").appearance == seen
    assert store.read("b.mp4").appearance == seen._replace(strangeness=1.5)
    entry = read_entry(path_of(store, "a.mp4"))
    assert entry["appearance"] == [240, 320, 0.5, 0.2]  # as older versions write and read it


def test_the_appearance_of_a_video_is_the_mean_of_its_windows():
    looks = [Appearance(240, 320, 0.5, 0.2, 1.0), Appearance(240, 320, 0.25, 0.2, 4.0)]
    assert Appearance.mean(looks, [8, 4]) == pytest.approx((240, 320, 5 / 12, 0.2, 2.0))
    assert Appearance.mean([looks[0], looks[1]._replace(strangeness=None)], [8, 4]).strangeness is None


def test_files_are_as_documented(tmp_path):
    store = fill(tmp_path, ["a.mp4"])
    sha = identity_of("a.mp4")
    path = tmp_path / "features" / sha[:2] / f"{sha}.safetensors"
    with safe_open(path, framework="numpy") as file:
        assert set(file.keys()) == {"t20.layer3", "t20.layer9", "seconds", "frame_index"}
        assert file.get_tensor("seconds").dtype == np.float64
        assert file.get_tensor("frame_index").dtype == np.int64
        header = json.loads(file.metadata()["actiondiff"])
    assert header["identity"] == sha
    assert header["videos"] == ["a.mp4"]
    assert header["fingerprint"] == store.fingerprint
    assert header["report"]["num_frames_decoded"] == 20
    assert header["report"]["num_frames_expected"] == 30
    assert header["padding_share"] == 3 / 8
    lines = (tmp_path / "index.csv").read_text().splitlines()
    assert lines[0] == "video,identity,file,num_tokens,coverage,status"
    assert lines[1] == f"a.mp4,{sha},features/{sha[:2]}/{sha}.safetensors,5,1.0,ok"
    description = json.loads((tmp_path / "store.json").read_text())
    assert description["settings"] == SETTINGS
    assert description["environment"]["versions"]["numpy"] == np.__version__


def test_times_may_be_unknown(tmp_path):
    store = create(tmp_path)
    store.write("a.mp4", features("a.mp4", times=False))
    assert store.read("a.mp4").seconds is None
    assert store.verify() == []


def test_order_changes_no_byte(tmp_path):
    stores = []
    for number, names in enumerate(itertools.islice(itertools.permutations(VIDEOS), 0, 24, 7)):
        fill(tmp_path / str(number), names)
        stores.append(store_contents(tmp_path / str(number)))
    assert len(stores) == 4
    assert len(stores[0]) == 2 + len(VIDEOS)
    assert all(store == stores[0] for store in stores)


def test_keys_in_two_goes_are_the_same_bytes_and_what_is_there_stays(tmp_path):
    fill(tmp_path / "one", VIDEOS)
    store = create(tmp_path / "two")
    for name in VIDEOS:
        store.write(name, features(name, KEYS[1:]))
    store.tidy()
    assert not store.has(identity_of("a.mp4"), KEYS)
    assert store.missing(identity_of("a.mp4"), KEYS) == [KEYS[0]]
    for name in reversed(VIDEOS):
        other = features(name, KEYS[:1])
        other.tokens[KEYS[1]] = np.zeros((5, 6), np.float32)  # must not replace what is stored
        store.write(name, other)
    store.tidy()
    assert store_contents(tmp_path / "two") == store_contents(tmp_path / "one")


def test_two_names_of_one_content_are_stored_once_and_indexed_twice(tmp_path):
    store = create(tmp_path / "at once")
    store.write(["a.mp4", "copy.mp4"], features("a.mp4"))
    store.tidy()
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    assert store.index["video"].tolist() == ["a.mp4", "copy.mp4"]
    assert store.index["file"].nunique() == 1
    later = create(tmp_path / "later")
    later.write("copy.mp4", features("a.mp4"))
    later.attach(identity_of("a.mp4"), ["a.mp4"])
    later.tidy()
    assert store_contents(tmp_path / "later") == store_contents(tmp_path / "at once")
    (tmp_path / "later" / "index.csv").unlink()
    assert FeatureStore.open(tmp_path / "later").videos() == ["a.mp4", "copy.mp4"]


def test_index_is_made_anew_from_the_files(tmp_path):
    store = fill(tmp_path, VIDEOS)
    store.write("part.mp4", features("part.mp4", status="partial"))
    store.tidy()
    whole = store_contents(tmp_path)
    for damage in (b"", b"video,identity\nx", whole["index.csv"][:-40], b"\xff\xfe\x00"):
        (tmp_path / "index.csv").write_bytes(damage)
        again = FeatureStore.open(tmp_path)
        assert again.videos() == sorted([*VIDEOS, "part.mp4"])
        (tmp_path / "index.csv").unlink()
        (tmp_path / "failures.csv").unlink()
        again.tidy()
        assert store_contents(tmp_path) == whole


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_at_any_step_loses_nothing_that_was_finished(tmp_path):
    fill(tmp_path / "whole", VIDEOS)
    expected = store_contents(tmp_path / "whole")
    for step in itertools.count():
        folder = tmp_path / str(step)
        child = os.fork()
        if not child:
            _die_at(step)
            fill(folder, VIDEOS)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        store = create(folder)
        for name in store.videos():
            assert np.array_equal(store.read(name)[KEYS[0]], features(name)[KEYS[0]])
        for name in VIDEOS:
            if store.missing(identity_of(name), KEYS):
                store.write(name, features(name))
            store.attach(identity_of(name), [name])
        store.tidy()
        assert store_contents(folder) == expected, f"killed at step {step}"
        if status == 0:
            break
        assert status == 9
    assert step > 20


def _die_at(step: int) -> None:
    """End this process without any clean-up before the step-th write to disk is made lasting."""
    counter = itertools.count()
    for name in ("fsync", "replace", "unlink"):
        real = getattr(os, name)

        def dying(*arguments, real=real, **keywords):
            if next(counter) == step:
                os._exit(9)
            return real(*arguments, **keywords)

        setattr(os, name, dying)


def test_a_torn_line_of_the_journal_spoils_no_other(tmp_path):
    store = create(tmp_path)
    store.write("a.mp4", features("a.mp4"))
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'\n["b.mp4", ["b.m')
    again = FeatureStore.open(tmp_path)
    again.write("c.mp4", features("c.mp4"))
    again.tidy()
    assert FeatureStore.open(tmp_path).videos() == ["a.mp4", "c.mp4"]
    assert not journal.exists()


def test_two_processes_keep_each_others_rows(tmp_path):
    one, two = create(tmp_path), create(tmp_path)
    one.write("a.mp4", features("a.mp4", KEYS[:1]))
    two.write("b.mp4", features("b.mp4"))
    one.tidy()
    two.write("a.mp4", features("a.mp4", KEYS[1:]))
    two.write("c.mp4", features("c.mp4"))
    two.tidy()
    one.tidy()
    assert one.videos() == two.videos() == FeatureStore.open(tmp_path).videos() == ["a.mp4", "b.mp4", "c.mp4"]
    assert one.has(identity_of("a.mp4"), KEYS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_that_fill_a_store_at_the_same_time_lose_nothing(tmp_path):
    fill(tmp_path / "alone", VIDEOS)
    children = []
    for number in range(6):
        child = os.fork()
        if not child:
            store = create(tmp_path / "together")
            for name in VIDEOS[number % 4 :] + VIDEOS[: number % 4]:
                store.write(name, features(name, [KEYS[number % 2]]))
                store.tidy()
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert store_contents(tmp_path / "together") == store_contents(tmp_path / "alone")


def test_other_settings_are_refused_with_the_fields_that_differ(tmp_path):
    fill(tmp_path, VIDEOS)
    backbone = {"name": "fake", "window": 8}
    with pytest.raises(SettingsMismatchError) as error:
        create(tmp_path, backbone=backbone, store_dtype="float16")
    assert error.value.differences == {"backbone.window": (8, 4), "store_dtype": ("float16", "float32")}
    assert "another folder" in str(error.value)
    assert create(tmp_path).videos() == sorted(VIDEOS)


def test_store_dtype_rounds_and_is_read_as_float32(tmp_path):
    store = create(tmp_path, store_dtype="float16")
    store.write("a.mp4", features("a.mp4"))
    read = store.read("a.mp4")[20, 9]
    assert read.dtype == np.float32
    assert np.array_equal(read, features("a.mp4")[20, 9].astype(np.float16).astype(np.float32))
    assert store.verify() == []


def test_values_that_are_not_finite_are_refused(tmp_path):
    store = create(tmp_path, store_dtype="float16")
    big = features("a.mp4")
    big.tokens[KEYS[0]][2, 3] = 1e6
    with pytest.raises(StoreError, match=r"t20.layer3 .* not finite in float16"):
        store.write("a.mp4", big)
    assert store.videos() == []


def test_features_of_other_frames_are_not_mixed(tmp_path):
    store = create(tmp_path)
    store.write("a.mp4", features("a.mp4", KEYS[:1]))
    with pytest.raises(StoreError, match="other frames"):
        store.write("a.mp4", features("a.mp4", KEYS[1:], count=6))
    assert store.read("a.mp4").tokens.keys() == {KEYS[0]}


@pytest.mark.parametrize("size", [0, 5, 100, 700, -8])
def test_a_file_cut_short_is_not_trusted(tmp_path, size):
    store = fill(tmp_path, VIDEOS)
    whole = store_contents(tmp_path)
    path = path_of(store, "a.mp4")
    path.write_bytes(path.read_bytes()[:size])
    assert not store.has(identity_of("a.mp4"), KEYS[:1])
    assert store.missing(identity_of("a.mp4"), KEYS) == list(KEYS)
    with pytest.raises(StoreError, match="cut short or damaged"):
        store.read("a.mp4")
    store.write("a.mp4", features("a.mp4"))
    store.tidy()
    assert store_contents(tmp_path) == whole


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


def test_damaged_tensors_are_not_carried_over_when_keys_are_added(tmp_path):
    store = create(tmp_path)
    store.write("a.mp4", features("a.mp4", KEYS[:1]))
    flip(path_of(store, "a.mp4"), -3)
    assert store.missing(identity_of("a.mp4"), KEYS) == list(KEYS)
    store.write("a.mp4", features("a.mp4"))
    assert np.array_equal(store.read("a.mp4")[KEYS[0]], features("a.mp4")[KEYS[0]])
    assert store.verify() == []


def test_a_new_name_does_not_make_damage_look_sound(tmp_path):
    store = fill(tmp_path, VIDEOS)
    flip(path_of(store, "a.mp4"), -3)
    store.attach(identity_of("a.mp4"), ["copy.mp4"])
    assert len(store.verify()) == 1
    assert "copy.mp4" not in store.videos()


def test_verify_of_a_sound_store_finds_and_changes_nothing(tmp_path):
    store = fill(tmp_path, VIDEOS)
    store.fail("bad.mp4", "no frame", identity=identity_of("bad.mp4"))
    store.tidy()
    before = store_contents(tmp_path)
    assert FeatureStore.open(tmp_path).verify() == []
    assert store_contents(tmp_path) == before


def test_verify_quarantines_what_is_damaged_and_it_can_be_made_anew(tmp_path):
    store = fill(tmp_path, VIDEOS)
    whole = store_contents(tmp_path)
    flip(path_of(store, "a.mp4"), -3)  # in a tensor
    flip(path_of(store, VIDEOS[1]), 100)  # in the header
    path_of(store, VIDEOS[2]).unlink()
    stray = tmp_path / "features" / "zz" / "notes.txt"
    stray.parent.mkdir()
    stray.write_text("what is this")
    problems = store.verify()
    assert len(problems) == 4
    for name in (*map(identity_of, VIDEOS[:3]), "notes.txt"):
        assert sum(name in problem for problem in problems) == 1
    assert store.videos() == [VIDEOS[3]]
    assert len(list((tmp_path / "quarantine").iterdir())) == 3
    assert FeatureStore.open(tmp_path).verify() == []
    fill(tmp_path, VIDEOS)
    assert {n: d for n, d in store_contents(tmp_path).items() if not n.startswith("quarantine")} == whole


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "was not in the index"),
        (lambda text: text.replace(",5,1.0,ok", ",6,1.0,ok", 1), "was wrong"),
        (
            lambda text: text + f"ghost.mp4,{'0' * 64},features/00/{'0' * 64}.safetensors,5,1.0,ok\n",
            "missing",
        ),
    ],
)
def test_verify_mends_the_index(tmp_path, change, problem):
    fill(tmp_path, VIDEOS)
    index = tmp_path / "index.csv"
    whole = index.read_text("utf-8")
    index.write_text(change(whole), "utf-8")
    problems = FeatureStore.open(tmp_path).verify()
    assert len(problems) == 1
    assert problem in problems[0]
    assert index.read_text("utf-8") == whole


def test_verify_finds_files_of_another_store_and_in_another_place(tmp_path):
    store = fill(tmp_path / "a", VIDEOS)
    other = create(tmp_path / "b", sampling={"fps": 5.0})
    other.write("other.mp4", features("other.mp4"))
    for name, target in (("other.mp4", identity_of("other.mp4")), ("a.mp4", "0" * 64)):
        source = path_of(other if name == "other.mp4" else store, name)
        place = tmp_path / "a" / "features" / target[:2] / f"{target}.safetensors"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(source.read_bytes())
    assert not store.has(identity_of("other.mp4"), KEYS)
    assert not store.has("0" * 64, KEYS)
    problems = store.verify()
    assert any("other settings" in problem for problem in problems)
    assert any("another content" in problem for problem in problems)
    assert len(problems) == 2
    assert store.videos() == sorted(VIDEOS)


def test_a_replaced_video_leaves_its_old_content(tmp_path):
    store = fill(tmp_path, VIDEOS)
    store.write("a.mp4", features("new content"))
    store.tidy()
    assert np.array_equal(store.read("a.mp4")[20, 9], features("new content")[20, 9])
    assert store.verify() == []
    (tmp_path / "index.csv").unlink()
    assert FeatureStore.open(tmp_path).row("a.mp4").identity == identity_of("new content")
    store.attach(identity_of("a.mp4"), ["a.mp4"])  # the old one comes back: nothing is to be computed
    assert np.array_equal(store.read("a.mp4")[20, 9], features("a.mp4")[20, 9])


def test_failures_state_the_present(tmp_path):
    store = create(tmp_path)
    store.fail(["x.mp4", "y.mp4"], "no frame decodes", identity=identity_of("x"))
    store.fail("gone.mp4", "the file does not exist")
    store.write("p.mp4", features("p.mp4", status="partial"))
    store.tidy()
    lines = (tmp_path / "failures.csv").read_text().splitlines()
    assert lines == [
        "video,status,reason",
        "gone.mp4,failed,the file does not exist",
        "p.mp4,partial,cut short",
        "x.mp4,failed,no frame decodes",
        "y.mp4,failed,no frame decodes",
    ]
    assert store.videos() == ["p.mp4"]
    assert store.index.set_index("video")["coverage"].to_dict() == {"p.mp4": 0.6667, "x.mp4": 0, "y.mp4": 0}
    assert store.known_failure(identity_of("x")) == "no frame decodes"
    with pytest.raises(StoreError, match=r"x\.mp4 failed .*no frame decodes"):
        store.read("x.mp4")
    store = FeatureStore.open(tmp_path)
    store.write("x.mp4", features("repaired"))
    store.write("p.mp4", features("whole now"))
    store.forget(["gone.mp4", "p.mp4"])
    store.tidy()
    assert list(store.failures) == ["y.mp4"]
    assert store.videos() == ["p.mp4", "x.mp4"]


def test_many_failures_neither_rewrite_tables_nor_wait_for_the_disk(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), sync(file)))
    store = create(tmp_path)
    store.write("a.mp4", features("a.mp4"))
    before, sizes = len(synced), []
    for number in range(20):
        store.fail(f"{number:02}.mp4", "no video", identity=identity_of(f"{number}.mp4"))
        sizes.append((tmp_path / "journal.jsonl").stat().st_size)
    assert len(synced) == before
    assert len(set(np.diff(sizes))) == 1  # each adds its own line and nothing else
    assert not (tmp_path / "failures.csv").exists()
    store.tidy()
    assert len(synced) > before
    assert len(FeatureStore.open(tmp_path).failures) == 20


def test_a_kill_loses_no_failure_that_was_recorded(tmp_path):
    store = create(tmp_path)
    process = os.fork()
    if not process:
        os.environ["ACTIONDIFF_FAULT"] = "recorded:3"
        for number in range(5):
            store.fail(f"{number}.mp4", "no video", identity=identity_of(f"{number}.mp4"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -9
    assert list(FeatureStore.open(tmp_path).failures) == ["0.mp4", "1.mp4", "2.mp4"]


def test_a_failed_attempt_leaves_what_is_stored(tmp_path):
    store = fill(tmp_path, VIDEOS)
    store.fail("a.mp4", "t20.layer12 is not finite")
    assert len(store.read("a.mp4")) == 5
    assert store.failures["a.mp4"].reason == "t20.layer12 is not finite"
    store.attach(identity_of("a.mp4"), ["a.mp4"])
    assert store.failures == {}


def test_videos_are_found_by_name_by_path_and_after_a_move(tmp_path):
    store = fill(tmp_path, VIDEOS)
    assert store.find("./a.mp4") == "a.mp4"
    assert store.find("/data/clips/dir with space/b.mp4") == "dir with space/b.mp4"
    assert store.find("/new/place/a.mp4", root="/new/place") == "a.mp4"
    with pytest.raises(UnknownNameError, match=r"Did you mean 'dir with space/b.mp4'"):
        store.read("dir with space/c.mp4")
    with pytest.raises(UnknownNameError, match="give root="):
        store.read("/new/place/a.mp4")
    with pytest.raises(UnknownNameError, match=r"t20\.layer4.*Did you mean"):
        store.read("a.mp4", (20, 4))


def test_names_that_are_no_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    store = create(tmp_path)
    store.write(name, features("a.mp4"))
    store.tidy()
    assert FeatureStore.open(tmp_path).videos() == [name]
    assert store.verify() == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "is damaged"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "format 2; this version reads format 1"),
        (lambda text: text.replace('"window": 4', '"window": 8'), "do not fit its fingerprint"),
    ],
)
def test_a_damaged_description_is_an_error(tmp_path, damage, message):
    fill(tmp_path, VIDEOS)
    path = tmp_path / "store.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(tmp_path)


def test_folders_that_are_no_store(tmp_path):
    with pytest.raises(StoreError, match="not a feature store"):
        FeatureStore.open(tmp_path)
    (tmp_path / "clip.mp4").write_text("mine")
    with pytest.raises(StoreError, match="neither empty nor"):
        create(tmp_path)
    with pytest.raises(StoreError, match="is a file"):
        create(tmp_path / "clip.mp4")
    with pytest.raises(UsageError, match="store_dtype"):
        create(tmp_path / "new", store_dtype="int8")
    assert not (tmp_path / "new").exists()


def test_identities_cannot_lead_out_of_the_store(tmp_path):
    with pytest.raises(UsageError, match="identity"):
        create(tmp_path).has("../../etc/x", KEYS)
