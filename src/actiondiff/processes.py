"""Processes on this machine: cores and memory that there are for them, and work that is spread over several.

Worker processes are spawned, and do not import the script that started them: a script needs no
`if __name__ == "__main__":`. They end with the process that started them, even if that is killed.
"""

import ctypes
import functools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from actiondiff.errors import ActionDiffError, UsageError

__all__ = [
    "ScriptlessContext",
    "ScriptlessProcess",
    "available_memory",
    "end_with_parent",
    "keep_freed_memory",
    "map_in_processes",
    "num_cores",
]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container, on Linux
_MEMORY = Path("/proc/meminfo")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_LARGEST_FROM_HEAP = 2**25  # bytes; glibc allows no more
_LARGEST_KEPT = 2**28  # bytes


def num_cores() -> int:
    """Number of CPU cores that this process may use: its affinity and its container's quota count."""
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text("ascii").split()
        cores = min(cores, round(int(quota) / int(period)))
    except (OSError, ValueError):  # there is no quota
        pass
    return max(1, cores)


def available_memory() -> int | None:
    """Bytes of memory that this machine has left; None where it is not known (not on Linux)."""
    try:
        lines = _MEMORY.read_text("ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return 1024 * int(fields["MemAvailable"].split()[0]) if "MemAvailable" in fields else None


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep up to 256 MB of memory that it has freed, for its next allocations.

    By default glibc returns the memory of large arrays to the system at once, which fills the next ones with
    zeros, page by page: a tenth to a third of the time of a small network, whose results live shortly.

    Returns:
        Whether that was possible. It is not on other systems than Linux, with other C libraries than glibc,
        and where the environment sets the allocator.
    """
    chosen = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    if sys.platform != "linux" or any(name.startswith(chosen) for name in os.environ):
        return False
    try:
        set_parameter = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    thresholds = ((_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP), (_M_TRIM_THRESHOLD, _LARGEST_KEPT))
    return all(set_parameter(name, value) == 1 for name, value in thresholds)


def map_in_processes(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    workers: int | None = None,
    fewest_items: int = 1,
) -> Iterator[_Result]:
    """Results of a function for each item, in order, computed by several processes.

    Args:
        function: A function of a module; it, the items and the results are sent between processes.
        items: The items.
        workers: Number of processes; with 1, everything happens in this process. None for one per core.
        fewest_items: Number of items that are worth starting a process for, unless `workers` is set.

    Yields:
        The result of each item.

    Raises:
        UsageError: If `workers` is below 1.
        ActionDiffError: If a process dies.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"there must be at least one worker; got {workers}.")
    size = min(workers, len(items)) if workers else min(num_cores(), len(items) // fewest_items)
    if size < 2:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(size, ScriptlessContext(), end_with_parent)
    try:
        pending: deque[Future[_Result]] = deque()
        for item in items:
            # Few results wait, so that memory is bounded.
            if len(pending) == 2 * size:
                yield pending.popleft().result()
            pending.append(pool.submit(function, item))
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise ActionDiffError(
            f"one of {size} worker processes died, perhaps because memory ran out. Run the command again, "
            "with fewer workers if it fails again."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Have this worker process end when the process that started it ends."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class ScriptlessProcess(SpawnProcess):
    """A spawned process that does not import the script that started it."""

    _starting = threading.Lock()

    def start(self) -> None:
        """Start the process; what it imports is found out while it starts."""
        with self._starting:
            script = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = script


class ScriptlessContext(SpawnContext):
    """The context that starts such processes, for executors."""

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        """Make a process."""
        return ScriptlessProcess(*args, **options)
