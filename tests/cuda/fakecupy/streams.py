"""Streams, events, copies that go on by themselves, and the page-locked memory they read.

Work is done when it is asked for, but for a copy from page-locked memory on a stream of its own:
that is done as late as CUDA allows, when something waits for it. So who computes without waiting
sees what was there before, and who writes to the page-locked memory too early sees what came
later. Copies that would come too early on a card, and memory given back under a copy, are errors.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from . import counts

_lock = threading.RLock()
_local = threading.local()
_streams: weakref.WeakSet[Stream] = weakref.WeakSet()
_pinned: weakref.WeakSet[PinnedMemoryPointer] = weakref.WeakSet()
_abandoned: list[str] = []  # arrays that were given back while something was copied to them
MINIMUM = 512  # bytes that CuPy's pool of page-locked memory hands out


class Stream:
    """cupy.cuda.Stream. Of those beside the null stream, the ones that do not block it."""

    null: Stream

    def __init__(
        self,
        null: bool = False,
        non_blocking: bool = False,
        ptds: bool = False,
        priority: int | None = None,
    ) -> None:
        if not null and (ptds or not non_blocking):
            raise NotImplementedError("fakecupy knows the null stream, and non-blocking ones")
        self.ptr = 0 if null else id(self)
        self.copies: list[Copy] = []  # in order, that are still to be done
        self.asked = 0  # what this stream was given, counted
        self.seen: dict[Stream, int] = {}  # of others: what comes before its next work
        _streams.add(self)

    def __enter__(self) -> Stream:
        _currents().append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        _currents().pop()

    def use(self) -> Stream:
        _currents()[-1] = self
        return self

    def synchronize(self) -> None:
        counts.wait("Stream.synchronize()")
        self.finish(len(self.copies))

    def record(self, event: Event | None = None) -> Event:
        found = Event() if event is None else event
        found.record(self)
        return found

    def wait_event(self, event: Event) -> None:
        """On the card: the copies before the event are done, or will be before this one goes on."""
        complain()
        self.seen |= {s: max(n, self.seen.get(s, 0)) for s, n in event.seen.items()}
        event.finish()

    def finish(self, n: int) -> None:
        with _lock:
            for copy in self.copies[:n]:
                copy.run()
            del self.copies[:n]


Stream.null = Stream(null=True)


class Event:
    """cupy.cuda.Event."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ) -> None:
        if interprocess and not disable_timing:
            raise ValueError("Timing must be disabled for interprocess events")
        self.ptr = id(self)
        self.seen: dict[Stream, int] = {}
        self._copies: list[Copy] = []
        self._stream: Stream | None = None

    def record(self, stream: Stream | None = None) -> None:
        complain()
        self._stream = current() if stream is None else stream
        self._copies = list(self._stream.copies)
        self._stream.asked += 1
        self.seen = {**self._stream.seen, self._stream: self._stream.asked}

    def synchronize(self) -> None:
        counts.wait("Event.synchronize()")
        self.finish()

    @property
    def done(self) -> bool:
        return all(copy.done for copy in self._copies)

    def finish(self) -> None:
        if self._stream is not None:
            with _lock:
                waiting = self._stream.copies
                self._stream.finish(sum(copy in self._copies for copy in waiting))


class Copy:
    """From page-locked memory to an array, some time."""

    def __init__(self, array: Any, source: np.ndarray) -> None:
        self.done = False
        self._target, self._source = array._host, source
        self._array = weakref.ref(array, self._given_back)

    def run(self) -> None:
        self.done = True
        self._target[...] = self._source

    def _given_back(self, _: Any) -> None:
        if not self.done:
            _abandoned.append(f"{self._target.dtype} {self._target.shape}")


def copy_from_host(array: Any, source: np.ndarray, stream: Stream | None) -> None:
    """ndarray.set: at once on the current stream, on another one when it is waited for."""
    complain()
    counts.upload("set()")
    here = current() if stream is None else stream
    if here is Stream.null:
        array._host[...] = source
        return
    home, made = getattr(array, "_made", None) or now()
    if here is not home and here.seen.get(home, 0) < made:
        raise RuntimeError(
            "a copy on one stream to memory of another, which may still be in use there: the "
            "copying stream has not waited for what came before the array was made"
        )
    here.copies.append(Copy(array, source if is_pinned(source) else source.copy()))
    here.asked += 1


def now() -> tuple[Stream, int]:
    """When an array is made: on which stream, and after how much of its work."""
    complain()
    stream = current()
    stream.asked += 1
    return stream, stream.asked


def complain() -> None:
    """Raise where memory was given back too early; noticed when some is asked for next."""
    if _abandoned:
        raise RuntimeError(
            f"{_abandoned.pop()} was given back while a copy to it is on its way; CuPy hands such "
            "memory out again"
        )


def pending() -> int:
    """How many copies nobody has waited for yet."""
    return sum(len(stream.copies) for stream in _streams)


def synchronize() -> None:
    """Whatever has been asked for is done."""
    for stream in list(_streams):
        stream.finish(len(stream.copies))


def current() -> Stream:
    return _currents()[-1]


def _currents() -> list[Stream]:
    if not hasattr(_local, "currents"):
        _local.currents = [Stream.null]
    return _local.currents


class PinnedMemoryPointer(bytearray):
    """cupy.cuda.PinnedMemoryPointer, which has the buffer protocol; from CuPy's pool."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def ptr(self) -> int:
        return np.frombuffer(self, np.uint8).ctypes.data

    def size(self) -> int:
        return len(self)


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    """Rounded up to a power of two, as pinned_memory.pyx does (PinnedMemoryPool.malloc)."""
    rounded = max(MINIMUM, 1 << (int(size) - 1).bit_length())
    found = PinnedMemoryPointer(b"\xa5" * rounded)
    _pinned.add(found)
    return found


def pinned_bytes() -> int:
    """Of page-locked memory that someone holds."""
    return sum(map(len, _pinned))


def is_pinned(x: np.ndarray) -> bool:
    address = x.ctypes.data
    return any(p.ptr <= address and address + x.nbytes <= p.ptr + len(p) for p in _pinned)
