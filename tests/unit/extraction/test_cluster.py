"""The scheduler, with workers that die as told; and worker processes as they are."""

import os
import signal
from concurrent.futures import Future
from pathlib import Path

import pytest

from actiondiff import FeatureStore, extract_features, load_backbone
from actiondiff.backbones.options import BackboneOptions
from actiondiff.cli.app import run
from actiondiff.errors import ActionDiffError, StoreError, UnknownNameError, UsageError
from actiondiff.extraction import devices
from actiondiff.extraction.cluster import WorkerDiedError, do_part, part_from_json, part_to_json, schedule
from actiondiff.extraction.devices import device_names
from actiondiff.extraction.engines import choose_workers, on_first_device
from actiondiff.extraction.plan import Item
from actiondiff.types import FeatureKey

RealPool = devices.DevicePool
TINY = {"height": 32, "width": 32, "window": 4, "batch": 2, "threads": 1, "device": "cpu"}


def items(count: int) -> list[Item]:
    return [
        Item(f"{n:064x}", (f"{n}.mp4", f"ünï {n}.mp4"), Path(f"/v/{n}.mp4"), (FeatureKey(20, "layer9"),))
        for n in range(count)
    ]


class FakePool:
    """Does nothing, but dies over videos and stops at others."""

    def __init__(self, *, size=2, deadly=(), times=99, broken=()):
        self.size, self.deadly, self.broken = size, set(deadly), set(broken)
        self.times, self.parts, self.done, self.closed = times, [], [], False

    def submit(self, part):
        assert not self.closed
        self.parts.append([int(item.identity, 16) for item in part])
        future = Future()
        if self.broken & set(self.parts[-1]):
            future.set_exception(ActionDiffError("the disk is full"))
        elif self.deadly & set(self.parts[-1]) and self.times:
            self.times -= 1
            future.set_exception(WorkerDiedError("by signal 11"))
        else:
            self.done += self.parts[-1]
            future.set_result(None)
        return future

    def close(self):
        self.closed = True


@pytest.fixture
def store(tmp_path, backbone):
    settings = {
        "format": 1,
        "backbone": backbone.settings,
        "sampling": {"stride": 4},
        "store_dtype": "float32",
    }
    return FeatureStore.create(tmp_path / "store", settings=settings, root=tmp_path)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_item_is_done_once_in_parts_that_all_workers_share(store, count, size):
    pool, seen = FakePool(size=size), []
    schedule(pool, items(count), store, progress=lambda *report: seen.append(report))
    assert sorted(pool.done) == list(range(count))
    assert pool.closed
    assert len(pool.parts) >= min(count, 4 * size)
    assert max(map(len, pool.parts), default=0) <= 8
    assert [report[:2] for report in seen] == [(n, count) for n in range(1, count + 1)]


def test_the_part_of_a_dead_worker_is_redone(store):
    pool, seen = FakePool(deadly=[3, 60], times=3), []
    schedule(pool, items(100), store, progress=lambda *report: seen.append(report))
    assert sorted(pool.done) == list(range(100))
    assert store.failures == {}
    assert len(seen) == 100


@pytest.mark.parametrize("size", [1, 2])
def test_a_video_that_kills_every_worker_is_recorded_and_costs_no_other(store, size):
    pool = FakePool(size=size, deadly=[0, 41, 42, 99])
    schedule(pool, items(100), store)
    assert sorted(pool.done) == sorted({*range(100)} - {0, 41, 42, 99})
    assert set(store.failures) == {name for n in (0, 41, 42, 99) for name in items(100)[n].videos}
    assert store.failures["41.mp4"].reason == "2 workers died over it, the last of them by signal 11"
    assert sum(part == [41] for part in pool.parts) == 2
    assert store.known_failure(f"{41:064x}") is None  # it is tried again next time


def test_when_all_workers_die_it_is_not_the_videos_fault(store):
    pool = FakePool(deadly=range(100))
    with pytest.raises(StoreError, match="5 workers died one after the other, the last of them by signal 11"):
        schedule(pool, items(100), store)
    assert pool.closed
    assert len(pool.parts) < 10
    assert store.failures == {}


def test_an_error_of_ours_stops_all(store):
    pool = FakePool(broken=[50])
    with pytest.raises(ActionDiffError, match="the disk is full"):
        schedule(pool, items(100), store)
    assert pool.closed
    assert store.failures == {}


def test_parts_survive_json():
    part = (*items(2), Item("ab", ("odd \udce9 name.avi",), Path("/v/odd \udce9 name.avi")))
    assert part_from_json(part_to_json(part)) == part


def test_devices_and_engines_that_do_not_go_together():
    assert device_names(["0", "cuda:3"]) == ["cuda:0", "cuda:3"]
    assert device_names(["cpu", "cpu"]) == ["cpu", "cpu"]
    for wrong in ([], ["0", "cpu"], ["tpu"], ["gpu0"]):
        with pytest.raises(UsageError, match="for example 0,1 or cpu,cpu; got"):
            choose_workers("local", devices=wrong)
    assert choose_workers("local") is None
    with pytest.raises(UnknownNameError, match=r"unknown engine 'rai'. Did you mean 'ray'"):
        choose_workers("rai")
    with pytest.raises(UsageError, match="devices go with engine local"):
        choose_workers("ray", devices=["cpu"])
    with pytest.raises(UsageError, match="go with engine ray"):
        choose_workers("local", workers=2)
    assert on_first_device(BackboneOptions(threads=1), ["1"]).device == "cuda:1"
    with pytest.raises(UsageError, match="either device or devices; got cpu and 0"):
        on_first_device(BackboneOptions(device="cpu"), ["0"])


def test_a_backbone_that_workers_cannot_load_is_refused(clips, tmp_path, backbone):
    with pytest.raises(UsageError, match="cannot load this means: give one by name"):
        extract_features(clips, tmp_path / "store", backbone=backbone, devices=["cpu"])
    with pytest.raises(UsageError, match="was loaded for cpu; the workers are on cuda:0"):
        extract_features(clips, tmp_path / "tiny", backbone=load_backbone("tiny", **TINY), devices=["0"])


def test_two_processes_one_of_them_killed_make_the_same_store(clips, tmp_path, content, monkeypatch):
    """Also a video that does not decode, and one that is there already."""
    (clips / "bad.avi").write_text("no video")
    backbone = load_backbone("tiny", **TINY)
    whole = extract_features(clips, tmp_path / "whole", backbone=backbone)
    extract_features(clips / "b.mp4", tmp_path / "store", backbone=backbone, root=clips)
    pools, seen = [], []
    monkeypatch.setattr(devices, "DevicePool", lambda *given: pools.append(RealPool(*given)) or pools[-1])

    def kill(done, total, video):
        if not seen:
            os.kill(pools[0]._workers[0]._process.pid, signal.SIGKILL)
        seen.append((done, total))

    summary = extract_features(
        clips, tmp_path / "store", backbone=backbone, devices=["cpu", "cpu"], progress=kill
    )
    assert seen == [(n, 5) for n in range(1, 6)]
    assert content(tmp_path / "store") == content(tmp_path / "whole")
    assert (summary.num_done, summary.num_skipped) == (4, 1)
    assert summary.failed == whole.failed
    assert all(worker._process.poll() is not None for worker in pools[0]._workers)


def test_what_a_dead_worker_said_last_is_told(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_COMMAND", "import sys; sys.exit('no such thing as a GPU here')")
    with pytest.raises(StoreError, match=r"on cpu with exit code 1: no such thing as a GPU here"):
        extract_features(
            clips, tmp_path / "store", backbone=load_backbone("tiny", **TINY), devices=["cpu", "cpu"]
        )


def test_an_interrupt_stops_the_workers(clips, tmp_path, monkeypatch):
    pools = []
    monkeypatch.setattr(devices, "_COMMAND", "import time; time.sleep(60)")
    monkeypatch.setattr(devices, "DevicePool", lambda *given: pools.append(RealPool(*given)) or pools[-1])
    monkeypatch.setattr("actiondiff.extraction.cluster.wait", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract_features(clips, tmp_path / "store", backbone=load_backbone("tiny", **TINY), devices=["cpu"])
    assert pools[0]._workers[0]._process.returncode == -signal.SIGKILL


def _interrupt(running, **_):
    while not any(future.running() for future in running):
        pass
    raise KeyboardInterrupt


def test_the_command(clips, tmp_path, capsys, content, monkeypatch):
    small = [part for name, value in TINY.items() if name != "device" for part in (f"--{name}", str(value))]
    assert run(["extract", str(clips), "-o", str(tmp_path / "one"), *small, "--device", "cpu"]) == 0
    sizes = []

    def do_here(pool, todo, store, *, progress):
        sizes.append(pool.size)
        do_part(pool._workers[1]._job.to_json(), todo)
        pool.close()

    monkeypatch.setattr(devices, "schedule", do_here)
    assert run(["extract", str(clips), "-o", str(tmp_path / "two"), *small, "--devices", "cpu,cpu"]) == 0
    assert sizes == [2]
    assert "5 videos: 5 done" in capsys.readouterr().out
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert run(["extract", str(clips), "-o", str(tmp_path / "x"), "--devices", "cpu,0"]) == 1
    assert "got cpu,0" in capsys.readouterr().err
