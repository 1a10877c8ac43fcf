"""The scheduler, with workers that die as told; and worker processes as they are."""

import importlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from tests.conftest import store_contents, store_settings

from actiondiff import FeatureStore, extract_features, load_backbone
from actiondiff.backbones.options import BackboneOptions
from actiondiff.cli.main import run
from actiondiff.errors import ActionDiffError, StoreError, UnknownNameError, UsageError
from actiondiff.extraction import devices, runners
from actiondiff.extraction.api import plan_extraction
from actiondiff.extraction.devices import device_names
from actiondiff.extraction.plan import Item
from actiondiff.extraction.runners import choose_runner, num_default_workers, on_first_device
from actiondiff.extraction.scheduler import WorkerDiedError, WorkerJob, do_part, schedule
from actiondiff.types import FeatureKey, Sampling

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
    settings = store_settings(**backbone.settings)
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


def test_jobs_and_parts_reach_other_processes_unchanged():
    part = (*items(2), Item("ab", ("odd \udce9 name.avi",), Path("/v/odd \udce9 name.avi")))
    assert pickle.loads(pickle.dumps(part)) == part  # our own bytes
    job = WorkerJob("/s", "tiny", None, load_backbone("tiny", **TINY).options, Sampling(fps=2.5))
    copy = pickle.loads(pickle.dumps(job))
    assert copy == job
    assert hash(copy) == hash(job)
    assert job.on("cuda:1") != job
    assert job.on("cuda:1").options.device == "cuda:1"


def test_devices_and_engines_that_do_not_go_together():
    assert device_names(["0", "cuda:3"]) == ["cuda:0", "cuda:3"]
    assert device_names(["cpu", "cpu"]) == ["cpu", "cpu"]
    for wrong in ([], ["0", "cpu"], ["tpu"], ["gpu0"]):
        with pytest.raises(UsageError, match="for example 0,1 or cpu,cpu; got"):
            choose_runner("local", devices=wrong)
    assert choose_runner("local") is None
    with pytest.raises(UnknownNameError, match=r"unknown engine 'rai'. Did you mean 'ray'"):
        choose_runner("rai")
    with pytest.raises(UsageError, match="devices go with engine local"):
        choose_runner("ray", devices=["cpu"])
    with pytest.raises(UsageError, match="goes with engine ray"):
        choose_runner("local", ray_address="auto")
    with pytest.raises(UsageError, match="at least one worker; got 0"):
        choose_runner("local", workers=0)
    with pytest.raises(UsageError, match="either devices, with one worker for each, or a number of workers"):
        choose_runner("local", devices=["cpu"], workers=2)
    assert on_first_device(BackboneOptions(threads=1), ["1"]).device == "cuda:1"
    with pytest.raises(UsageError, match="either device or devices; got cpu and 0"):
        on_first_device(BackboneOptions(device="cpu"), ["0"])


@pytest.fixture
def many_cores(monkeypatch):
    monkeypatch.setattr(runners, "num_cores", lambda: 4)
    monkeypatch.setattr(runners, "available_memory", lambda: None)


def test_every_core_gets_a_worker_if_there_is_enough_to_do(
    clips, tmp_path, many_cores, monkeypatch, backbone
):
    def count(network=None, *, limit=None, windows_a_worker=1):
        monkeypatch.setattr(runners, "_WORTH_A_WORKER", windows_a_worker)
        network = network or load_backbone("tiny", **TINY)
        return num_default_workers(plan_extraction(clips, tmp_path / "s", backbone=network), limit=limit)

    assert count() == 4
    assert count(limit=3) == 3
    assert count(limit=1) == 1
    assert count(windows_a_worker=32) == 1  # the five clips have 11 windows
    assert count(windows_a_worker=4) == 2
    assert count(load_backbone("tiny", **TINY | {"threads": 2})) == 1  # it uses several cores by itself
    assert count(backbone) == 1  # workers cannot load it
    monkeypatch.setattr(runners, "available_memory", lambda: 5 * runners._own_memory())
    assert count() == 2
    (tmp_path / "one").mkdir()
    (clips / "a.mp4").rename(tmp_path / "one/a.mp4")
    one = plan_extraction(tmp_path / "one", tmp_path / "s", backbone=load_backbone("tiny", **TINY))
    assert num_default_workers(one) == 1


def test_a_named_backbone_runs_on_every_core_with_the_same_bits(clips, tmp_path, many_cores, monkeypatch):
    extract_features(clips, tmp_path / "whole", workers=1)
    monkeypatch.setattr(runners, "_WORTH_A_WORKER", 2)
    monkeypatch.setattr(runners, "num_cores", lambda: 2)
    pools = []
    monkeypatch.setattr(devices, "DevicePool", lambda *given: pools.append(RealPool(*given)) or pools[-1])
    extract_features(clips, tmp_path / "store")
    assert [len(pool.workers) for pool in pools] == [2]
    assert {worker.job.decode_threads for worker in pools[0].workers} == {1}
    assert store_contents(tmp_path / "store") == store_contents(tmp_path / "whole")


def test_a_backbone_that_workers_cannot_load_is_refused(clips, tmp_path, backbone):
    with pytest.raises(UsageError, match="cannot load this means: give one by name"):
        extract_features(clips, tmp_path / "store", backbone=backbone, devices=["cpu"])
    with pytest.raises(UsageError, match="was loaded for cpu; the workers are on cuda:0"):
        extract_features(clips, tmp_path / "tiny", backbone=load_backbone("tiny", **TINY), devices=["0"])


def test_two_processes_one_of_them_killed_make_the_same_store(clips, tmp_path, monkeypatch):
    """Also a video that does not decode, and one that is there already."""
    (clips / "bad.avi").write_text("no video")
    backbone = load_backbone("tiny", **TINY)
    whole = extract_features(clips, tmp_path / "whole", backbone=backbone)
    extract_features(clips / "b.mp4", tmp_path / "store", backbone=backbone, root=clips)
    pools, seen = [], []
    monkeypatch.setattr(devices, "DevicePool", lambda *given: pools.append(RealPool(*given)) or pools[-1])

    def kill(done, total, video):
        if not seen:
            os.kill(pools[0].workers[0].process.pid, signal.SIGKILL)
        seen.append((done, total))

    summary = extract_features(
        clips, tmp_path / "store", backbone=backbone, devices=["cpu", "cpu"], progress=kill
    )
    assert seen == [(n, 5) for n in range(1, 6)]
    assert store_contents(tmp_path / "store") == store_contents(tmp_path / "whole")
    assert (summary.num_done, summary.num_skipped) == (4, 1)
    assert summary.failed == whole.failed
    assert not any(worker.process.is_alive() for worker in pools[0].workers)


def test_what_a_dead_worker_said_last_is_told(clips, tmp_path, monkeypatch):
    _let_workers_run(
        """
        import os, sys
        def work(job, part):
            print("no such thing as a GPU here", file=sys.stderr, flush=True)
            os._exit(1)
        """,
        tmp_path,
        monkeypatch,
    )
    with pytest.raises(StoreError, match=r"on cpu with exit code 1: no such thing as a GPU here"):
        extract_features(
            clips, tmp_path / "store", backbone=load_backbone("tiny", **TINY), devices=["cpu", "cpu"]
        )


def test_an_error_that_is_not_ours_ends_the_worker(clips, tmp_path, monkeypatch):
    """The state of its process, such as that of a GPU, cannot be trusted."""
    _let_workers_run(
        """
        from actiondiff.extraction import devices
        def broken(job, part):
            raise RuntimeError("CUDA error: device-side assert")
        def work(job, part):
            devices.do_part = broken
            return devices._do_part(job, part)
        """,
        tmp_path,
        monkeypatch,
    )
    with pytest.raises(StoreError, match=r"on cpu with exit code 1: .*RuntimeError: CUDA error: device-side"):
        extract_features(clips, tmp_path / "store", backbone=load_backbone("tiny", **TINY), devices=["cpu"])


def test_an_error_of_ours_comes_back_as_it_is(clips, tmp_path, monkeypatch):
    _let_workers_run(
        """
        def work(job, part):
            return "the disk is full"
        """,
        tmp_path,
        monkeypatch,
    )
    with pytest.raises(ActionDiffError, match="the worker on cpu stopped: the disk is full"):
        extract_features(clips, tmp_path / "store", backbone=load_backbone("tiny", **TINY), devices=["cpu"])


def test_workers_end_with_a_parent_that_is_killed(clips, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, signal
            from actiondiff import extract_features, load_backbone
            from actiondiff.extraction import devices

            class Pool(devices.DevicePool):
                def __init__(self, *arguments):
                    super().__init__(*arguments)
                    pools.append(self)

            def kill(done, total, video):
                print(*(worker.process.pid for worker in pools[0].workers), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

            if __name__ == "__main__":
                pools, devices.DevicePool = [], Pool
                extract_features({str(clips)!r}, {str(tmp_path / "store")!r},
                                 backbone=load_backbone("tiny", **{TINY!r}), devices=["cpu"], progress=kill)
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    worker = int(done.stdout)
    end = time.monotonic() + 60
    while _is_running(worker):
        assert time.monotonic() < end
        time.sleep(0.05)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_an_interrupt_stops_the_workers(clips, tmp_path, monkeypatch):
    pools = []
    _let_workers_run(
        """
        import time
        def work(job, part):
            time.sleep(60)
        """,
        tmp_path,
        monkeypatch,
    )
    monkeypatch.setattr(devices, "DevicePool", lambda *given: pools.append(RealPool(*given)) or pools[-1])
    monkeypatch.setattr("actiondiff.extraction.scheduler.wait", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract_features(clips, tmp_path / "store", backbone=load_backbone("tiny", **TINY), devices=["cpu"])
    assert pools[0].workers[0].process.exitcode == -signal.SIGKILL


def _interrupt(running, **_):
    while not any(future.running() for future in running):
        pass
    time.sleep(1)  # the worker is at work
    raise KeyboardInterrupt


def _let_workers_run(code, folder, monkeypatch):
    """Have workers run the function `work` of this code; they import it from a file."""
    name = f"worker_code_{folder.name}"
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(devices, "_do_part", importlib.import_module(name).work)


def test_the_command(clips, tmp_path, capsys, monkeypatch):
    small = [part for name, value in TINY.items() if name != "device" for part in (f"--{name}", str(value))]
    assert run(["extract", str(clips), "-o", str(tmp_path / "one"), *small, "--device", "cpu"]) == 0
    sizes = []

    def do_here(pool, todo, store, *, progress):
        sizes.append(pool.size)
        do_part(pool.workers[1].job, todo)
        pool.close()

    monkeypatch.setattr(devices, "schedule", do_here)
    assert run(["extract", str(clips), "-o", str(tmp_path / "two"), *small, "--devices", "cpu,cpu"]) == 0
    assert sizes == [2]
    assert "5 videos: 5 done" in capsys.readouterr().out
    assert store_contents(tmp_path / "one") == store_contents(tmp_path / "two")
    assert run(["extract", str(clips), "-o", str(tmp_path / "x"), "--devices", "cpu,0"]) == 1
    assert "got cpu,0" in capsys.readouterr().err
