"""Worker processes on this machine, one a device.

Parent and worker speak in lines: a job, then parts, go in by standard input; an answer to each part comes
out. A worker whose parent is gone finds its input closed, and ends.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import IO

from actiondiff.errors import ActionDiffError, UsageError
from actiondiff.extraction.cluster import (
    Job,
    Part,
    WorkerDiedError,
    do_part,
    part_from_json,
    part_to_json,
    schedule,
)
from actiondiff.extraction.local import Do, Extraction
from actiondiff.features.store import FeatureStore
from actiondiff.types import Progress

__all__ = ["DevicePool", "device_names", "on_devices", "serve"]

_COMMAND = "from actiondiff.extraction.devices import serve; serve()"
_TAIL = 400  # characters of what a dead worker said last


def device_names(devices: Sequence[str]) -> list[str]:
    """Devices as torch calls them: `0` is `cuda:0`.

    Raises:
        UsageError: If there is none, one is no device, or CPU and GPU are mixed.
    """
    names = [f"cuda:{name}" if name.isdecimal() else name for name in devices]
    kinds = {name.partition(":")[0] for name in names}
    if len(kinds) != 1 or not kinds <= {"cpu", "cuda"}:
        raise UsageError(
            "devices are numbers of GPUs, or cpu several times, but not both, as features differ in the last "
            f"bits; for example 0,1 or cpu,cpu; got {','.join(devices) or 'none'}."
        )
    return names


def on_devices(devices: Sequence[str], *, weights: str | None = None) -> Do:
    """A worker process for each device.

    Args:
        devices: For example `0`, `cuda:1`, or `cpu` several times.
        weights: Where the backbone's weights are.

    Raises:
        UsageError: See `device_names`.
    """
    names = device_names(devices)

    def do(extraction: Extraction, store: FeatureStore, progress: Progress | None) -> None:
        loaded_for = extraction.backbone.options.device
        if loaded_for.partition(":")[0] != names[0].partition(":")[0]:
            raise UsageError(f"this backbone was loaded for {loaded_for}; the workers are on {names[0]}.")
        pool = DevicePool(Job.of(extraction, weights), names)
        schedule(pool, extraction.plan.todo, store, progress=progress)

    return do


class DevicePool:
    """A worker process for each device, started when it is first needed, and anew after it died.

    Args:
        job: What the workers are to do.
        devices: As torch calls them; one may be named several times.
    """

    def __init__(self, job: Job, devices: Sequence[str]) -> None:
        self.size = len(devices)
        self._workers = [_Worker(job.on(device)) for device in devices]
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._threads = ThreadPoolExecutor(self.size, thread_name_prefix="actiondiff-device")

    def submit(self, part: Part) -> "Future[None]":
        """See `Pool.submit`."""
        return self._threads.submit(self._do, part)

    def close(self) -> None:
        """Stop every worker at once; nothing they wrote is ever half-written."""
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.bury()

    def _do(self, part: Part) -> None:
        worker = self._free.get()
        try:
            worker.do(part)
        finally:
            self._free.put(worker)


class _Worker:
    """One process, and how it is spoken to."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process: subprocess.Popen[str] | None = None
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # stderr, of all processes in turn
        self._stopped = False
        self._starting = threading.Lock()

    def do(self, part: Part) -> None:
        """Have a part done.

        Raises:
            WorkerDiedError: If the process ended before.
            ActionDiffError: What it stopped at.
        """
        process, first = self._started()
        try:
            answer = _ask(process, first + part_to_json(part) + "\n")
        except OSError:  # a closed pipe
            answer = ""
        if not answer:
            raise WorkerDiedError(self._obituary(process))
        error = json.loads(answer)["error"]
        if error:
            raise ActionDiffError(f"the worker on {self._job.options['device']} stopped: {error}")

    def stop(self) -> None:
        """End the process, and start no other."""
        with self._starting:
            self._stopped = True
            if self._process:
                self._process.kill()

    def bury(self) -> None:
        """Close what it was spoken to by, once nobody waits for its answer."""
        if self._process:
            self._process.wait()
            _close(self._process)
        self._said.close()

    def _started(self) -> "tuple[subprocess.Popen[str], str]":
        """The process, and what it is to be told before all else."""
        with self._starting:
            if self._stopped:
                raise WorkerDiedError("it was stopped")
            if self._process and self._process.poll() is None:
                return self._process, ""
            if self._process:
                _close(self._process)
            self._said.seek(0)  # the process writes where this stands
            self._said.truncate()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
                start_new_session=True,  # Ctrl-C in a terminal reaches the parent alone
            )
            return self._process, self._job.to_json() + "\n"

    def _obituary(self, process: "subprocess.Popen[str]") -> str:
        code = process.wait()
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").splitlines()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        said = " / ".join(line.strip() for line in lines if line.strip())[-_TAIL:]
        return f"on {self._job.options['device']} {how}{': ' + said if said else ''}"


def _ask(process: "subprocess.Popen[str]", lines: str) -> str:
    """What a process answers; nothing if it ends instead."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(lines)
    process.stdin.flush()
    return process.stdout.readline()


def _close(process: "subprocess.Popen[str]") -> None:
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe:
                pipe.close()


def serve() -> None:
    """Be a worker: do what comes in by standard input, until it is closed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints, prints to stderr
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    job = lines.get()
    while True:
        part = part_from_json(lines.get())
        error = None
        try:
            do_part(job, part)
        except ActionDiffError as caught:
            error = str(caught)
        print(json.dumps({"error": error}), file=answers, flush=True)


def _listen(lines: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)  # the parent is gone, or done; what is stored is whole, and the rest is redone
