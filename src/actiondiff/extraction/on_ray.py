"""Worker processes that Ray places on a cluster, or on this machine. Ray's core alone is used."""

import os
from concurrent.futures import Future
from importlib.util import find_spec
from typing import Any

from actiondiff.errors import ActionDiffError, MissingExtraError, UsageError
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

__all__ = ["RayPool", "on_ray"]


def on_ray(address: str | None = None, *, workers: int | None = None, weights: str | None = None) -> Do:
    """Workers on a Ray cluster; see `RayPool`.

    Raises:
        MissingExtraError: If Ray is not installed.
        UsageError: If there is to be no worker.
    """
    if find_spec("ray") is None:
        raise MissingExtraError("engine ray", "ray")
    if workers is not None and workers < 1:
        raise UsageError(f"there must be at least one worker; got {workers}.")

    def do(extraction: Extraction, store: FeatureStore, progress: Progress | None) -> None:
        todo = extraction.plan.todo
        if todo:
            pool = RayPool(Job.of(extraction, weights), address=address, workers=workers)
            schedule(pool, todo, store, progress=progress)

    return do


class RayPool:
    """As many workers as a Ray cluster has room for.

    Videos and store must be at the same paths on all its machines, and this package installed.

    Args:
        job: What the workers are to do.
        address: Of the cluster, for example `auto` or `ray://host:10001`; None starts one on this machine.
        workers: How many; None for one a GPU, or on CPUs for as many as its CPUs have room for.

    Raises:
        UsageError: If there is no such cluster, or it has no room for a worker.
    """

    def __init__(self, job: Job, *, address: str | None = None, workers: int | None = None) -> None:
        import ray

        on_gpu = str(job.options["device"]).startswith("cuda")
        threads = 1 if on_gpu else int(job.options.get("threads", 1))
        self._ray, self._owned = ray, not ray.is_initialized()
        if self._owned:
            _connect(ray, address, num_cpus=workers * threads if workers else None)
        room = _room(ray, "GPU" if on_gpu else "CPU", 1 if on_gpu else threads)
        if not room:
            self.close()
            what = "a GPU. Give --device cpu" if on_gpu else f"{threads} CPUs. Give fewer --threads"
            raise UsageError(f"no machine of this Ray cluster has {what}, or another --ray-address.")
        self.size = workers or room
        # Ray's own retries are off: a part that killed its worker is halved before it is tried again.
        resources = {"num_cpus": threads, "num_gpus": 1 if on_gpu else 0}
        self._do = ray.remote(_do_part).options(max_retries=0, **resources)
        self._job = job.on("cuda" if on_gpu else "cpu").to_json()

    def submit(self, part: Part) -> "Future[None]":
        """See `Pool.submit`."""
        future: Future[None] = Future()
        self._do.remote(self._job, part_to_json(part)).future().add_done_callback(
            lambda done: self._settle(done, future)
        )
        return future

    def close(self) -> None:
        """Stop every worker at once; a cluster that was there before goes on."""
        if self._owned:
            self._ray.shutdown()

    def _settle(self, done: "Future[Any]", future: "Future[None]") -> None:
        """Tell how a task ended in this package's words."""
        died = done.exception()
        if died is not None:
            lines = [line.strip() for line in str(died).splitlines() if line.strip()]
            future.set_exception(
                WorkerDiedError(f"on Ray: {type(died).__name__}: {lines[-1] if lines else ''}")
            )
        elif done.result() is not None:
            future.set_exception(ActionDiffError(f"a worker on Ray stopped: {done.result()}"))
        else:
            future.set_result(None)


def _connect(ray: Any, address: str | None, *, num_cpus: int | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local: dict[str, Any] = {"include_dashboard": False, "num_cpus": num_cpus} if address is None else {}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"no Ray cluster can be reached at {address or 'this machine'}: {error}") from None


def _room(ray: Any, resource: str, needed: int) -> int:
    """How many workers that need so much of a resource there is room for."""
    nodes = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return sum(int(resources.get(resource, 0) // needed) for resources in nodes)


def _do_part(job: str, part: str) -> str | None:
    """What Ray runs; errors of ours come back as text, whatever they are made of."""
    try:
        do_part(job, part_from_json(part))
    except ActionDiffError as error:
        return str(error)
    return None
