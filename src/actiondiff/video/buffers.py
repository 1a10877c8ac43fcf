"""Memory of large pictures that is used again, since the pages of new memory cost as much as decoding.

A new array of 200 MB has no pages yet: the system gives and clears each one when it is first written, which
takes longer than to copy the pictures into it. So memory goes back here when the last array that shows it, or
any part of it, is gone.
"""

import ctypes
import math
import threading
import weakref

import numpy as np
from numpy.typing import NDArray

__all__ = ["empty_pictures"]

_SMALL = 2**20  # bytes; the allocator itself reuses smaller pieces
_MOST_FREE = 256 * 2**20  # bytes that wait to be used again
_MOST_SPARE = 2  # times as large as needed that memory may be

_free: list[NDArray[np.uint8]] = []
_lock = threading.RLock()  # memory may come back while its thread holds the lock


def empty_pictures(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A uint8 array whose values are arbitrary."""
    num_bytes = math.prod(shape)
    if num_bytes < _SMALL:
        return np.empty(shape, np.uint8)
    memory = _take(num_bytes)
    # Arrays made from the lease, and views of them in turn, keep it alive. Its memory outlives it.
    lease = (ctypes.c_uint8 * num_bytes).from_buffer(memory)  # type: ignore[arg-type]  # an array is a buffer
    weakref.finalize(lease, _give_back, memory).atexit = False
    pixels: NDArray[np.uint8] = np.ctypeslib.as_array(lease).reshape(shape)
    return pixels


def _take(num_bytes: int) -> NDArray[np.uint8]:
    """Memory for this many bytes, used before if there is any."""
    with _lock:
        fitting = [place for place, memory in enumerate(_free) if num_bytes <= len(memory)]
        best = min(fitting, key=lambda place: len(_free[place]), default=None)
        if best is not None and len(_free[best]) <= _MOST_SPARE * num_bytes:
            return _free.pop(best)
    return np.empty(num_bytes, np.uint8)


def _give_back(memory: NDArray[np.uint8]) -> None:
    with _lock:
        _free.append(memory)
        while sum(map(len, _free)) > _MOST_FREE:
            _free.pop(0)
