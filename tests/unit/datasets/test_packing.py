import numpy as np
import pytest
import torch
from tests.conftest import store_settings

from actiondiff.datasets.packing import clips_without_features, encode_labels, pack, pack_arrays
from actiondiff.errors import StoreError, TableError, UnknownNameError, UsageError
from actiondiff.features.store import FeatureStore
from actiondiff.types import Example, FeatureKey, Features

KEY = FeatureKey.of(20, 9)
OTHER = FeatureKey.of(20, 3)
LABELS = ["walk", "run", "eat"]
LENGTHS = {"birds/a.mp4": 6, "birds/b.mp4": 3, "fish/c.mp4": 5}


def features_of(name, length, *, seconds=True):
    random = np.random.default_rng(len(name) + length)
    return Features(
        tokens={
            key: random.normal(size=(length, width)).astype(np.float32)
            for key, width in [(KEY, 4), (OTHER, 2)]
        },
        seconds=np.arange(length) / 2 if seconds else None,
        frame_index=np.arange(length),
        identity=f"{sum(map(ord, name)):064x}",
    )


@pytest.fixture
def root(tmp_path):
    return tmp_path / "videos"


@pytest.fixture
def store(tmp_path, root):
    settings = store_settings(name="tiny")
    store = FeatureStore.create(tmp_path / "store", settings=settings, root=root)
    for name, length in LENGTHS.items():
        store.write(name, features_of(name, length))
    store.write("fish/untimed.mp4", features_of("untimed", 4, seconds=False))
    store.fail("fish/broken.mp4", "no frame decodes", identity="f" * 64)
    return store


def test_clips_meet_their_features_by_path_not_order(store):
    examples = [
        Example("fish/c.mp4", ("eat",)),
        Example("birds/a.mp4", ("run", "walk")),
        Example("birds/b.mp4"),
    ]
    packed = pack(store, examples, KEY, LABELS)
    assert len(packed) == 3
    assert packed.lengths.tolist() == [5, 6, 3]
    assert packed.tokens.shape == (14, 4)
    assert packed.tokens.dtype == torch.float32
    for index, example in enumerate(examples):
        own = packed.tokens[packed.offsets[index] : packed.offsets[index + 1]].numpy()
        np.testing.assert_array_equal(own, store.read(example.video, KEY)[KEY])
    assert packed.targets.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert packed.examples == tuple(examples)
    assert not packed.missing


def test_paths_relative_to_another_folder(store, root):
    packed = pack(store, [Example("c.mp4", ("eat",))], KEY, LABELS, root=root / "fish")
    np.testing.assert_array_equal(packed.tokens.numpy(), store.read("fish/c.mp4", KEY)[KEY])
    above = pack(store, [Example("videos/fish/c.mp4", ("eat",))], KEY, LABELS, root=root.parent)
    assert torch.equal(packed.tokens, above.tokens)
    with pytest.raises(StoreError, match=r"none of the 1 clips .*fish/c.mp4 is not in the store.*give root="):
        pack(store, [Example("fish/c.mp4", ("eat",))], KEY, LABELS, root=root / "elsewhere")


def test_clips_without_features_are_left_out_and_listed(store):
    names = ["birds/b.mp4", "fish/broken.mp4", "never.mp4", "fish/c.mp4"]
    packed = pack(store, [Example(name, ("run",)) for name in names], KEY, LABELS)
    assert [example.video for example in packed.examples] == ["birds/b.mp4", "fish/c.mp4"]
    assert [(clip.example.video, clip.reason) for clip in packed.missing] == [
        ("fish/broken.mp4", "failed: no frame decodes"),
        ("never.mp4", "not in the store"),
    ]
    with pytest.raises(StoreError, match=r"none of the 1 clips .*broken.mp4 is failed: no frame decodes"):
        pack(store, [Example("fish/broken.mp4", ("run",))], KEY, LABELS)
    with pytest.raises(StoreError, match="no clips were given"):
        pack(store, [], KEY, LABELS)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.5, 1.5, [1, 2]),  # start is inside, end is not
        (0.4, 1.6, [1, 2, 3]),
        (None, 1.0, [0, 1]),
        (2.0, None, [4, 5]),
        (0.0, 99.0, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_spans_take_tokens_by_their_seconds(store, start, end, expected):
    example = Example("birds/a.mp4", ("run",), start_seconds=start, end_seconds=end)
    packed = pack(store, [Example("birds/b.mp4", ("eat",)), example], KEY, LABELS)
    whole = store.read("birds/a.mp4", KEY)[KEY]
    np.testing.assert_array_equal(packed.tokens[3:].numpy(), whole[expected])


def test_spans_without_tokens_are_all_told(store):
    examples = [
        Example("birds/a.mp4", ("run",), start_seconds=0.1, end_seconds=0.4),
        Example("birds/a.mp4", ("run",), start_seconds=0, end_seconds=1),
        Example("fish/untimed.mp4", ("run",), start_seconds=1),
        Example("fish/c.mp4", ("run",), start_seconds=7),
    ]
    with pytest.raises(TableError) as caught:
        pack(store, examples, KEY, LABELS)
    assert caught.value.problems == [
        "birds/a.mp4: no token lies in 0.1 to 0.4 (seconds); its 6 tokens are at 0.00 to 2.50",
        "fish/untimed.mp4: the times of its frames are unknown, so no span can be cut",
        "fish/c.mp4: no token lies in 7 to the end (seconds); its 5 tokens are at 0.00 to 2.00",
    ]
    assert len(pack(store, [Example("fish/untimed.mp4", ("run",))], KEY, LABELS)) == 1
    absent = Example("never.mp4", ("run",))
    missing = clips_without_features(store, [*examples, absent])
    assert [clip.example for clip in missing] == [absent, examples[0], examples[2], examples[3]]
    assert "birds/a.mp4: " + missing[1].reason == caught.value.problems[0]
    assert len(pack(store, [examples[1]], KEY, LABELS)) == 1


def test_several_features_stand_side_by_side(store):
    packed = pack(store, [Example("birds/a.mp4", ("run",))], [OTHER, KEY], LABELS)
    features = store.read("birds/a.mp4")
    np.testing.assert_array_equal(packed.tokens[:, :2].numpy(), features[OTHER])
    np.testing.assert_array_equal(packed.tokens[:, 2:].numpy(), features[KEY])


def test_unknown_features_and_labels(store):
    with pytest.raises(UnknownNameError, match=r"t20\.layer8.*Extract it"):
        pack(store, [Example("birds/a.mp4", ("run",))], FeatureKey.of(20, 8), LABELS)
    with pytest.raises(UnknownNameError, match=r"'runn'.*'run'.*label of birds/a.mp4"):
        pack(store, [Example("birds/a.mp4", ("runn",))], KEY, LABELS)


def test_a_video_is_read_once_however_many_spans_it_has(store, monkeypatch):
    reads, load = [], FeatureStore.load
    monkeypatch.setattr(FeatureStore, "load", lambda self, *a, **k: reads.append(1) or load(self, *a, **k))
    spans = [Example("birds/a.mp4", ("run",), start_seconds=i / 2, end_seconds=i / 2 + 0.5) for i in range(6)]
    packed = pack(store, spans, KEY, LABELS)
    assert len(reads) == 1
    assert packed.lengths.tolist() == [1] * 6


def test_spans_of_one_video_among_others_keep_their_places(store):
    examples = [
        Example("birds/a.mp4", ("run",), end_seconds=1),
        Example("birds/b.mp4", ("eat",)),
        Example("birds/a.mp4", ("walk",), start_seconds=1),
    ]
    packed = pack(store, examples, KEY, LABELS)
    whole = store.read("birds/a.mp4", KEY)[KEY]
    assert packed.examples == tuple(examples)
    assert packed.lengths.tolist() == [2, 3, 4]
    np.testing.assert_array_equal(packed.tokens[:2].numpy(), whole[:2])
    np.testing.assert_array_equal(packed.tokens[5:].numpy(), whole[2:])


def test_features_that_are_not_finite_are_refused(store, monkeypatch):
    """As a file that was damaged on disk would give them."""
    load = FeatureStore.load

    def damaged(self, identity, keys):
        features = load(self, identity, keys)
        features.tokens[KEY][0, 0] = np.nan
        return features

    monkeypatch.setattr(FeatureStore, "load", damaged)
    with pytest.raises(StoreError, match=r"birds/a.mp4 are not finite.*features verify"):
        pack(store, [Example("birds/a.mp4", ("run",))], KEY, LABELS)


@pytest.fixture
def packed():
    arrays = [np.full((length, 2), float(length), dtype=np.float32) for length in (3, 1, 5)]
    return pack_arrays(arrays, [Example(str(i), (LABELS[i],)) for i in range(3)], LABELS)


def test_batches_are_padded_to_their_longest_and_cut_from_the_end(packed):
    tokens, mask, targets = packed.batch([1, 0], max_tokens=9)
    assert tokens[..., 0].tolist() == [[1, 0, 0], [3, 3, 3]]
    assert mask.tolist() == [[True, False, False], [True, True, True]]
    assert targets.tolist() == [[0, 1, 0], [1, 0, 0]]
    tokens, mask, _ = packed.batch([2], max_tokens=2)
    assert tokens.shape == (1, 2, 2)
    assert mask.all()
    ramp = pack_arrays([np.arange(10, dtype=np.float32).reshape(5, 2)])
    assert ramp.batch([0], max_tokens=2).tokens.flatten().tolist() == [0, 1, 2, 3]


def test_padding_is_zero_whatever_the_next_clip_holds():
    packed = pack_arrays([np.ones((1, 2), np.float32), np.full((3, 2), np.nan, np.float32)])
    assert packed.batch([0, 1], max_tokens=9).tokens[0].tolist() == [[1, 1], [0, 0], [0, 0]]


def test_subset_keeps_order_and_belongings(packed):
    part = packed.subset([2, 0])
    assert part.lengths.tolist() == [5, 3]
    assert part.tokens[:, 0].tolist() == [5] * 5 + [3] * 3
    assert part.targets.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert [example.video for example in part.examples] == ["2", "0"]
    assert len(packed.subset([])) == 0


def test_to_a_device(packed):
    moved = packed.to("meta")
    assert moved.tokens.device.type == moved.targets.device.type == "meta"
    assert moved.offsets.device.type == "cpu"
    assert moved.examples == packed.examples


def test_encoded_labels():
    assert encode_labels([Example("a", ("eat", "walk")), Example("b")], LABELS).tolist() == [
        [1, 0, 1],
        [0, 0, 0],
    ]


@pytest.mark.parametrize(
    "arrays",
    [[], [np.zeros((0, 2))], [np.zeros((1, 2)), np.zeros((1, 3))], [np.zeros(3)]],
    ids=["none", "empty", "two widths", "one axis"],
)
def test_arrays_that_do_not_fit(arrays):
    with pytest.raises(UsageError, match=r"\(T, D\) arrays of one width"):
        pack_arrays(arrays)
    with pytest.raises(UsageError, match="as many examples as arrays; got 2 for 1"):
        pack_arrays([np.zeros((1, 2))], [Example("a"), Example("b")])
