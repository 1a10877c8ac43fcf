"""Worker processes on this machine, one per device.

Each device has an executor with one spawned process. A process that dies breaks its executor only, which is
then replaced. Processes end with the process that started them, even if that is killed.
"""

import os
import queue
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from actiondiff.errors import ActionDiffError, UsageError
from actiondiff.extraction.planned import Extraction, Runner
from actiondiff.extraction.scheduler import Part, WorkerDiedError, WorkerJob, do_part, schedule
from actiondiff.features.store import FeatureStore
from actiondiff.processes import ScriptlessContext, ScriptlessProcess, end_with_parent
from actiondiff.types import Progress

__all__ = ["DevicePool", "device_names", "on_devices"]

_TAIL = 400  # characters of a dead worker's last output that messages quote


def device_names(devices: Sequence[str]) -> list[str]:
    """Devices as torch names them: `0` is `cuda:0`.

    Raises:
        UsageError: If there is none, one is not a device, or CPU and GPU are mixed.
    """
    names = [f"cuda:{name}" if name.isdecimal() else name for name in devices]
    kinds = {name.partition(":")[0] for name in names}
    if len(kinds) != 1 or not kinds <= {"cpu", "cuda"}:
        raise UsageError(
            "devices are numbers of GPUs, or cpu several times, but not both, as features differ in the last "
            f"bits; for example 0,1 or cpu,cpu; got {','.join(devices) or 'none'}."
        )
    return names


def on_devices(devices: Sequence[str], *, weights: str | None = None) -> Runner:
    """A runner with one worker process per device.

    Args:
        devices: For example `0`, `cuda:1`, or `cpu` several times.
        weights: Checkpoint of the backbone.

    Raises:
        UsageError: See `device_names`.
    """
    names = device_names(devices)

    def runner(extraction: Extraction, store: FeatureStore, progress: Progress | None) -> None:
        loaded_for = extraction.backbone.options.device
        if loaded_for.partition(":")[0] != names[0].partition(":")[0]:
            raise UsageError(f"this backbone was loaded for {loaded_for}; the workers are on {names[0]}.")
        job = WorkerJob.of(extraction, weights)
        if job.decode_threads is None and names[0] == "cpu" and len(names) > 1:
            job = replace(job, decode_threads=1)  # the other cores have their own workers
        pool = DevicePool(job, names)
        schedule(pool, extraction.plan.todo, store, progress=progress)

    return runner


class DevicePool:
    """One worker process per device, started when it is first needed and replaced after it died.

    Args:
        job: What the workers have in common.
        devices: Devices as torch names them; one may be named several times.
    """

    def __init__(self, job: WorkerJob, devices: Sequence[str]) -> None:
        self.size = len(devices)
        self._outputs = tempfile.TemporaryDirectory(prefix="actiondiff-", ignore_cleanup_errors=True)
        self.workers = [
            DeviceWorker(job.on(device), Path(self._outputs.name, f"{number}.txt"))
            for number, device in enumerate(devices)
        ]
        self._idle: queue.SimpleQueue[DeviceWorker] = queue.SimpleQueue()
        for worker in self.workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(self.size, thread_name_prefix="actiondiff-device")

    def submit(self, part: Part) -> "Future[None]":
        """See `WorkerPool.submit`."""
        return self._threads.submit(self._do, part)

    def close(self) -> None:
        """Stop every worker at once; no file is ever left half-written."""
        for worker in self.workers:
            worker.stop()
        self._threads.shutdown(cancel_futures=True)
        for worker in self.workers:
            worker.close()
        self._outputs.cleanup()

    def _do(self, part: Part) -> None:
        worker = self._idle.get()
        try:
            worker.do(part)
        finally:
            self._idle.put(worker)


class DeviceWorker:
    """The worker process of one device.

    Args:
        job: What the worker needs to know.
        output: File that the worker's output goes to, so that messages can quote it.

    Attributes:
        job: As given.
        process: The process; None before it is first needed.
    """

    def __init__(self, job: WorkerJob, output: Path) -> None:
        self.job = job
        self.process: SpawnProcess | None = None
        self._output = output
        self._executor: ProcessPoolExecutor | None = None
        self._is_stopped = False
        self._starting = threading.Lock()

    def do(self, part: Part) -> None:
        """Do a part, and wait until it is done.

        Raises:
            WorkerDiedError: If the process ended before.
            ActionDiffError: The error that the worker stopped at.
        """
        executor, future = self._submit(part)
        try:
            problem = future.result()
        except BrokenProcessPool:
            raise WorkerDiedError(self._cause_of_death(executor)) from None
        if problem is not None:
            raise ActionDiffError(f"the worker on {self.job.options.device} stopped: {problem}")

    def stop(self) -> None:
        """End the process, and start no other."""
        with self._starting:
            self._is_stopped = True
            if self.process:
                self.process.kill()

    def close(self) -> None:
        """Release the executor, once the process has been stopped and nobody waits for its part."""
        if self._executor:
            self._executor.shutdown()

    def _submit(self, part: Part) -> "tuple[ProcessPoolExecutor, Future[str | None]]":
        """Submit a part to the process; start one if there is none, or if it died."""
        with self._starting:
            if self._is_stopped:
                raise WorkerDiedError("it was stopped")
            if self._executor and self.process and self.process.is_alive():
                try:
                    return self._executor, self._executor.submit(_do_part, self.job, part)
                except BrokenProcessPool:  # it died just now
                    pass
            if self._executor:
                self._executor.shutdown()
            self._output.write_bytes(b"")
            self._executor = ProcessPoolExecutor(1, _Spawn(self), _start, (self._output,))
            return self._executor, self._executor.submit(_do_part, self.job, part)

    def _cause_of_death(self, executor: ProcessPoolExecutor) -> str:
        executor.shutdown()  # waits until the exit code is known
        code = self.process.exitcode if self.process else None
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        lines = self._output.read_bytes().decode("utf-8", "replace").splitlines()
        last_output = " / ".join(line.strip() for line in lines if line.strip())[-_TAIL:]
        return f"on {self.job.options.device} {how}{': ' + last_output if last_output else ''}"


class _Spawn(ScriptlessContext):
    """The way in which an executor starts its process, which lets the worker know of the process.

    Executors neither tell how a process ended nor stop it before its work is done.
    """

    def __init__(self, worker: DeviceWorker) -> None:
        super().__init__()
        self._worker = worker

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        self._worker.process = ScriptlessProcess(*args, **options)
        return self._worker.process


def _start(output: Path) -> None:
    """Prepare a worker process.

    Its output goes to a file. It ignores Ctrl-C, which reaches all processes of a terminal and is the
    parent's to handle, and it ends with its parent.
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()  # what is stored is complete; the next extraction does the rest


def _do_part(job: WorkerJob, part: Part) -> str | None:
    """What the process runs. An error of ours is returned as text; any other ends the process.

    After an error that is not ours the state of the process, such as that of its GPU, cannot be trusted.
    """
    try:
        do_part(job, part)
    except ActionDiffError as error:
        return str(error)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    return None
