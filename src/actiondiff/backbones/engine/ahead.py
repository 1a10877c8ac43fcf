"""Windows of many videos on their way to a backbone: read one after the other, or ahead of it by threads.

Each thread takes a video, reads it to its end and takes the next. What is ahead is bounded: a batch of
windows waits, and large frames are read by few threads at a time. How windows of different videos mingle
depends on the threads' pace and changes nothing: a window's bits do not depend on its neighbours in a batch.
"""

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actiondiff.backbones.base import Backbone
from actiondiff.types import Frames, Window
from actiondiff.video.windows import iter_windows

if TYPE_CHECKING:
    from actiondiff.backbones.svd.inputs import Encoded

__all__ = ["Arrival", "EncodedVideo", "Source", "WindowInput", "cpu_threads", "read_ahead", "read_in_turn"]

_LARGE = 2 * 2**30  # bytes of frames that threads may hold together, unless a single video needs more
_POLL_SECONDS = 0.1  # how soon a thread that waits notices that nobody wants its windows


@dataclass(frozen=True, eq=False)
class WindowInput:
    """One window on its way into a backbone.

    Attributes:
        window: Its slots.
        identity: Of its video.
        frame_index: (L,) int64, raw index of each slot's frame.
        seconds: (L,) float64, or None.
        pixels: (L, 3, H', W') float32 as the backbone wants them, or (L, H, W, 3) uint8 as decoded; None if
            encoded.
        encoded: What SVD's encoders made of it, with B = 1.
        batch: Rows it was encoded in, if these were fewer than the backbone's own.
    """

    window: Window
    identity: str
    frame_index: NDArray[np.int64]
    seconds: NDArray[np.float64] | None
    pixels: Tensor | None = None
    encoded: "Encoded | None" = None
    batch: int | None = None


class EncodedVideo(ABC):
    """A video whose windows are encoded already; stands where a reader of frames would.

    Attributes:
        report: How decoding went when it was encoded.
    """

    report: Any = None

    @abstractmethod
    def windows(self) -> Iterator[WindowInput]:
        """The windows in order."""


Source: TypeAlias = Iterable[Frames] | EncodedVideo
"""What a video's windows are made from."""


class Arrival(NamedTuple):
    """A window, or the end of a video (`item` is None), and which of the readers it is from."""

    position: int
    reader: Source
    item: WindowInput | None


def read_in_turn(
    backbone: Backbone, readers: Iterable[Source], *, compute_threads: int
) -> Generator[Arrival, None, None]:
    """Windows of one reader after the other, each read when it is asked for.

    Args:
        backbone: Whose windows they are.
        readers: They are taken one by one.
        compute_threads: CPU threads to prepare pixels with.
    """

    def prepare(pixels: Tensor) -> Tensor:
        with cpu_threads(compute_threads):
            return backbone.preprocess(pixels)

    for position, reader in enumerate(readers):
        for item in _inputs(backbone, reader, prepare):
            yield Arrival(position, reader, item)
        yield Arrival(position, reader, None)


def read_ahead(
    backbone: Backbone, readers: Iterable[Source], *, threads: int, compute_threads: int
) -> Generator[Arrival, None, None]:
    """Windows of several readers at a time, each read by a thread; in order within a video.

    Args:
        backbone: Whose windows they are.
        readers: They are taken one by one as threads become free, by one thread at a time.
        threads: How many read.
        compute_threads: CPU threads that each of them prepares pixels with.
    """
    return _Ahead(backbone, readers, threads, compute_threads).arrivals()


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute with so many CPU threads, which decides how some sums are rounded."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _inputs(backbone: Backbone, reader: Source, prepare: Callable[[Tensor], Tensor]) -> Iterator[WindowInput]:
    """A reader's windows; on a CPU pixels are prepared here, on a GPU, which does that faster, later."""
    if isinstance(reader, EncodedVideo):
        yield from reader.windows()
        return
    here = torch.device(backbone.options.device).type == "cpu"
    length, padding = int(backbone.options.window or 1), backbone.options.padding or "black"
    for window, frames in iter_windows(reader, length=length, padding=padding):
        pixels = torch.from_numpy(np.ascontiguousarray(frames.pixels))
        pixels = prepare(pixels) if here else pixels
        yield WindowInput(window, frames.identity, frames.frame_index, frames.seconds, pixels)


class _StoppedError(Exception):
    """Nobody wants the windows any more."""


class _Ahead:
    """The threads of `read_ahead`, and what they share."""

    def __init__(
        self, backbone: Backbone, readers: Iterable[Source], threads: int, compute_threads: int
    ) -> None:
        self._backbone = backbone
        self._readers = enumerate(readers)
        self._taking = threading.Lock()
        self._arrived: queue.Queue[Arrival | BaseException | None] = queue.Queue(
            int(backbone.options.batch or 1)
        )
        self._room = threading.Condition()
        self._held = 0
        self._stop = threading.Event()
        self._ready = threading.Barrier(threads + 1)
        self._compute_threads = compute_threads
        self._threads = [
            threading.Thread(target=self._run, name=f"actiondiff-decode-{n}", daemon=True)
            for n in range(threads)
        ]

    def arrivals(self) -> Generator[Arrival, None, None]:
        for thread in self._threads:
            thread.start()
        # torch settles a new thread's number of threads when it first computes there, and in doing so sets
        # that of the whole process: so all do it now, and none while the network computes.
        before = torch.get_num_threads()
        self._ready.wait()
        torch.set_num_threads(before)
        busy = len(self._threads)
        try:
            while busy:
                arrived = self._arrived.get()
                if arrived is None:
                    busy -= 1
                elif isinstance(arrived, BaseException):
                    raise arrived
                else:
                    yield arrived
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self._compute_threads)
        self._ready.wait()
        try:
            while (taken := self._take()) is not None:
                position, reader = taken
                source = reader if isinstance(reader, EncodedVideo) else self._chunks(reader)
                for item in _inputs(self._backbone, source, self._backbone.preprocess):
                    self._put(Arrival(position, reader, item))
                self._put(Arrival(position, reader, None))
            self._put(None)
        except _StoppedError:
            pass
        except BaseException as error:  # told where windows are taken, whatever it is
            with suppress(_StoppedError):
                self._put(error)

    def _take(self) -> tuple[int, Source] | None:
        with self._taking:
            return None if self._stop.is_set() else next(self._readers, None)

    def _put(self, arrived: "Arrival | BaseException | None") -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._arrived.put(arrived, timeout=_POLL_SECONDS)
                return
        raise _StoppedError

    def _chunks(self, reader: Iterable[Frames]) -> Iterator[Frames]:
        """The reader's chunks, once there is room for a window of its frames and the next one."""
        held = 0
        try:
            for chunk in reader:
                if not held and len(chunk):
                    held = 2 * int(self._backbone.options.window or 1) * chunk.pixels[0].nbytes
                    self._hold(held)
                if self._stop.is_set():
                    raise _StoppedError
                yield chunk
        finally:
            self._release(held)

    def _hold(self, count: int) -> None:
        with self._room:
            while self._held and self._held + count > _LARGE and not self._stop.is_set():
                self._room.wait(_POLL_SECONDS)
            self._held += count

    def _release(self, count: int) -> None:
        with self._room:
            self._held -= count
            self._room.notify_all()
