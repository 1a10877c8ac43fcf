"""Extraction by several worker processes, on this machine or on a Ray cluster.

The plan is made once and cut into small parts. A worker process gets one part at a time and treats it as a
single process treats the whole plan. When a worker dies, its part is halved and put back into the queue.
Features that the worker had stored are not made again, and a video that kills every worker is soon alone in
its part, where it is recorded as failed. None of this changes a byte of the features.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol, Self, TypeAlias

from actiondiff.backbones.base import Backbone, load_backbone, shipped_specs
from actiondiff.backbones.options import BackboneOptions
from actiondiff.errors import StoreError, UsageError
from actiondiff.extraction.plan import Item
from actiondiff.extraction.planned import Extraction
from actiondiff.extraction.worker import work
from actiondiff.features.store import FeatureStore
from actiondiff.types import Progress, Sampling

__all__ = ["Part", "WorkerDiedError", "WorkerJob", "WorkerPool", "do_part", "schedule"]

Part: TypeAlias = tuple[Item, ...]

_LARGEST_PART = 8  # videos; progress is reported as often as a part is done
_PARTS_PER_WORKER = 4  # at least, so that all workers end at about the same time
_ATTEMPTS = 2  # at a video that is alone in its part
_MOST_DEATHS = 5  # of workers in a row, with no part done in between: then the videos are not the cause


class WorkerDiedError(Exception):
    """A worker process ended before its part was done; the message says how. Never leaves this package."""


@dataclass(frozen=True)
class WorkerJob:
    """What every worker of an extraction needs to know. It can be pickled and hashed.

    Attributes:
        store: Folder of the store, which exists.
        backbone: Name of the backbone.
        weights: Checkpoint of the backbone.
        options: Options of the backbone; each worker replaces the device by its own.
        sampling: Which frames are read.
        decode_threads: See `work`.
        keep_latents: See `work`.
    """

    store: str
    backbone: str
    weights: str | None
    options: BackboneOptions
    sampling: Sampling
    decode_threads: int | None = None
    keep_latents: bool = False

    @classmethod
    def of(cls, extraction: Extraction, weights: str | None) -> Self:
        """The job of a planned extraction.

        Args:
            extraction: The planned extraction.
            weights: Checkpoint of the backbone.

        Raises:
            UsageError: If workers could not load the backbone.
        """
        backbone = extraction.backbone
        name = backbone.spec.name
        if name.removeprefix("random-") not in shipped_specs() or (
            backbone.spec.weights in ("required", "own") and weights is None
        ):
            raise UsageError(
                f"workers load the backbone themselves, and cannot load this {name}: give one by name, with "
                "its weights."
            )
        options = backbone.options
        return cls(
            store=str(extraction.folder.absolute()),
            backbone=name,
            weights=str(Path(weights).absolute()) if weights and Path(weights).exists() else weights,
            options=type(options)(**options.model_dump(exclude_none=True)),
            sampling=extraction.sampling,
            decode_threads=extraction.decode_threads,
            keep_latents=extraction.keep_latents,
        )

    def on(self, device: str) -> Self:
        """The same job on a device."""
        return replace(self, options=self.options.model_copy(update={"device": device}))


class WorkerPool(Protocol):
    """Worker processes that parts of a plan can be submitted to.

    Attributes:
        size: Number of parts that are worked on at the same time.
    """

    size: int

    def submit(self, part: Part) -> "Future[None]":
        """Submit a part.

        Returns:
            A future that raises `WorkerDiedError` if the worker died, else `ActionDiffError` if it failed.
        """
        ...

    def close(self) -> None:
        """Stop every worker at once."""
        ...


def schedule(
    pool: WorkerPool, items: Sequence[Item], store: FeatureStore, *, progress: Progress | None = None
) -> None:
    """Have workers do all items; record those as failed that no worker survives.

    Args:
        pool: The workers. The pool is closed in the end, whatever happens.
        items: What to do.
        store: The store that the workers write to.
        progress: Called after each item.

    Raises:
        StoreError: If workers keep dying, whichever items they do.
        ActionDiffError: The error that stopped a worker.
    """
    queue = deque(_cut(items, pool.size))
    running: dict[Future[None], Part] = {}
    attempts: dict[str, int] = {}
    done = deaths = 0
    try:
        while queue or running:
            # No part waits inside the pool: what is not begun can still be divided otherwise.
            while queue and len(running) < pool.size:
                part = queue.popleft()
                running[pool.submit(part)] = part
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                part = running.pop(future)
                try:
                    future.result()
                except WorkerDiedError as death:
                    deaths += 1
                    if deaths >= _MOST_DEATHS:
                        raise StoreError(
                            f"{deaths} workers died one after the other, the last of them {death}. Finished "
                            "features are kept: solve the problem, then run the extraction again."
                        ) from None
                    if not _is_given_up(part, attempts, store, death):
                        queue.extend(_halves(part))
                        continue
                deaths = 0
                for item in part:
                    done += 1
                    if progress:
                        progress(done, len(items), item.videos[0])
    finally:
        pool.close()


def do_part(job: WorkerJob, part: Part) -> None:
    """Do a part in this process, except for what a worker that died had stored already.

    Args:
        job: What the workers of the extraction have in common.
        part: What to do.

    Raises:
        ActionDiffError: If the store cannot be used, or the weights differ from those of the plan.
    """
    store = FeatureStore.open(job.store)
    backbone = _load_backbone(job)
    store.check({**store.settings, "backbone": backbone.settings})
    remaining = [replace(item, keys=tuple(store.missing(item.identity, item.keys))) for item in part]
    todo = [
        item for item in remaining if item.keys or (job.keep_latents and not store.latents(item.identity))
    ]
    try:
        work(
            store,
            backbone,
            todo,
            sampling=job.sampling,
            decode_threads=job.decode_threads,
            keep_latents=job.keep_latents,
        )
    except OSError as error:
        raise StoreError(f"extraction into {store.folder} stopped: {error}") from error


@lru_cache(maxsize=1)
def _load_backbone(job: WorkerJob) -> Backbone:
    """The backbone of a job, loaded once per process."""
    return load_backbone(job.backbone, weights=job.weights, options=job.options)


def _cut(items: Sequence[Item], size: int) -> list[Part]:
    """Parts of equal length, small enough that the workers end at about the same time."""
    length = min(_LARGEST_PART, -(-len(items) // (_PARTS_PER_WORKER * size)))
    return [tuple(items[start : start + length]) for start in range(0, len(items), max(1, length))]


def _halves(part: Part) -> list[Part]:
    middle = len(part) // 2
    return [half for half in (part[:middle], part[middle:]) if half]


def _is_given_up(part: Part, attempts: dict[str, int], store: FeatureStore, death: WorkerDiedError) -> bool:
    """Whether a part is one video that was tried often enough; the video is then recorded as failed."""
    if len(part) > 1:
        return False
    (item,) = part
    attempts[item.identity] = attempts.get(item.identity, 0) + 1
    if attempts[item.identity] < _ATTEMPTS:
        return False
    if store.has(item.identity, item.keys):  # the worker died after it had stored the features
        return True
    store.fail(item.videos, f"{_ATTEMPTS} workers died over it, the last of them {death}")
    return True
