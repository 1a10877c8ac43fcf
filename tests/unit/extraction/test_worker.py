"""Reading ahead, writing aside: faster, with the same bits, and nothing done twice or left behind."""

import threading
from collections import Counter

import numpy as np
import pytest
import torch
from tests.conftest import random_frames, store_contents

from actiondiff import FeatureStore, extract_features, load_backbone
from actiondiff.backbones.engine.run import extract_as_completed, extract_in_order
from actiondiff.backbones.engine.windows import FrameSequence
from actiondiff.backbones.svd.inputs import InputEncoder
from actiondiff.backbones.svd.taps import Encoder
from actiondiff.errors import UsageError
from actiondiff.types import FeatureKey

KEY = FeatureKey(20, "layer2")
TINY = {"height": 32, "width": 32, "window": 4, "batch": 2, "threads": 1, "device": "cpu"}


def decoders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("actiondiff")]


@pytest.mark.parametrize("threads", [0, 1, 3, 8])
def test_the_number_of_decode_threads_changes_no_byte(clips, tmp_path, threads):
    backbone = load_backbone("tiny", **TINY)
    extract_features(clips, tmp_path / "here", backbone=backbone, decode_threads=0)
    extract_features(clips, tmp_path / "ahead", backbone=backbone, decode_threads=threads)
    assert store_contents(tmp_path / "here") == store_contents(tmp_path / "ahead")
    assert decoders() == []


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_results_come_in_order_whatever_finishes_first(backbone, threads):
    lengths = [40, 3, 0, 9, 1]
    videos = [random_frames(count, seed) for seed, count in enumerate(lengths)]
    readers = [FrameSequence([one[n : n + 2] for n in range(0, len(one), 2)]) for one in videos]
    results = list(extract_in_order(backbone, readers, [KEY], decode_threads=threads))
    assert [reader for reader, _ in results] == readers
    assert [0 if found is None else len(found) for _, found in results] == lengths
    for one, (_, found) in zip(videos, results, strict=True):
        if found is not None:
            assert found.identity == one.identity
            assert np.array_equal(found[KEY], backbone.extract(one)[KEY])
    assert decoders() == []


def test_a_long_video_does_not_hold_up_the_short_ones(backbone):
    released = threading.Event()

    def long():
        yield random_frames(4, 0)
        assert released.wait(60)
        yield random_frames(4, 0)

    readers = [FrameSequence(long()), *[FrameSequence([random_frames(4, seed)]) for seed in range(1, 9)]]
    results = extract_as_completed(backbone, readers, [KEY], decode_threads=2)
    first = [readers.index(next(results)[0]) for _ in range(4)]
    assert 0 not in first
    released.set()
    assert sorted([*first, *[readers.index(reader) for reader, _ in results]]) == list(range(9))


def test_what_is_read_ahead_is_bounded(backbone):
    taken: list[int] = []

    def chunks():
        for number in range(1000):
            taken.append(number)
            yield random_frames(4, 0)

    readers = [FrameSequence([random_frames(4, 1)]), FrameSequence(chunks())]
    results = extract_as_completed(backbone, readers, [KEY], decode_threads=2)
    assert next(results)[0] is readers[0]
    size, window = backbone.options.batch, backbone.options.window
    passed = backbone.num_calls * size
    assert len(taken) <= passed + 2 * size + window
    results.close()
    assert decoders() == []
    assert len(taken) < 100


def test_an_error_of_a_reader_is_raised_where_features_are_taken(backbone):
    def broken():
        yield random_frames(4, 0)
        raise KeyError("what no one foresaw")

    readers = [FrameSequence(chunks) for chunks in ([random_frames(30, 1)], broken(), [random_frames(30, 2)])]
    with pytest.raises(KeyError, match="foresaw"):
        list(extract_in_order(backbone, readers, [KEY], decode_threads=2))
    assert decoders() == []


def test_large_frames_are_read_by_one_thread_at_a_time(backbone, monkeypatch):
    monkeypatch.setattr(
        "actiondiff.backbones.engine.reading._LARGE", 2 * 4 * 8 * 11 * 3
    )  # one window and the next
    inside, most = Counter(), []
    lock = threading.Lock()

    def reader(name):
        yield random_frames(2, name, height=8, width=11)
        for _ in range(5):
            with lock:
                inside[name] = 1
                most.append(inside.total())
            yield random_frames(2, name, height=8, width=11)
        with lock:
            del inside[name]

    list(extract_in_order(backbone, [FrameSequence(reader(n)) for n in range(6)], [KEY], decode_threads=4))
    assert max(most) == 1


def test_torchs_threads_are_as_they_were(backbone):
    before = torch.get_num_threads()
    list(extract_in_order(backbone, [FrameSequence([random_frames(30, 1)])] * 3, [KEY], decode_threads=3))
    assert torch.get_num_threads() == before


def test_every_window_passes_each_network_once(clips, tmp_path, monkeypatch):
    """Whatever the number of timesteps and layers; the U-Net once a timestep."""
    passed: Counter[str] = Counter()

    def count(owner, name, part, frames):
        real = getattr(owner, name)

        def counted(self, *given, **options):
            passed[part] += frames(*given)
            return real(self, *given, **options)

        monkeypatch.setattr(owner, name, counted)

    count(InputEncoder, "_posterior", "VAE", lambda vae, windows, pixels: pixels.shape[0])
    count(InputEncoder, "_embed", "CLIP", lambda pixels: pixels.shape[0])
    count(Encoder, "forward", "U-Net", lambda sample, *_: len(sample) // 4)
    backbone = load_backbone("tiny", **TINY)
    extract_features(clips, tmp_path / "store", backbone=backbone, timesteps=[0, 10, 20], layers="all")
    windows = 9 + 1  # and one repeated, as the last batch is not full
    assert passed == {"VAE": windows, "CLIP": windows, "U-Net": 3 * windows}


class Cramped:
    """Mixed into a backbone: memory for so many windows at a time."""

    room = 2

    def maps(self, windows, keys):
        if len(windows.num_real) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return super().maps(windows, keys)


def test_short_of_memory_fewer_windows_pass_and_files_say_so(clips, tmp_path, make_backbone):
    cramped = type("CrampedMeans", (Cramped, make_backbone), {})(batch=5)
    roomy = make_backbone(batch=5)
    for name, backbone in (("cramped", cramped), ("roomy", roomy)):
        assert extract_features(clips, tmp_path / name, backbone=backbone).ok
    stores = [FeatureStore.open(tmp_path / name) for name in ("cramped", "roomy")]
    for name in stores[0].videos():
        one, other = (store.read(name) for store in stores)
        assert np.allclose(one[KEY], other[KEY])
        assert (one.batch, other.batch) == (2, None)  # 5, 3, 2
    assert stores[0].verify() == []
    assert extract_features(clips, tmp_path / "cramped", backbone=roomy, layers=[1]).ok
    assert stores[0].read(name).batch == 2


def test_no_memory_for_one_window_is_one_line(clips, tmp_path, make_backbone):
    cramped = type("CrampedMeans", (Cramped, make_backbone), {"room": 0})()
    with pytest.raises(UsageError, match=r"does not suffice for one window of 4 frames at 8x8. Use smaller"):
        extract_features(clips, tmp_path / "store", backbone=cramped)


def test_other_errors_of_a_backbone_are_not_taken_for_that(backbone, monkeypatch):
    def fail(windows, keys):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(backbone, "maps", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        backbone.extract(random_frames(4, 0))


def test_float32_is_full_precision_whatever_the_backbone(backbone, monkeypatch):
    seen = []

    def look(windows, keys):
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return type(backbone).maps(backbone, windows, keys)

    before = torch.backends.cudnn.allow_tf32  # on, in PyTorch's defaults
    monkeypatch.setattr(backbone, "maps", look)
    backbone.extract(random_frames(4, 0))
    assert seen == [(False, False)]
    assert torch.backends.cudnn.allow_tf32 == before
