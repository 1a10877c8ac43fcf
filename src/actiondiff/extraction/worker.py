"""The one who does the work: contents through the backbone into the store.

However extraction is started (here, as one of many jobs, on a cluster), `work` is what runs. To do one shard
by hand, plan it and run it: `plan_extraction(videos, store, shard=(i, n)).run()`; `extract --shard i/n`.

Threads read videos ahead of the backbone, the calling thread feeds it, another thread writes: so neither the
disk nor a decoder keeps a GPU waiting. Their pace changes no bit.
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
from actiondiff.backbones.engine.run import run_as_completed
from actiondiff.backbones.engine.windows import WindowInput
from actiondiff.errors import StoreError
from actiondiff.extraction.clips import Clip, KeptClip
from actiondiff.extraction.plan import Item
from actiondiff.features.latent_file import LatentWriter
from actiondiff.features.store import FeatureStore
from actiondiff.types import FeatureKey, Features, Progress, Sampling

__all__ = ["WindowProgress", "work"]

WindowProgress: TypeAlias = Callable[[int], None]
"""Told how many windows passed the backbone, after each batch."""

_Source = TypeVar("_Source", Clip, KeptClip)
_MOST_DECODE_THREADS = 4  # of the default: then decoding is seldom what one waits for
_UNWRITTEN = 8  # results that may wait to be written


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
    """Make what the items lack and store it; record what fails. What is done is kept if it is cut short.

    Args:
        store: Where to. Latents that it holds are used in place of videos.
        backbone: The frozen network.
        items: What to do, in any order; those that lack the same keys share batches.
        sampling: Which frames are read.
        decode_threads: How many videos are read at a time, ahead of the backbone; 0 for none ahead, None for
            as many as there are cores, up to four.
        keep_latents: Whether to store what windows are encoded to, too.
        progress: Called after each content is stored, with its first name.
        on_windows: See `WindowProgress`.

    Raises:
        OSError: If the store cannot be written.
    """
    threads = min(_MOST_DECODE_THREADS, os.cpu_count() or 1) if decode_threads is None else decode_threads
    kept, clips = _sources(store, backbone, items, sampling)
    with _Writer(len(items), progress) as writer:
        for keys, encoded in _by_keys(kept):
            for stored, features in run_as_completed(
                backbone, encoded, keys, decode_threads=min(threads, len(encoded)), progress=on_windows
            ):
                if stored.problem:  # the stored windows are damaged: back to the video
                    clips.append(Clip(stored.item, sampling))
                else:
                    writer.put(partial(_keep, store, stored, features), stored.item)
        for keys, videos in _by_keys(clips):
            latents = _Latents(store, writer) if keep_latents else None
            for clip, features in run_as_completed(
                backbone,
                videos,
                keys,
                decode_threads=min(threads, len(videos)),
                keep=latents.add if latents else None,
                progress=on_windows,
            ):
                if latents:
                    latents.finish(clip, features)
                writer.put(partial(_keep, store, clip, features), clip.item)
        writer.wait()


def _sources(
    store: FeatureStore, backbone: Backbone, items: Sequence[Item], sampling: Sampling
) -> tuple[list[KeptClip], list[Clip]]:
    """Latents where the store has what it takes, videos for the rest."""
    kept: list[KeptClip] = []
    clips: list[Clip] = []
    for item in items:
        if item.keys and isinstance(backbone, TwoStage):
            latents = store.latents(item.identity)
            if latents and latents.suffice_for(item.keys, backbone.encoded_type):
                kept.append(KeptClip(item, latents, backbone.encoded_type))
                continue
        clips.append(Clip(item, sampling))
    return kept, clips


def _by_keys(sources: list[_Source]) -> Iterator[tuple[tuple[FeatureKey, ...], list[_Source]]]:
    """Those that lack the same keys together."""
    ordered = sorted(sources, key=lambda source: source.item.keys)
    for keys, group in groupby(ordered, key=lambda source: source.item.keys):
        yield keys, list(group)


def _keep(store: FeatureStore, source: Clip | KeptClip, features: Features | None) -> None:
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
    """What the windows of videos were encoded to, on its way into the store."""

    def __init__(self, store: FeatureStore, writer: "_Writer") -> None:
        self._store = store
        self._writer = writer
        self._open: dict[Clip, LatentWriter] = {}

    def add(self, clip: Clip, window: WindowInput) -> None:
        """Take a video's next window."""
        if clip not in self._open:
            identity = clip.item.identity
            self._open[clip] = LatentWriter(self._store.folder, identity, self._store.fingerprint)
        full = self._open[clip].add(window)
        if full:
            self._writer.put(full)

    def finish(self, clip: Clip, features: Features | None) -> None:
        """A video has ended; what it lacks of being whole is written if it was read without a problem."""
        opened = self._open.pop(clip, None)
        if opened and features and not clip.problem:
            self._writer.put(opened.finish(features.report))


class _Writer:
    """Writes what it is given one after the other, in a thread of its own, and tells what is stored.

    Args:
        total: How many items there are.
        progress: Told of each.
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
        self._thread.shutdown()  # once all that it was given is written, unless something could not be

    def put(self, job: Callable[[], None], item: Item | None = None) -> None:
        """Have something written; if it is the last of an item, name it. Waits while too much is waiting.

        Raises:
            OSError: If what was given before could not be written.
        """
        self._pending.append((item, self._thread.submit(self._do, job)))
        self.wait(_UNWRITTEN)

    def wait(self, unwritten: int = 0) -> None:
        """Wait until no more than so much is unwritten.

        Raises:
            OSError: If something could not be written.
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
