"""Extraction worker: runs videos through the backbone and writes their features to the store.

`work` runs however an extraction is started: in this process, as one of many jobs, or on a cluster. To do
one shard by hand, plan it and run it: `plan_extraction(videos, store, shard=(i, n)).run()`, or
`actiondiff extract --shard i/n`.

Threads read videos ahead of the backbone, the calling thread runs the backbone, and another thread writes, so
that a GPU waits neither for decoding nor for the disk. The speed of the threads changes no bit.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import Self, TypeAlias, TypeVar

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.engine.encoding import TwoStage
from actiondiff.backbones.engine.run import extract_as_completed
from actiondiff.backbones.engine.windows import WindowInput
from actiondiff.errors import StoreError
from actiondiff.extraction.plan import Item
from actiondiff.extraction.sources import LatentSource, VideoSource
from actiondiff.features.latent_file import LatentWriter
from actiondiff.features.store import FeatureStore
from actiondiff.types import FeatureKey, Features, Progress, Sampling

__all__ = ["WindowProgress", "work"]

WindowProgress: TypeAlias = Callable[[int], None]
"""A function that is called after each batch with the number of windows in it."""

_ItemSource = TypeVar("_ItemSource", VideoSource, LatentSource)
_MOST_DECODE_THREADS = 4  # by default; with four, decoding is seldom the bottleneck
_UNWRITTEN = 8  # results that may wait to be written before the backbone waits


def work(
    store: FeatureStore,
    backbone: Backbone,
    items: Sequence[Item],
    *,
    sampling: Sampling,
    decode_threads: int | None = None,
    keep_latents: bool = False,
    progress: Progress | None = None,
    on_windows: WindowProgress | None = None,
) -> None:
    """Make the features that items lack, and store them; record what fails.

    Finished features are kept if the work is interrupted.

    Args:
        store: The store. Latents that it holds are used in place of videos.
        backbone: The frozen network.
        items: What to do, in any order; items that lack the same features share batches.
        sampling: Which frames are read.
        decode_threads: How many videos are read at the same time, ahead of the backbone; 0 to read none
            ahead, None for one per core, at most four.
        keep_latents: Whether to store the encoded windows, too.
        progress: Called after each content is stored, with the content's first name.
        on_windows: Called after each batch.

    Raises:
        OSError: If the store cannot be written.
    """
    threads = min(_MOST_DECODE_THREADS, os.cpu_count() or 1) if decode_threads is None else decode_threads
    from_latents, from_videos = _sources(store, backbone, items, sampling)
    with _Writer(len(items), progress) as writer:
        # Contents with stored latents need no decoding and no encoder.
        for keys, encoded in _by_keys(from_latents):
            for source, features in extract_as_completed(
                backbone, encoded, keys, decode_threads=min(threads, len(encoded)), progress=on_windows
            ):
                if source.problem:  # the latents are damaged: the video is used after all
                    from_videos.append(VideoSource(source.item, sampling))
                else:
                    writer.put(partial(_store, store, source, features), source.item)
        for keys, videos in _by_keys(from_videos):
            latents = _Latents(store, writer) if keep_latents else None
            for video, features in extract_as_completed(
                backbone,
                videos,
                keys,
                decode_threads=min(threads, len(videos)),
                keep=latents.add if latents else None,
                progress=on_windows,
            ):
                if latents:
                    latents.finish(video, features)
                writer.put(partial(_store, store, video, features), video.item)
        writer.wait()


def _sources(
    store: FeatureStore, backbone: Backbone, items: Sequence[Item], sampling: Sampling
) -> tuple[list[LatentSource], list[VideoSource]]:
    """Latents of the contents for which the store has all that is needed, and videos of the others."""
    from_latents: list[LatentSource] = []
    from_videos: list[VideoSource] = []
    for item in items:
        if item.keys and isinstance(backbone, TwoStage):
            latents = store.latents(item.identity)
            if latents and latents.suffice_for(item.keys, backbone.encoded_type):
                from_latents.append(LatentSource(item, latents, backbone.encoded_type))
                continue
        from_videos.append(VideoSource(item, sampling))
    return from_latents, from_videos


def _by_keys(sources: list[_ItemSource]) -> Iterator[tuple[tuple[FeatureKey, ...], list[_ItemSource]]]:
    """Groups of sources that lack the same features."""
    ordered = sorted(sources, key=lambda source: source.item.keys)
    for keys, group in groupby(ordered, key=lambda source: source.item.keys):
        yield keys, list(group)


def _store(store: FeatureStore, source: VideoSource | LatentSource, features: Features | None) -> None:
    """Store features, or record why there are none."""
    item = source.item
    if source.problem:
        store.fail(item.videos, source.problem)
    elif features is None:
        reason = source.report.reason if source.report else "no frame can be decoded"
        store.fail(item.videos, reason, identity=item.identity)
    elif features.tokens:  # else only latents were asked for
        try:
            store.write(item.videos, features)
        except StoreError as error:
            store.fail(item.videos, str(error))


class _Latents:
    """Collects the encoded windows of videos, and has them written to the store."""

    def __init__(self, store: FeatureStore, writer: "_Writer") -> None:
        self._store = store
        self._writer = writer
        self._open: dict[VideoSource, LatentWriter] = {}

    def add(self, video: VideoSource, window: WindowInput) -> None:
        """Add the next window of a video."""
        if video not in self._open:
            identity = video.item.identity
            self._open[video] = LatentWriter(self._store.folder, identity, self._store.fingerprint)
        write_batch = self._open[video].add(window)
        if write_batch:
            self._writer.put(write_batch)

    def finish(self, video: VideoSource, features: Features | None) -> None:
        """Have the last windows of a video written, unless there was a problem in reading the video."""
        opened = self._open.pop(video, None)
        if opened and features and not video.problem:
            self._writer.put(opened.finish(features.report))


class _Writer:
    """Does writing jobs one after the other in a thread of its own, and reports which items are stored.

    Args:
        total: Number of items.
        progress: Called after each item is stored.
    """

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="actiondiff-write")
        self._pending: deque[tuple[Item | None, Future[None]]] = deque()
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()  # waits until all jobs are done, or one has failed

    def put(self, job: Callable[[], None], item: Item | None = None) -> None:
        """Add a job; wait if too many jobs are waiting already.

        Args:
            job: Writes something.
            item: The item that is stored completely once the job is done; None if more jobs follow.

        Raises:
            OSError: If an earlier job could not write.
        """
        self._pending.append((item, self._thread.submit(self._do, job)))
        self.wait(_UNWRITTEN)

    def wait(self, unwritten: int = 0) -> None:
        """Wait until no more than this number of jobs is left.

        Raises:
            OSError: If a job could not write.
        """
        while self._pending and (len(self._pending) > unwritten or self._pending[0][1].done()):
            item, future = self._pending.popleft()
            future.result()
            if item:
                self._done += 1
                if self._progress:
                    self._progress(self._done, self._total, item.videos[0])

    def _do(self, job: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            job()
        except BaseException:
            self._failed = True
            raise
