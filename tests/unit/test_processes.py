"""Work in several processes: results in order, errors passed on, and no script that is run again."""

import os
import subprocess
import sys
import time

import pytest

from actiondiff import processes
from actiondiff.errors import ActionDiffError, UsageError
from actiondiff.processes import map_in_processes, num_cores


def number_and_process(number):
    time.sleep(0.3 if number == 0 else 0.01)  # the first result is not the first that is ready
    return number, os.getpid()


def fail(number):
    raise UsageError(f"got {number}")


def die(number):
    os._exit(7)


def test_results_are_in_order_and_come_from_several_processes():
    numbers, ids = zip(*map_in_processes(number_and_process, range(12), workers=2), strict=True)
    assert numbers == tuple(range(12))
    assert len(set(ids)) == 2
    assert os.getpid() not in ids


def test_one_worker_and_few_items_stay_in_this_process(monkeypatch):
    monkeypatch.setattr(processes, "num_cores", lambda: 4)
    for options in ({"workers": 1}, {"fewest_items": 4}):
        assert {process for _, process in map_in_processes(number_and_process, range(7), **options)} == {
            os.getpid()
        }


def test_errors_are_passed_on():
    with pytest.raises(UsageError, match="got 0"):
        list(map_in_processes(fail, range(3), workers=2))
    with pytest.raises(ActionDiffError, match="worker processes died"):
        list(map_in_processes(die, range(3), workers=2))
    with pytest.raises(UsageError, match="at least one worker; got 0"):
        list(map_in_processes(fail, range(3), workers=0))


def test_the_script_is_not_run_again_by_the_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from math import factorial\n"
        "from actiondiff.processes import map_in_processes\n"
        "print('script runs', list(map_in_processes(factorial, [3, 4, 5], workers=2)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "script runs [6, 24, 120]\n"


def test_a_quota_of_the_container_limits_the_cores(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(processes, "_QUOTA", quota)
    everything = num_cores()
    quota.write_text("max 100000\n")
    assert num_cores() == everything
    quota.write_text("100000 100000\n")
    assert num_cores() == 1


_EXTRACT = """
import resource
import torch
import actiondiff
from actiondiff import processes
from tests.conftest import random_frames

torch.set_num_threads(1)
backbone = actiondiff.load_backbone("tiny", device="cpu")
video = random_frames(32)
for _ in range(2):
    backbone.extract(video)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    backbone.extract(video)
print(processes.keep_freed_memory(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is set on Linux")
def test_memory_is_kept_between_batches_unless_the_environment_sets_the_allocator():
    chosen = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(chosen)}

    def run(**more):
        done = subprocess.run(
            [sys.executable, "-c", _EXTRACT],
            env={**environment, **more}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        possible, faults = done.stdout.split()
        return possible == "True", int(faults)

    possible, faults = run()
    if not possible:
        pytest.skip("the C library is not glibc")
    assert faults < 2000  # 160 were measured; 24,000 to 95,000 without
    possible, faults = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert not possible
    assert faults > 10000
