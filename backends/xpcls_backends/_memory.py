"""Memory that is used again, for arrays that every step of a training run makes anew.

The system hands out large pieces of memory page by page, and clears each: for an array that is
written once and read once, that takes longer than the work, and threads wait for each other.
"""

from __future__ import annotations

import math
import os
import threading
from typing import Any

import array_api_compat
import numpy as np

from ._place import Array, Device, Namespace, device_of

LINE = 64  # bytes of a line of the cache, where arrays begin
SMALL = 2**16  # bytes; below, an allocator has memory at hand
KEPT = 2**26  # bytes that wait here to be used again, at most
TOO_LARGE = 2  # memory is not taken for an array that fills less than one part in so many

_lock = threading.RLock()  # a loan may end within the block, when Python collects garbage
_waiting: list[tuple[int, Any]] = []  # whose thread's cache it is in, and the memory


def _renew_lock() -> None:
    """For a process that was forked: whoever held the lock is not in it, to give it back."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def lend(xp: Namespace, shape: tuple[int, ...], dtype: Any, device: Device) -> Array:
    """An array whose entries are not set. On NumPy its memory is used again, once no array
    refers to it any more."""
    if not array_api_compat.is_numpy_namespace(xp):
        return xp.empty(shape, dtype=dtype, device=device)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    return np.asarray(_Loan(_memory(size), shape, np.dtype(dtype)))


def lend_images(xp: Namespace, x: Array, shape: tuple[int, ...], by_pixels: bool) -> Array:
    """`lend` images of that shape (N, H, W, C), and of the dtype and device of x; in memory they
    are (H, W, N, C) where `by_pixels` is set."""
    if not by_pixels:
        return lend(xp, shape, x.dtype, device_of(x))
    n, height, width, channels = shape
    found = lend(xp, (height, width, n, channels), x.dtype, device_of(x))
    return xp.permute_dims(found, (2, 0, 1, 3))


class _Loan:
    """What an array on lent memory, and every view of it, refers to."""

    def __init__(self, memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        address = memory.__array_interface__["data"][0]
        self._memory = memory
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (address + -address % LINE, False),
        }

    def __del__(self) -> None:
        with _lock:
            _waiting.append((threading.get_ident(), self._memory))
            while sum(memory.nbytes for _, memory in _waiting) > KEPT:
                del _waiting[0]


def _memory(size: int) -> Any:
    """The smallest piece that waits and holds so many bytes from a line on, or a new one.

    One that this thread had before comes first: it may still be in its processor's cache.
    """
    size += LINE
    me = threading.get_ident()
    with _lock:
        fits = [
            (thread != me, memory.nbytes, -place)
            for place, (thread, memory) in enumerate(_waiting)
            if size <= memory.nbytes <= TOO_LARGE * size
        ]
        if fits:
            return _waiting.pop(-min(fits)[2])[1]
    return np.empty(size, np.uint8)
