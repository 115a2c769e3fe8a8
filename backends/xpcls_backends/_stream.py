"""Parts of data that are moved to a card while it works on the part before.

A part takes three turns, each beside the others: a thread reads it, from a file or a decoder, and
writes it to page-locked memory, from which a card copies by itself; a stream of its own copies it
to the card; the caller computes with it. So the card waits for none but the slowest of the three.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from ._place import is_array, to_device, to_host

if TYPE_CHECKING:
    from ._select import Backend

Part = tuple[Any, ...]

LARGEST = 2**28  # bytes of a part that is staged: two such buffers are page-locked at most
APART = 256  # bytes from one array of a part to the next, or a multiple
TEXT = "OUST"  # kinds of NumPy's dtypes that no device has


def prefetch_to_device(parts: Iterable[Part], backend: Backend | str) -> Iterator[Part]:
    """The same parts on `backend`, each moved while the caller computes with the one before.

    parts : tuples, of whatever length, of arrays or None; from a generator that slices a memory
        map or decodes images, say. Text, and what is on the device already, is yielded as it is.
    backend : a `Backend` or its name.

    Trains on more than a card holds, without waiting for the copies:

        images = numpy.load("images.npy", mmap_mode="r")
        blocks = ((images[i : i + 10_000], labels[i : i + 10_000]) for i in range(0, n, 10_000))
        for X, y in prefetch_to_device(blocks, "cuda"):
            model.partial_fit(X, y, classes=range(10))

    On a card `parts` is read by a thread of its own, two ahead of what was yielded. Three parts
    lie on the card at most, as long as the caller keeps none: the next, the present one, and the
    last one until its names are used again. On the host two buffers are page-locked, which grow to
    the largest part, rounded up by CuPy to a power of two and to 256 MiB at most; larger parts are
    copied without, which takes longer and holds the caller up. CuPy keeps the memory for later use
    (`cupy.get_default_pinned_memory_pool().free_all_blocks()` gives it back to the system).
    Elsewhere nothing goes ahead: a part is read and moved when it is asked for.

    An error in `parts` is raised once the parts before it were yielded. However the iteration
    ends, by Ctrl-C too, it waits until the part that is being read is read and no copy is on its
    way. Raises TypeError for what is no iterable, and for a part that is no tuple; RuntimeError
    where the current stream of CuPy changes meanwhile.
    """
    from ._select import get_backend

    target = get_backend(backend) if isinstance(backend, str) else backend
    source = iter(parts)
    if not array_api_compat.is_cupy_namespace(target.xp):
        return (_placed(part, target) for part in source)
    return _ahead(source, target)


def _placed(part: Part, backend: Backend) -> Part:
    """Without going ahead."""
    return tuple(to_device(x, backend) if _moves(x) else x for x in map(_on_host, _checked(part)))


def _ahead(source: Iterator[Part], backend: Backend) -> Iterator[Part]:
    """With a thread, two buffers, and a stream that copies.

    All calls of CUDA but for memory and a wait are made here, on the caller's thread and for the
    stream that is current there.
    """
    copying = _Copying(backend)
    buffers = [_Buffer(backend), _Buffer(backend)]
    reader = ThreadPoolExecutor(1, "xpcls-prefetch")
    try:
        reading: Future[Part | None] = reader.submit(buffers[0].read, source)
        present: Part | None = None
        copied: Any = None
        while True:
            # An error of the source waits its turn; an interruption here does not.
            read = reading.result() if reading.exception() is None else None
            if read is not None:
                following = copying.send(read, buffers[0].copied)
                buffers.reverse()
                reading = reader.submit(buffers[0].read, source)
            if present is not None:
                copying.hand_over(copied)
                yield present
            if read is None:
                reading.result()  # raises the source's error
                return
            present, copied = following, buffers[1].copied
    finally:
        # What was sent and never yielded goes back to the pool of the caller's stream, which has
        # not waited for the copy, and the buffers go back too: so the host waits for it.
        try:
            reader.shutdown(cancel_futures=True)
        finally:
            copying.finish()


class _Buffer:
    """Page-locked memory for one part, and the event after which it may be written again."""

    def __init__(self, backend: Backend) -> None:
        self._cuda, self._device = sys.modules["cupy"].cuda, backend.device
        with self._device:
            # One that blocks: the thread sleeps while it waits.
            self.copied = self._cuda.Event(block=True, disable_timing=True)
        self._memory = np.empty(0, np.uint8)

    def read(self, source: Iterator[Part]) -> Part | None:
        """The next part, its arrays written to this buffer where they fit; None after the last."""
        try:
            part = tuple(map(_on_host, _checked(next(source))))
        except StopIteration:
            return None
        size = _size(part)
        if size > LARGEST:
            return tuple(np.asarray(x, order="C") if _moves(x) else x for x in part)
        with self._device:
            self.copied.synchronize()  # what the buffer holds is on the card
            if size > self._memory.size:
                self._memory = np.empty(0, np.uint8)  # given back first
                self._memory = np.frombuffer(self._cuda.alloc_pinned_memory(size), np.uint8)
        written, place = [], 0
        for x in part:
            if _moves(x):
                here = self._memory[place : place + x.nbytes].view(x.dtype).reshape(x.shape)
                np.copyto(here, x)
                place, x = place + _room(x), here
            written.append(x)
        return tuple(written)


class _Copying:
    """A stream beside the one that computes; the two wait for each other on the card alone."""

    def __init__(self, backend: Backend) -> None:
        self._cupy, self._device = sys.modules["cupy"], backend.device
        with self._device:
            self._stream = self._cupy.cuda.Stream(non_blocking=True)
            self._ready = self._cupy.cuda.Event(disable_timing=True)
        self._computing: Any = None  # the caller's stream

    def send(self, part: Part, copied: Any) -> Part:
        """The part on the card as soon as the event `copied` has come.

        CuPy's pool of memory has an arena for each stream, that which is current when an array is
        made. A block that an array gives back is handed out again at once, though kernels may be
        queued that still use it: the next to use it is queued behind them on the same stream.
        These arrays belong to the stream that is current here. So before it writes to them, the
        copying stream waits for what is queued there by now, which is the work on earlier parts
        and not yet that on the present one. And before the caller has them, that stream waits for
        the copy: whatever it uses the block for afterwards, comes behind both.
        """
        with self._device:
            stream = self._current()
            arrays = [self._cupy.empty(x.shape, x.dtype) if _moves(x) else x for x in part]
            self._ready.record(stream)
            self._stream.wait_event(self._ready)
            for array, x in zip(arrays, part, strict=True):
                if _moves(x):
                    array.set(x, self._stream)
            copied.record(self._stream)
            if _size(part) > LARGEST:
                copied.synchronize()  # not out of a buffer, but of memory that is not ours
        return tuple(arrays)

    def hand_over(self, copied: Any) -> None:
        """Have the caller's stream wait for the copy."""
        with self._device:
            self._current().wait_event(copied)

    def finish(self) -> None:
        """Wait until no copy is on its way."""
        with self._device:
            self._stream.synchronize()

    def _current(self) -> Any:
        """The stream that is current, always the same: parts that are on their way belong to it."""
        stream = self._cupy.cuda.get_current_stream()
        if self._computing is None:
            self._computing = stream
        if stream != self._computing:
            raise RuntimeError(
                "the current stream is another one than at the first part; iterate over all parts "
                "within one stream"
            )
        return stream


def _checked(part: Any) -> Part:
    if not isinstance(part, tuple | list):
        raise TypeError(f"a part is {type(part).__name__}, expected a tuple of arrays")
    return tuple(part)


def _on_host(x: Any) -> Any:
    """None and arrays of devices as they are, all else as NumPy's, in this machine's byte order."""
    if x is None or (is_array(x) and not isinstance(x, np.ndarray | np.generic)):
        return x
    host = to_host(x)
    return host.astype(host.dtype.newbyteorder("="), copy=False) if _moves(host) else host


def _moves(x: Any) -> bool:
    """Whether an entry of a part is to be copied: an array of NumPy's, and of numbers."""
    return isinstance(x, np.ndarray) and x.dtype.kind not in TEXT


def _size(part: Part) -> int:
    """Bytes of a buffer that a part takes."""
    return sum(_room(x) for x in part if _moves(x))


def _room(x: np.ndarray[Any, Any]) -> int:
    return -(-x.nbytes // APART) * APART
