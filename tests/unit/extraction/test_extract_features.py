"""Bulk extraction: every video once, whatever happens, and the truth about those that fail."""

import shutil
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import store_contents

from actiondiff import FeatureStore, extract_features, read_video
from actiondiff.errors import SettingsMismatchError, StoreError, UnknownNameError, UsageError
from actiondiff.extraction.api import plan_extraction
from actiondiff.types import Example, FeatureKey

KEY = FeatureKey(20, "layer2")


def test_features_are_those_of_the_backbone_alone(clips, tmp_path, backbone):
    seen: list[tuple[int, int, str]] = []
    summary = extract_features(
        clips,
        tmp_path / "store",
        backbone=backbone,
        layers=[1, "layer3"],
        timesteps=(5, 20),
        progress=lambda *report: seen.append(report),
    )
    names = sorted(path.relative_to(clips).as_posix() for path in clips.rglob("*.mp4"))
    assert (summary.num_videos, summary.num_done, summary.num_skipped, summary.ok) == (5, 5, 0, True)
    assert [(done, total) for done, total, _ in seen] == [(n, 5) for n in range(1, 6)]
    assert sorted(video for _, _, video in seen) == names
    store = FeatureStore.open(tmp_path / "store")
    assert store.videos() == names
    assert store.keys() == [FeatureKey.of(t, n) for t in (5, 20) for n in (1, 3)]
    for name in names:
        frames = read_video(clips / name, stride=4)
        alone = backbone.extract(frames, timesteps=(5, 20), layers=[1, 3])
        stored = store.read(name)
        assert stored.identity == frames.identity
        assert np.array_equal(stored.frame_index, frames.frame_index)
        assert np.array_equal(stored.seconds, frames.seconds)
        assert stored.report == frames.report
        for key in stored.tokens:
            assert np.array_equal(stored[key], alone[key])


def test_a_second_run_does_nothing(clips, tmp_path, backbone):
    first = extract_features(clips, tmp_path / "store", backbone=backbone)
    before, calls = store_contents(tmp_path / "store"), backbone.num_calls
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.*")}
    second = extract_features(clips, tmp_path / "store", backbone=backbone)
    assert calls > 0
    assert backbone.num_calls == calls
    assert (first.num_done, second.num_done, second.num_skipped) == (5, 0, 5)
    assert store_contents(tmp_path / "store") == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.*")} == stamps


def test_order_shards_kills_and_key_by_key_change_no_byte(clips, tmp_path, make_backbone, monkeypatch):
    def go(name: str, **options: object):
        return extract_features(clips, tmp_path / name, **{"backbone": make_backbone(), **options})

    go("whole", layers=[1, 2, 3])
    whole = store_contents(tmp_path / "whole")

    for layer in (3, 1, 2):
        go("layer by layer", layers=[layer])
    assert store_contents(tmp_path / "layer by layer") == whole

    done = [go("shards", layers="all", shard=(i, 3)).num_done for i in (2, 3, 1)]
    assert sum(done) == 5
    assert max(done) < 5
    assert store_contents(tmp_path / "shards") == whole

    killed = make_backbone()
    monkeypatch.setattr(killed, "maps", lambda *given: _interrupt_third(killed, *given))
    with pytest.raises(KeyboardInterrupt):
        go("killed", layers=[1, 2, 3], backbone=killed, decode_threads=0)
    assert len(FeatureStore.open(tmp_path / "killed").videos()) == 2
    summary = go("killed", layers=[1, 2, 3])
    assert (summary.num_done, summary.num_skipped) == (3, 2)
    assert store_contents(tmp_path / "killed") == whole

    paths = sorted(clips.rglob("*.mp4"), key=lambda path: path.name, reverse=True)
    for path in paths:
        extract_features(path, tmp_path / "one by one", backbone=make_backbone(), layers="all", root=clips)
    assert store_contents(tmp_path / "one by one") == whole


def _interrupt_third(backbone, windows, keys):
    if backbone.num_calls == 2:
        raise KeyboardInterrupt
    return type(backbone).maps(backbone, windows, keys)


def test_a_kill_between_file_and_index_is_healed(clips, tmp_path, backbone, monkeypatch):
    extract_features(clips, tmp_path / "whole", backbone=backbone)
    with monkeypatch.context() as patch:
        patch.setattr("actiondiff.features.manifest.Manifest.record", _die)
        patch.setattr("actiondiff.features.manifest.Manifest.tidy", lambda self: None)
        with pytest.raises(SystemExit):
            extract_features(clips, tmp_path / "store", backbone=backbone)
    assert len(list((tmp_path / "store").rglob("*.safetensors"))) == 1
    calls = backbone.num_calls
    summary = extract_features(clips, tmp_path / "store", backbone=backbone)
    assert (summary.num_done, summary.num_skipped) == (4, 1)
    assert backbone.num_calls > calls
    assert store_contents(tmp_path / "store") == store_contents(tmp_path / "whole")


def _die(manifest: object, entries: Iterable[object]) -> None:
    if list(entries):
        raise SystemExit


def test_only_missing_keys_are_computed(clips, tmp_path, backbone, monkeypatch):
    extract_features(clips / "a.mp4", tmp_path / "store", backbone=backbone, layers=[1], root=clips)
    asked: list[set[str]] = []
    real = backbone.maps
    monkeypatch.setattr(
        backbone,
        "maps",
        lambda windows, keys: (asked.append({key.layer for key in keys}), real(windows, keys))[1],
    )
    extract_features(clips, tmp_path / "store", backbone=backbone, layers=[1, 3])
    assert {"layer3"} in asked
    assert {"layer1", "layer3"} in asked
    assert set().union(*asked) == {"layer1", "layer3"}


def test_what_verify_takes_out_is_made_anew(clips, tmp_path, backbone):
    extract_features(clips, tmp_path / "store", backbone=backbone)
    whole = store_contents(tmp_path / "store")
    files = sorted((tmp_path / "store").rglob("*.safetensors"))
    files[0].write_bytes(files[0].read_bytes()[:300])  # found by extract itself
    data = bytearray(files[1].read_bytes())
    data[-2] ^= 1
    files[1].write_bytes(data)
    assert len(FeatureStore.open(tmp_path / "store").verify()) == 2
    summary = extract_features(clips, tmp_path / "store", backbone=backbone)
    assert (summary.num_done, summary.num_skipped) == (2, 3)
    shutil.rmtree(tmp_path / "store" / "quarantine")
    assert store_contents(tmp_path / "store") == whole


def test_a_truncated_file_is_redone_without_verify(clips, tmp_path, backbone):
    extract_features(clips, tmp_path / "store", backbone=backbone)
    whole = store_contents(tmp_path / "store")
    for number, path in enumerate(sorted((tmp_path / "store").rglob("*.safetensors"))):
        path.write_bytes(path.read_bytes()[: 150 * number])
    assert extract_features(clips, tmp_path / "store", backbone=backbone).num_done == 5
    assert store_contents(tmp_path / "store") == whole


def test_one_content_under_several_names_is_extracted_once(clips, tmp_path, backbone):
    shutil.copy(clips / "a.mp4", clips / "again.mp4")
    shutil.copy(clips / "a.mp4", clips / "sub folder" / "again.mp4")
    progress: list[str] = []
    summary = extract_features(
        clips,
        tmp_path / "store",
        backbone=backbone,
        progress=lambda done, total, video: progress.append(video),
    )
    assert (summary.num_videos, summary.num_done, len(progress)) == (7, 7, 5)
    store = FeatureStore.open(tmp_path / "store")
    assert np.array_equal(store.read("again.mp4")[KEY], store.read("a.mp4")[KEY])
    calls = backbone.num_calls
    shutil.copy(clips / "b.mp4", clips / "b2.mp4")
    summary = extract_features(clips, tmp_path / "store", backbone=backbone)
    assert backbone.num_calls == calls
    assert (summary.num_done, summary.num_skipped) == (0, 8)
    assert "b2.mp4" in FeatureStore.open(tmp_path / "store").videos()
    extract_features(clips, tmp_path / "in one go", backbone=backbone)
    assert store_contents(tmp_path / "in one go") == store_contents(tmp_path / "store")


def test_failed_and_partial_videos_are_recorded_told_again_and_leave_when_repaired(clips, tmp_path, backbone):
    whole = (clips / "e.mp4").read_bytes()
    (clips / "e.mp4").write_bytes(whole[:200])
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "text.avi").write_text("no video")
    examples = [
        Example("a.mp4"),
        Example("e.mp4"),
        Example("empty.mp4"),
        Example("text.avi"),
        Example("no.mp4"),
    ]

    def go(**options: object):
        return extract_features(examples, tmp_path / "store", backbone=backbone, root=clips, **options)

    first, calls = go(), backbone.num_calls
    assert set(first.failed) == {"e.mp4", "empty.mp4", "text.avi", "no.mp4"}
    assert first.failed["no.mp4"] == "the file does not exist"
    assert "empty" in first.failed["empty.mp4"]
    assert (first.num_done, first.num_skipped, first.ok) == (1, 0, False)
    lines = (tmp_path / "store" / "failures.csv").read_text().splitlines()
    assert len(lines) == 5
    assert all(f"{name},failed," in "\n".join(lines) for name in first.failed)
    store = FeatureStore.open(tmp_path / "store")
    assert store.videos() == ["a.mp4"]
    assert store.row("empty.mp4").status == "failed"

    second = go()
    assert second.failed == first.failed
    assert (second.num_done, second.num_skipped) == (0, 4)
    assert backbone.num_calls == calls

    (clips / "e.mp4").write_bytes(whole)
    (clips / "no.mp4").write_bytes(whole)
    third = go()
    assert set(third.failed) == {"empty.mp4", "text.avi"}
    assert third.num_done == 2
    assert len((tmp_path / "store" / "failures.csv").read_text().splitlines()) == 3
    assert FeatureStore.open(tmp_path / "store").verify() == []


def test_failed_videos_are_tried_again_on_request(clips, tmp_path, backbone, monkeypatch):
    import actiondiff.extraction.sources as sources

    (clips / "bad.mp4").write_text("no video")
    extract_features(clips, tmp_path / "store", backbone=backbone)
    opened: list[str] = []
    real = sources.iter_video
    monkeypatch.setattr(
        sources, "iter_video", lambda path, **options: (opened.append(path.name), real(path, **options))[1]
    )
    assert list(extract_features(clips, tmp_path / "store", backbone=backbone).failed) == ["bad.mp4"]
    assert opened == []
    again = extract_features(clips, tmp_path / "store", backbone=backbone, retry_failed=True)
    assert list(again.failed) == ["bad.mp4"]
    assert opened == ["bad.mp4"]


def test_partial_videos_are_kept_with_their_coverage(shared_dir, tmp_path, backbone):
    paths = [
        shared_dir / "videos" / name
        for name in ("made_truncated_ucf101_Basketball.avi", "zamba_07120049.AVI")
    ]
    for expected in ((2, 0), (0, 2)):
        summary = extract_features(paths, tmp_path / "store", backbone=backbone)
        assert list(summary.partial) == ["made_truncated_ucf101_Basketball.avi"]
        assert "85 frames" in summary.partial["made_truncated_ucf101_Basketball.avi"]
        assert (summary.num_done, summary.num_skipped) == expected
        assert not summary.ok
    store = FeatureStore.open(tmp_path / "store")
    assert store.row("made_truncated_ucf101_Basketball.avi").coverage == round(85 / 141, 4)
    assert store.read("made_truncated_ucf101_Basketball.avi").report.num_frames_expected == 141
    assert store.row("zamba_07120049.AVI").status == "ok"


def test_a_replaced_video_is_extracted_again(clips, tmp_path, backbone):
    extract_features(clips, tmp_path / "store", backbone=backbone)
    old = FeatureStore.open(tmp_path / "store").read("a.mp4")
    (clips / "a.mp4").write_bytes((clips / "e.mp4").read_bytes())
    (clips / "b.mp4").write_text("broken now")
    summary = extract_features(clips, tmp_path / "store", backbone=backbone)
    assert list(summary.failed) == ["b.mp4"]
    store = FeatureStore.open(tmp_path / "store")
    assert not np.array_equal(store.read("a.mp4")[KEY][:3], old[KEY])
    assert "b.mp4" not in store.videos()
    assert store.verify() == []


def test_features_that_are_not_finite_are_failures(clips, tmp_path, backbone):
    backbone.factor = 1e4
    summary = extract_features(
        clips, tmp_path / "store", backbone=backbone, store_dtype="float16", layers=[1], timesteps=[0, 20]
    )
    assert len(summary.failed) == 5
    assert "t20.layer1" in summary.failed["a.mp4"]
    summary = extract_features(
        clips, tmp_path / "store", backbone=backbone, store_dtype="float16", layers=[1], timesteps=[0]
    )
    assert summary.ok
    assert FeatureStore.open(tmp_path / "store").failures == {}


def test_settings_make_the_store(clips, tmp_path, backbone, make_backbone):
    extract_features(clips / "a.mp4", tmp_path / "store", backbone=backbone, fps=5)
    settings = FeatureStore.open(tmp_path / "store").settings
    assert settings["sampling"] == {"fps": 5.0}
    assert settings["backbone"] == backbone.settings
    others = make_backbone(window=5)
    with pytest.raises(SettingsMismatchError) as error:
        extract_features(clips, tmp_path / "store", backbone=others, store_dtype="float16")
    assert set(error.value.differences) == {
        *("backbone.window", "sampling.fps", "sampling.stride", "store_dtype")
    }
    assert others.num_calls == 0


def test_names_are_relative_to_a_root_that_may_move(clips, tmp_path, backbone):
    store = tmp_path / "store"
    extract_features([clips / "sub folder", clips / "a.mp4"], store, backbone=backbone)
    assert FeatureStore.open(store).videos() == ["a.mp4", "sub folder/d.mp4", "sub folder/ünï чайка.mp4"]
    extract_features(clips / "sub folder" / "d.mp4", store, backbone=backbone)  # not "d.mp4": the root stays
    assert len(FeatureStore.open(store).videos()) == 3
    moved = clips.rename(tmp_path / "moved")
    calls = backbone.num_calls
    summary = extract_features(moved / "sub folder", store, backbone=backbone, root=moved)
    assert (summary.num_skipped, backbone.num_calls) == (2, calls)
    assert len(FeatureStore.open(store).videos()) == 3
    assert len(FeatureStore.open(store).read(moved / "a.mp4", root=moved)) == 3
    extract_features(
        [Example("a.mp4", start_seconds=0.5, end_seconds=1.0)], store, backbone=backbone, root=moved
    )
    assert backbone.num_calls == calls


def test_the_plan_is_told_before_anything_is_done(clips, tmp_path, backbone):
    options = {"backbone": backbone, "layers": [1, 2]}
    planned = plan_extraction(clips, tmp_path / "store", **options)
    assert (len(planned.plan.todo), len(planned.plan.stored)) == (5, 0)
    lengths = [-(-n // 4) for n in (12, 17, 22, 27, 32)]  # stride 4
    cost = planned.workload()
    assert (cost.num_tokens, cost.num_bytes, cost.num_unknown) == (sum(lengths), None, 0)
    assert cost.num_windows == sum(-(-length // 4) for length in lengths)
    assert not (tmp_path / "store").exists()
    assert backbone.num_calls == 0
    extract_features(clips / "a.mp4", tmp_path / "store", root=clips, **options)
    planned = plan_extraction(clips, tmp_path / "store", **options)
    assert (len(planned.plan.todo), len(planned.plan.stored)) == (4, 1)
    assert planned.workload().num_bytes == sum(lengths[1:]) * (1 + 2) * 4


def test_shards_are_disjoint_and_keep_contents_together(clips, tmp_path, backbone):
    for name in ("x.mp4", "y.mp4"):
        shutil.copy(clips / "a.mp4", clips / name)
    plans = [
        plan_extraction(clips, tmp_path / "store", backbone=backbone, shard=(i, 3)).plan for i in (1, 2, 3)
    ]
    names = [[name for item in plan.todo for name in item.videos] for plan in plans]
    assert sorted(chain.from_iterable(names)) == sorted(
        path.relative_to(clips).as_posix() for path in clips.rglob("*.mp4")
    )
    assert [set(part) & {"a.mp4", "x.mp4", "y.mp4"} for part in names].count({"a.mp4", "x.mp4", "y.mp4"}) == 1
    assert [plan.num_elsewhere for plan in plans] == [7 - len(part) for part in names]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"layers": [4]}, UnknownNameError, "Did you mean 'layer"),
        ({"layers": "9"}, UsageError, "'all'"),
        ({"timesteps": [30]}, UsageError, "timestep 30"),
        ({"stride": 0}, UsageError, "stride"),
        ({"fps": -1.0}, UsageError, "fps"),
        ({"shard": (0, 4)}, UsageError, "from 1 to n"),
        ({"shard": (5, 4)}, UsageError, "from 1 to n"),
        ({"store_dtype": "int8"}, UsageError, "float32 or float16"),
        ({"engine": "cloud"}, UnknownNameError, "local"),
        ({"weights": "x.safetensors"}, UsageError, "weights go with the name"),
        ({"videos": Path("no-such-folder")}, UsageError, "no-such-folder"),
        ({"videos": []}, UsageError, "no videos"),
        ({"videos": [Example("a.mp4")]}, UsageError, "root="),
    ],
)
def test_mistakes_are_named_before_any_work(clips, tmp_path, backbone, options, error, text):
    with pytest.raises(error, match=text):
        extract_features(options.pop("videos", clips), tmp_path / "store", backbone=backbone, **options)
    assert not (tmp_path / "store").exists()
    assert backbone.num_calls == 0


def test_a_full_disk_is_one_line_and_keeps_what_is_done(clips, tmp_path, backbone, monkeypatch):
    import actiondiff.features.feature_file as feature_file

    real, written = feature_file.save_file, []

    def save(*arguments: object, **options: object) -> None:
        written.append(1)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(*arguments, **options)

    monkeypatch.setattr(feature_file, "save_file", save)
    with pytest.raises(StoreError, match="No space left"):
        extract_features(clips, tmp_path / "store", backbone=backbone)
    assert len(FeatureStore.open(tmp_path / "store").videos()) == 2
    assert FeatureStore.open(tmp_path / "store").failures == {}
