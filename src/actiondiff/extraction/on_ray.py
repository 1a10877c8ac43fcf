"""Worker processes that Ray places on a cluster or on this machine. Only the core of Ray is used."""

import os
from concurrent.futures import Future
from importlib.util import find_spec
from typing import Any

from actiondiff.errors import ActionDiffError, MissingExtraError, UsageError
from actiondiff.extraction.planned import Extraction, Runner
from actiondiff.extraction.scheduler import Part, WorkerDiedError, WorkerJob, do_part, schedule
from actiondiff.features.store import FeatureStore
from actiondiff.types import Progress

__all__ = ["RayPool", "on_ray"]


def on_ray(address: str | None = None, *, workers: int | None = None, weights: str | None = None) -> Runner:
    """A runner with workers on a Ray cluster; see `RayPool`.

    Args:
        address: Address of the cluster.
        workers: Number of workers.
        weights: Checkpoint of the backbone.

    Raises:
        MissingExtraError: If Ray is not installed.
        UsageError: If the number of workers is below 1.
    """
    if find_spec("ray") is None:
        raise MissingExtraError("engine ray", "ray")
    if workers is not None and workers < 1:
        raise UsageError(f"there must be at least one worker; got {workers}.")

    def runner(extraction: Extraction, store: FeatureStore, progress: Progress | None) -> None:
        todo = extraction.plan.todo
        if todo:
            pool = RayPool(WorkerJob.of(extraction, weights), address=address, workers=workers)
            schedule(pool, todo, store, progress=progress)

    return runner


class RayPool:
    """As many workers as a Ray cluster has room for.

    On all machines of the cluster, videos and store must be at the same paths, and this package installed.

    Args:
        job: What the workers have in common.
        address: Address of the cluster, for example `auto` or `ray://host:10001`; None starts a cluster on
            this machine.
        workers: Number of workers; None for one per GPU, or on CPUs for as many as there are CPUs for.

    Raises:
        UsageError: If there is no such cluster, or it has no room for a worker.
    """

    def __init__(self, job: WorkerJob, *, address: str | None = None, workers: int | None = None) -> None:
        import ray

        on_gpu = job.options.device.startswith("cuda")
        threads = 1 if on_gpu else int(job.options.threads or 1)
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
        self._job = job.on("cuda" if on_gpu else "cpu")

    def submit(self, part: Part) -> "Future[None]":
        """See `WorkerPool.submit`."""
        future: Future[None] = Future()
        self._do.remote(self._job, part).future().add_done_callback(lambda done: self._settle(done, future))
        return future

    def close(self) -> None:
        """Stop every worker at once; a cluster that was running before keeps running."""
        if self._owned:
            self._ray.shutdown()

    def _settle(self, done: "Future[Any]", future: "Future[None]") -> None:
        """Pass on how a task ended, with errors of this package."""
        error = done.exception()
        if error is not None:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            future.set_exception(
                WorkerDiedError(f"on Ray: {type(error).__name__}: {lines[-1] if lines else ''}")
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
    """Number of workers that there is room for, if each needs this much of a resource."""
    nodes = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return sum(int(resources.get(resource, 0) // needed) for resources in nodes)


def _do_part(job: WorkerJob, part: Part) -> str | None:
    """What Ray runs. An error of ours is returned as text, since not every error can be pickled."""
    try:
        do_part(job, part)
    except ActionDiffError as error:
        return str(error)
    return None
