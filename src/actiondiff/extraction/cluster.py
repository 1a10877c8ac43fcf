"""Extraction by several processes, here or on a Ray cluster: one scheduler, the same worker.

The plan is made once and cut into small parts. A worker process is handed one part at a time and does with
it what a single process does with the whole plan. When a worker dies, its part is halved and put back: what
it had stored is not made again, and a video that kills every worker is soon alone in its part, where it is
recorded as failed. Nothing of this changes a byte of the features.
"""

import json
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from actiondiff.backbones.base import Backbone, load_backbone, specs
from actiondiff.errors import StoreError, UsageError
from actiondiff.extraction.local import Extraction
from actiondiff.extraction.plan import Item
from actiondiff.extraction.worker import work
from actiondiff.features.store import FeatureStore
from actiondiff.types import JSON, FeatureKey, Progress, Sampling

__all__ = ["Job", "Part", "Pool", "WorkerDiedError", "do_part", "part_from_json", "part_to_json", "schedule"]

Part: TypeAlias = tuple[Item, ...]

_LARGEST_PART = 8  # videos; also how often progress is told of
_PARTS_A_WORKER = 4  # at least, so that all end at about the same time
_TRIES = 2  # of a video that is alone in its part
_DEATHS = 5  # of workers in a row, with no part done in between: then it is not the videos' fault


class WorkerDiedError(Exception):
    """A worker process ended before its part was done; says how. Never leaves this package."""


@dataclass(frozen=True)
class Job:
    """What every worker of an extraction is told, once. All of it survives JSON.

    Attributes:
        store: The store's folder, which is there.
        backbone: Name of the backbone.
        weights: Its checkpoint.
        options: Its options in force, as JSON values; the device is each worker's own.
        sampling: Which frames are read, as a store's settings record it.
        decode_threads: As of `work`.
        keep_latents: As of `work`.
    """

    store: str
    backbone: str
    weights: str | None
    options: dict[str, Any]
    sampling: dict[str, JSON]
    decode_threads: int | None = None
    keep_latents: bool = False

    @classmethod
    def of(cls, extraction: Extraction, weights: str | None) -> Self:
        """The job of a planned extraction.

        Raises:
            UsageError: If its backbone cannot be loaded again elsewhere.
        """
        backbone = extraction.backbone
        name = backbone.spec.name
        if name.removeprefix("random-") not in specs() or (
            backbone.spec.weights == "required" and weights is None
        ):
            raise UsageError(
                f"workers load the backbone themselves, and cannot load this {name}: give one by name, with "
                "its weights."
            )
        return cls(
            store=str(extraction.folder.absolute()),
            backbone=name,
            weights=str(Path(weights).absolute()) if weights and Path(weights).exists() else weights,
            options=backbone.options.model_dump(mode="json", exclude_none=True),
            sampling=extraction.sampling.settings,
            decode_threads=extraction.decode_threads,
            keep_latents=extraction.keep_latents,
        )

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    def on(self, device: str) -> "Job":
        """The same on a device."""
        return replace(self, options={**self.options, "device": device})


class Pool(Protocol):
    """Worker processes.

    Attributes:
        size: How many work at the same time.
    """

    size: int

    def submit(self, part: Part) -> "Future[None]":
        """Have a part done; the future raises `WorkerDiedError` if its worker died, else errors of ours."""
        ...

    def close(self) -> None:
        """Stop every worker at once."""
        ...


def schedule(
    pool: Pool, items: Sequence[Item], store: FeatureStore, *, progress: Progress | None = None
) -> None:
    """Have all items done; record those as failed that no worker survives.

    Args:
        pool: Who works. It is closed in the end, whatever happens.
        items: What to do.
        store: Where the workers put it.
        progress: Told after each item.

    Raises:
        StoreError: If workers keep dying whatever they are given.
        ActionDiffError: What stopped a worker, if it was an error of ours.
    """
    queue = deque(_cut(items, pool.size))
    running: dict[Future[None], Part] = {}
    tries: dict[str, int] = {}
    done = deaths = 0
    try:
        while queue or running:
            while queue and len(running) < pool.size:
                part = queue.popleft()
                running[pool.submit(part)] = part
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                part = running.pop(future)
                try:
                    future.result()
                except WorkerDiedError as death:
                    deaths += 1
                    if deaths >= _DEATHS:
                        raise StoreError(
                            f"{deaths} workers died one after the other, the last of them {death}. What was "
                            "done is kept: extract again once that is mended."
                        ) from None
                    if not _give_up(part, tries, store, death):
                        queue.extend(_halves(part))
                        continue
                deaths = 0
                for item in part:
                    done += 1
                    if progress:
                        progress(done, len(items), item.videos[0])
    finally:
        pool.close()


def do_part(job: str, items: Sequence[Item]) -> None:
    """What a worker does with a part: all of it but what a worker that died had stored.

    Args:
        job: A `Job` as JSON.
        items: What to do.

    Raises:
        ActionDiffError: If the store cannot be used, or the weights are other ones here.
    """
    told = Job(**json.loads(job))
    store = FeatureStore.open(told.store)
    backbone = _backbone(job)
    store.check({**store.settings, "backbone": backbone.settings})
    left = [replace(item, keys=tuple(store.missing(item.identity, item.keys))) for item in items]
    todo = [item for item in left if item.keys or (told.keep_latents and not store.latents(item.identity))]
    try:
        work(
            store,
            backbone,
            todo,
            sampling=Sampling.from_settings(told.sampling),
            decode_threads=told.decode_threads,
            keep_latents=told.keep_latents,
        )
    except OSError as error:
        raise StoreError(f"extraction into {store.folder} stopped: {error}") from error


def part_to_json(part: Part) -> str:
    """A part as one line."""
    return json.dumps(
        [
            {**asdict(item), "path": str(item.path.absolute()), "keys": [str(key) for key in item.keys]}
            for item in part
        ]
    )


def part_from_json(text: str) -> Part:
    """The part again."""
    return tuple(
        Item(
            identity=values["identity"],
            videos=tuple(values["videos"]),
            path=Path(values["path"]),
            keys=tuple(FeatureKey.parse(key) for key in values["keys"]),
        )
        for values in json.loads(text)
    )


@lru_cache(maxsize=1)
def _backbone(job: str) -> Backbone:
    """Loaded once a process, however many parts it does."""
    told = Job(**json.loads(job))
    return load_backbone(told.backbone, weights=told.weights, **told.options)


def _cut(items: Sequence[Item], size: int) -> list[Part]:
    """Parts of equal length, small enough that the workers end at about the same time."""
    length = min(_LARGEST_PART, -(-len(items) // (_PARTS_A_WORKER * size)))
    return [tuple(items[start : start + length]) for start in range(0, len(items), max(1, length))]


def _halves(part: Part) -> list[Part]:
    middle = len(part) // 2
    return [half for half in (part[:middle], part[middle:]) if half]


def _give_up(part: Part, tries: dict[str, int], store: FeatureStore, death: WorkerDiedError) -> bool:
    """Whether a part is one video that was tried often enough; it is then recorded as failed."""
    if len(part) > 1:
        return False
    (item,) = part
    tries[item.identity] = tries.get(item.identity, 0) + 1
    if tries[item.identity] < _TRIES:
        return False
    if store.has(item.identity, item.keys):  # it died after that
        return True
    store.fail(item.videos, f"{_TRIES} workers died over it, the last of them {death}")
    return True
