"""Features of several stores as those of one: joined by content, and aligned in time or refused."""

from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import identity_of, store_settings

from actiondiff.errors import StoreError, UnknownNameError, UsageError
from actiondiff.features.joined import join_features, join_stores
from actiondiff.features.store import FeatureStore
from actiondiff.types import Appearance, DecodeReport, FeatureKey, Features


def features(seconds, width=2, *, key="t0.layer1", video="a.mp4", frame_index=None, report=None):
    """Features whose every channel is the time of the token."""
    seconds = None if seconds is None else np.asarray(seconds, dtype=np.float64)
    count = len(frame_index) if seconds is None else len(seconds)
    times = np.arange(count) if seconds is None else seconds
    index = np.round(times * 100).astype(np.int64) if frame_index is None else np.asarray(frame_index)
    tokens = np.repeat(times.astype(np.float32)[:, None], width, axis=1)
    return Features({FeatureKey.parse(key): tokens}, seconds, index, identity_of(video), report=report)


def joined(first, other):
    return join_features(first, {"b": other}, video="a.mp4").tokens[FeatureKey.parse("b:t0.layer1")][:, 0]


@pytest.mark.parametrize("text", ["t20.layer9", "lite0:t0.layer17", "svd-xt.1_a:t5.clip"])
def test_a_key_is_read_as_it_is_written(text):
    key = FeatureKey.parse(text)
    assert str(key) == text
    assert FeatureKey.of(*key) == key
    assert key.store == text.rpartition(":")[0]
    assert str(key.within()) == text.rpartition(":")[2]


@pytest.mark.parametrize(
    "text", ["a b:t0.layer1", ":t0.layer1", "../x:t0.layer1", "b:layer1", "a:b:t0.layer1"]
)
def test_no_other_key(text):
    with pytest.raises(UsageError):
        FeatureKey.parse(text)


def test_each_token_gets_the_nearest_of_the_other_store():
    first = features(np.arange(8) * 0.1)
    assert joined(first, features(np.arange(8) * 0.1 + 0.03)).tolist() == pytest.approx(
        np.arange(8) * 0.1 + 0.03
    )
    slower = joined(
        first, features(np.arange(4) * 0.2)
    )  # a token of two frames, of equally near ones the earlier
    assert slower.tolist() == pytest.approx([0, 0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6])
    faster = joined(features(np.arange(4) * 0.2), features(np.arange(8) * 0.1))
    assert faster.tolist() == pytest.approx(np.arange(4) * 0.2)


def test_the_same_frames_need_no_times():
    first, other = features(None, frame_index=[0, 4, 8]), features(None, frame_index=[0, 4, 8])
    assert joined(first, other).tolist() == [0, 1, 2]
    with pytest.raises(StoreError, match="times are unknown"):
        joined(first, features(None, frame_index=[0, 8, 16]))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (np.arange(4) * 0.5, "one token every 0.5 s against every 0.1 s; at most 4 times"),
        (np.arange(160) * 0.01, "one token every 0.01 s against every 0.1 s"),
        (np.arange(8) * 0.1, "the token at 1.5 s has its nearest 0.8 s away"),
        (np.arange(16) * 0.1 + 9, "the token at 0 s has its nearest 9 s away"),
    ],
)
def test_tokens_that_cannot_be_aligned(other, reason):
    with pytest.raises(StoreError, match=reason) as caught:
        joined(features(np.arange(16) * 0.1), features(other))
    assert "a.mp4" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_stranger_of_two_students_counts():
    look = Appearance(64, 64, 0.5, 0.2)
    times = [0.0, 1.0]
    for own, other, expected in ((None, None, None), (0.5, None, 0.5), (None, 2.0, 2.0), (0.5, 2.0, 2.0)):
        parts = [
            replace(features(times), appearance=look._replace(strangeness=value)) for value in (own, other)
        ]
        whole = join_features(parts[0], {"b": parts[1]}, video="a.mp4")
        assert whole.appearance == look._replace(strangeness=expected)


def test_the_lower_coverage_counts():
    whole, part = DecodeReport("ok", "", 10, 10), DecodeReport("partial", "cut", 5, 10)
    for reports in ((whole, part), (part, whole)):
        first, other = (features([0.0, 0.1], report=report) for report in reports)
        assert join_features(first, {"b": other}, video="a").report == part


def store(folder, name, videos, **settings):
    made = FeatureStore.create(folder, settings={**store_settings(name=name), **settings}, root=folder.parent)
    for video in videos:
        made.write(video, features(np.arange(5) * 0.1, 3 if name == "motion" else 2, video=video))
    made.tidy()
    return made


def test_a_joined_store(tmp_path):
    store(tmp_path / "one", "pixels", ["a.mp4", "b.mp4"])
    store(tmp_path / "two", "motion", ["renamed.mp4"]).write(
        "x.mp4", features(np.arange(5) * 0.1, 3, video="a.mp4")
    )
    both = join_stores(tmp_path / "one", tmp_path / "two")
    own, other = FeatureKey.parse("t0.layer1"), FeatureKey.parse("motion:t0.layer1")
    assert both.keys() == [own, other]
    loaded = both.load(identity_of("a.mp4"), [other, own])
    assert [loaded.tokens[key].shape for key in (own, other)] == [(5, 2), (5, 3)]
    assert both.has(identity_of("a.mp4"), [own, other])
    assert not both.has(identity_of("b.mp4"), [own, other])
    assert both.missing(identity_of("b.mp4"), [own, other]) == [other]
    with pytest.raises(
        StoreError, match=r"two lacks t0.layer1 of 1 of 2 videos of .*one, for example of b.mp4"
    ):
        both.check_contents([identity_of("a.mp4"), identity_of("b.mp4")], [own, other])
    both.check_contents([identity_of("b.mp4")], [own])
    with pytest.raises(UnknownNameError, match="lite0"):
        both.load(identity_of("a.mp4"), [FeatureKey.parse("lite0:t0.layer1")])


def test_names_of_stores(tmp_path):
    for folder in ("one", "two"):
        store(tmp_path / folder, "pixels", ["a.mp4"])
    with pytest.raises(UsageError, match=r"pixels is the name of the backbone .* NAME=STORE"):
        join_stores(tmp_path / "one", tmp_path / "two")
    named = join_stores(tmp_path / "one", f"again={tmp_path / 'two'}")
    assert [str(key) for key in named.keys()] == ["t0.layer1", "again:t0.layer1"]  # noqa: SIM118
    with pytest.raises(UsageError, match="both named again"):
        join_stores(tmp_path / "one", f"again={tmp_path / 'two'}", f"again={tmp_path / 'two'}")
    with pytest.raises(UsageError, match="letters, digits"):
        join_stores(tmp_path / "one", f"a:b={tmp_path / 'two'}")
    other = store(tmp_path / "three", "motion", ["a.mp4"], sampling={"stride": 4, "stream": 1})
    with pytest.raises(UsageError, match="from stream 1 of the files"):
        join_stores(tmp_path / "one", other)
