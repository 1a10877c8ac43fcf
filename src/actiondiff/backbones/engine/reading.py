"""Reads the windows of many videos for a backbone: one video after the other, or ahead of it by threads.

Each thread takes a video, reads it to its end and takes the next one. How far threads read ahead is bounded:
one batch of windows waits, and few threads at a time read large frames. How windows of different videos
interleave depends on the pace of the threads and changes no result, because the numbers of a window do not
depend on the other windows in its batch.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from torch import Tensor

from actiondiff.backbones.base import Backbone
from actiondiff.backbones.engine.precision import cpu_threads
from actiondiff.backbones.engine.windows import (
    EncodedVideo,
    FrameReader,
    FrameSequence,
    Source,
    WindowInput,
    WindowSource,
)
from actiondiff.types import Appearance, Frames
from actiondiff.video.windows import iter_windows

__all__ = ["Arrival", "read_ahead", "read_in_turn"]

_LARGE = 2 * 2**30  # bytes of frames that all threads together may hold, unless one video needs more
_POLL_SECONDS = 0.1  # how soon a waiting thread notices that its windows are no longer wanted


@dataclass(frozen=True)
class Arrival(Generic[Source]):
    """A window that was read, or the end of a video.

    Attributes:
        position: Position of the video among the readers.
        reader: The video's reader.
        item: The window; None at the end of the video.
    """

    position: int
    reader: Source
    item: WindowInput | None


def read_in_turn(
    backbone: Backbone, readers: Iterable[Source], *, compute_threads: int
) -> Generator[Arrival[Source], None, None]:
    """Windows of one reader after the other, each read when it is asked for.

    Args:
        backbone: The backbone that the windows are for.
        readers: One reader per video, taken one by one.
        compute_threads: CPU threads used to preprocess pixels.
    """

    def prepare(pixels: Tensor) -> Tensor:
        with cpu_threads(compute_threads):
            return backbone.preprocess(pixels)

    for position, reader in enumerate(readers):
        for item in _windows(backbone, reader, prepare):
            yield Arrival(position, reader, item)
        yield Arrival(position, reader, None)


def read_ahead(
    backbone: Backbone, readers: Iterable[Source], *, threads: int, compute_threads: int
) -> Generator[Arrival[Source], None, None]:
    """Windows of several readers at a time, each read by its own thread; in order within a video.

    Args:
        backbone: The backbone that the windows are for.
        readers: One reader per video, taken one by one as threads become free, by one thread at a time.
        threads: Number of threads that read.
        compute_threads: CPU threads that each of them uses to preprocess pixels.
    """
    return _ReadAhead(backbone, readers, threads, compute_threads).arrivals()


def _windows(
    backbone: Backbone, reader: WindowSource, prepare: Callable[[Tensor], Tensor]
) -> Iterator[WindowInput]:
    """A reader's windows. For a CPU pixels are preprocessed here; a GPU does that faster, later."""
    if isinstance(reader, EncodedVideo):
        yield from reader.windows()
        return
    on_cpu = torch.device(backbone.options.device).type == "cpu"
    length, padding = int(backbone.options.window or 1), backbone.options.padding or "black"
    for window, frames in iter_windows(reader, length=length, padding=padding):
        appearance = Appearance.of(frames.pixels[: window.num_real])
        pixels = torch.from_numpy(np.ascontiguousarray(frames.pixels))
        pixels = prepare(pixels) if on_cpu else pixels
        yield WindowInput(
            window,
            frames.identity,
            frames.frame_index,
            frames.seconds,
            pixels,
            appearance=appearance,
            crop_places=frames.crop_places,
        )


class _StoppedError(Exception):
    """The windows are no longer wanted."""


class _ReadAhead(Generic[Source]):
    """The threads of `read_ahead`, and the state that they share."""

    def __init__(
        self, backbone: Backbone, readers: Iterable[Source], threads: int, compute_threads: int
    ) -> None:
        self._backbone = backbone
        self._readers = enumerate(readers)
        self._taking = threading.Lock()
        self._arrived: queue.Queue[Arrival[Source] | BaseException | None] = queue.Queue(
            int(backbone.options.batch or 1)
        )
        self._room = threading.Condition()
        self._held_bytes = 0
        self._stop = threading.Event()
        self._ready = threading.Barrier(threads + 1)
        self._compute_threads = compute_threads
        self._threads = [
            threading.Thread(target=self._run, name=f"actiondiff-decode-{n}", daemon=True)
            for n in range(threads)
        ]

    def arrivals(self) -> Generator[Arrival[Source], None, None]:
        for thread in self._threads:
            thread.start()
        # PyTorch sets a new thread's number of CPU threads when the thread first computes, and in doing so
        # sets that of the whole process. So all threads do it now, and none while the network computes.
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
                source = reader if isinstance(reader, EncodedVideo) else FrameSequence(self._chunks(reader))
                for item in _windows(self._backbone, source, self._backbone.preprocess):
                    self._put(Arrival(position, reader, item))
                self._put(Arrival(position, reader, None))
            self._put(None)
        except _StoppedError:
            pass
        except BaseException as error:  # any error is raised again where the windows are taken
            with suppress(_StoppedError):
                self._put(error)

    def _take(self) -> tuple[int, Source] | None:
        with self._taking:
            return None if self._stop.is_set() else next(self._readers, None)

    def _put(self, arrived: Arrival[Source] | BaseException | None) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._arrived.put(arrived, timeout=_POLL_SECONDS)
                return
        raise _StoppedError

    def _chunks(self, reader: FrameReader) -> Iterator[Frames]:
        """The reader's chunks, once there is room for a window of its frames and the next one."""
        held_bytes = 0
        try:
            for chunk in reader:
                if not held_bytes and len(chunk):
                    held_bytes = 2 * int(self._backbone.options.window or 1) * chunk.pixels[0].nbytes
                    self._hold(held_bytes)
                if self._stop.is_set():
                    raise _StoppedError
                yield chunk
        finally:
            self._release(held_bytes)

    def _hold(self, num_bytes: int) -> None:
        with self._room:
            while self._held_bytes and self._held_bytes + num_bytes > _LARGE and not self._stop.is_set():
                self._room.wait(_POLL_SECONDS)
            self._held_bytes += num_bytes

    def _release(self, num_bytes: int) -> None:
        with self._room:
            self._held_bytes -= num_bytes
            self._room.notify_all()
