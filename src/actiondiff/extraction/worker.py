"""The one who does the work: contents through the backbone into the store, one after the other.

However extraction is started (here, as one of many jobs, on a cluster), this is what runs.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.run import run
from actiondiff.errors import StoreError, VideoError
from actiondiff.extraction.plan import Item
from actiondiff.features.store import FeatureStore
from actiondiff.types import Features, Frames
from actiondiff.video.decode import VideoReader, iter_video

__all__ = ["Progress", "work"]

Progress: TypeAlias = Callable[[int, int, str], None]
"""`progress(done, total, video)` is called after each content; `video` is its first name."""


def work(
    store: FeatureStore,
    backbone: Backbone,
    items: Sequence[Item],
    *,
    stride: int | None,
    fps: float | None,
    progress: Progress | None = None,
) -> None:
    """Make what the items lack and store it; record what fails. What is done is kept if it is cut short.

    Args:
        store: Where to.
        backbone: The frozen network.
        items: What to do, in any order; those that lack the same keys share batches.
        stride: As in `iter_video`.
        fps: As in `iter_video`.
        progress: Told after each item.
    """
    done = 0
    for keys, group in groupby(sorted(items, key=lambda item: item.keys), key=lambda item: item.keys):
        pending: deque[_Pending] = deque()
        for features in run(backbone, _readers(group, pending, stride, fps), keys):
            item, reader = pending.popleft()
            _keep(store, item, reader, features)
            done += 1
            if progress:
                progress(done, len(items), item.videos[0])


_Pending: TypeAlias = tuple[Item, VideoReader | VideoError]


def _readers(
    items: Iterable[Item], pending: "deque[_Pending]", stride: int | None, fps: float | None
) -> Iterator[Iterable[Frames]]:
    """A reader for each item, which it is noted with; an empty one where the file cannot be read."""
    for item in items:
        try:
            reader = iter_video(item.path, stride=stride, fps=fps)
            if reader.identity != item.identity:
                raise VideoError("the file changed after extraction had begun; extract again")
        except VideoError as error:
            pending.append((item, error))
            yield []
        else:
            pending.append((item, reader))
            yield reader


def _keep(
    store: FeatureStore, item: Item, reader: VideoReader | VideoError, features: Features | None
) -> None:
    """Store features, or record why there are none."""
    if isinstance(reader, VideoError):
        store.fail(item.videos, str(reader))
    elif features is None:
        store.fail(item.videos, reader.report.reason, identity=item.identity)
    else:
        try:
            store.write(item.videos, features)
        except StoreError as error:
            store.fail(item.videos, str(error))
