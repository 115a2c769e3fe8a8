"""What `prefetch_to_device` asks of a card, and that each wait it makes is needed.

The stand-in copies as late as CUDA may (fakecupy/streams.py), so that a wait left out is seen.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.cuda import fakecupy
from xpcls import LinearClassifier, get_backend, prefetch_to_device
from xpcls_backends import _stream, to_host

if not fakecupy.installed():
    pytest.skip("needs --backend fakecupy", allow_module_level=True)

import cupy

from tests.cuda.fakecupy import counts, streams
from tests.cuda.fakecupy.streams import Event, Stream

Monkey = pytest.MonkeyPatch
SIZE = 1000


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No copy on its way, nothing page-locked, no thread."""
    yield
    gc.collect()
    left = streams.pending(), streams.pinned_bytes(), list(streams._abandoned)
    streams.synchronize()
    streams._abandoned.clear()
    assert left == (0, 0, [])
    assert not [t for t in threading.enumerate() if t.name.startswith("xpcls-prefetch")]


def parts(n: int, size: int = SIZE) -> Iterator[Any]:
    return ((np.full(size, i, np.int32), np.full(3, -i)) for i in range(n))


def sums(n: int) -> list[tuple[int, int]]:
    """What a caller makes of the parts on the card, read when all is done."""
    kept = []
    for X, y in prefetch_to_device(parts(n), "cuda"):
        kept.append((X, y, cupy.sum(X), cupy.sum(y)))
    return [(int(to_host(a)), int(to_host(b))) for _, _, a, b in kept]


RIGHT = [(SIZE * i, -3 * i) for i in range(8)]


def test_the_caller_sees_what_was_read() -> None:
    assert sums(8) == RIGHT


def test_a_part_is_copied_while_the_one_before_is_worked_on() -> None:
    seen = []
    for _ in prefetch_to_device(parts(5), "cuda"):
        seen.append(streams.pending())
    assert seen == [2, 2, 2, 2, 0]  # both arrays of the next part


def test_what_a_part_asks_for() -> None:
    """Two copies, no kernel, and one wait, of the thread that reads, for an older copy."""
    found, cuda = [], get_backend("cuda")
    for n in (4, 9):
        with fakecupy.trace() as t:
            for _ in prefetch_to_device(parts(n), cuda):
                pass
        found.append((t.launches, t.to_device, t.syncs, t.to_host))
    assert found[0] == (0, 8, 5, 0)  # one wait at the end
    assert tuple(np.subtract(*found[::-1])) == (0, 10, 5, 0)


def test_the_caller_never_waits_on_the_host(monkeypatch: Monkey) -> None:
    waited, cuda = [], get_backend("cuda")  # which waits when it is asked for first
    monkeypatch.setattr(counts, "wait", lambda name: waited.append(threading.current_thread().name))
    iteration = prefetch_to_device(parts(9), cuda)
    for _ in range(8):
        next(iteration)
    assert len(waited) >= 8 and all(name.startswith("xpcls-prefetch") for name in waited)
    list(iteration)
    assert waited[-1] == threading.current_thread().name  # at the end: nothing is on its way


def test_a_stream_of_the_caller_s_is_the_one_that_waits() -> None:
    with Stream(non_blocking=True) as mine:
        assert sums(8) == RIGHT
    assert mine.seen and Stream.null not in mine.seen


def test_another_stream_in_the_middle_is_refused() -> None:
    """It would not own the memory of the parts that are on their way."""
    iteration = prefetch_to_device(parts(8), "cuda")
    next(iteration)
    with (
        Stream(non_blocking=True),
        pytest.raises(RuntimeError, match="within one stream"),
    ):
        next(iteration)


def test_page_locked_memory_grows_to_the_largest_part_and_no_further(monkeypatch: Monkey) -> None:
    monkeypatch.setattr(_stream, "LARGEST", 2**15)
    sizes = [0, 10, 1000, 4000, 100_000, 8000, 30]
    held, came = [], []
    for (x,) in prefetch_to_device(((np.arange(n, dtype=np.int32),) for n in sizes), "cuda"):
        held.append(streams.pinned_bytes())
        came.append(to_host(x).tolist())
    assert came == [list(range(n)) for n in sizes]
    assert held[0] <= 2**12 + 2**14 and max(held) <= 2 * 2**15


def test_memory_that_is_not_staged_may_change_at_once(monkeypatch: Monkey) -> None:
    monkeypatch.setattr(_stream, "LARGEST", 1)
    shared = np.zeros(SIZE, np.int32)

    def reused() -> Iterator[Any]:
        for i in range(8):
            shared[...] = i
            yield (shared, shared[::2], np.int64(i))

    came = [
        tuple(int(to_host(cupy.sum(x))) for x in part)
        for part in prefetch_to_device(reused(), "cuda")
    ]
    assert came == [(SIZE * i, SIZE // 2 * i, i) for i in range(8)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_nothing(error: type[BaseException]) -> None:
    """Anywhere in the loop; the fixture looks at what is left."""
    for at in range(4):
        with pytest.raises(error):
            for i, _ in enumerate(prefetch_to_device(parts(9), "cuda")):
                if i == at:
                    raise error


def test_an_interruption_while_a_part_is_awaited_ends_the_wait(monkeypatch: Monkey) -> None:
    """Ctrl-C while the source decodes: it is not kept waiting for longer than that part."""
    interrupted = threading.Event()

    def slow() -> Iterator[Any]:
        yield from parts(3)
        assert interrupted.wait(10)
        yield from parts(3)

    iteration = prefetch_to_device(slow(), "cuda")
    next(iteration)
    wait = _stream.Future.exception

    def interrupt(self: Any, timeout: Any = None) -> Any:
        if self.done():
            return wait(self, timeout)
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(_stream.Future, "exception", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(iteration)


def test_no_memory_for_the_next_part_leaves_nothing(monkeypatch: Monkey) -> None:
    made = []
    empty = cupy.empty

    def few(*args: Any) -> Any:
        made.append(args)
        if len(made) == 6:
            raise MemoryError("Out of memory allocating 4,096 bytes")
        return empty(*args)

    monkeypatch.setattr(cupy, "empty", few)
    with pytest.raises(MemoryError, match="4,096"):
        list(prefetch_to_device(parts(9), "cuda"))


def test_training_on_parts_waits_no_more_than_on_arrays_that_lie_there(
    monkeypatch: Monkey,
) -> None:
    monkeypatch.setenv("XPCLS_KERNELS", "off")
    rows, classes = np.random.default_rng(0).random((64, 6)).astype(np.float32), np.arange(64) % 3

    def host(n: int) -> Iterator[Any]:
        return ((rows, classes) for _ in range(n))

    def traced(parts: Any) -> int:
        model = LinearClassifier(random_state=0, batch_size=16)
        with fakecupy.trace() as t:
            for X, y in parts:
                model.partial_fit(X, y, classes=[0, 1, 2])
        return t.syncs

    cuda = get_backend("cuda")
    there = [tuple(map(cuda.asarray, part)) for part in host(6)]
    more = traced(prefetch_to_device(host(6), cuda)) - traced(there)
    assert more == 6 + 1  # one a part, of the other thread, and one at the end


# Each wait left out, by a stream or an event that does not wait.


def test_a_caller_that_does_not_wait_for_the_copy_is_seen(monkeypatch: Monkey) -> None:
    wait = Stream.wait_event
    monkeypatch.setattr(
        Stream, "wait_event", lambda self, event: None if self.ptr == 0 else wait(self, event)
    )
    assert sums(8)[7] != RIGHT[7]  # of those before, a copy may have come for another's sake


def test_a_copy_that_does_not_wait_for_older_work_is_seen(monkeypatch: Monkey) -> None:
    wait = Stream.wait_event
    monkeypatch.setattr(
        Stream, "wait_event", lambda self, event: wait(self, event) if self.ptr == 0 else None
    )
    with pytest.raises(RuntimeError, match="has not waited for what came before"):
        sums(8)


def test_a_wait_for_too_old_work_is_seen(monkeypatch: Monkey) -> None:
    """The event is recorded once, and not for each part."""
    record = Event.record

    def once(self: Event, stream: Any = None) -> None:
        if stream is not Stream.null or not self.seen:
            record(self, stream)

    monkeypatch.setattr(Event, "record", once)
    with pytest.raises(RuntimeError, match="has not waited for what came before"):
        sums(8)


def test_a_buffer_that_is_written_too_early_is_seen(monkeypatch: Monkey) -> None:
    """The thread does not wait for the copy out of it; the card, for which all waits, is slow."""
    wait = Stream.wait_event

    def slowly(self: Stream, event: Event) -> None:
        time.sleep(0.05 if self.ptr == 0 else 0.0)
        wait(self, event)

    monkeypatch.setattr(Stream, "wait_event", slowly)
    assert sums(8) == RIGHT
    monkeypatch.setattr(Event, "synchronize", lambda self: None)
    assert sums(8) != RIGHT


def test_memory_given_back_under_a_copy_is_seen(monkeypatch: Monkey) -> None:
    monkeypatch.setattr(Stream, "synchronize", lambda self: None)
    iteration = prefetch_to_device(parts(8), "cuda")
    next(iteration)
    iteration.close()  # type: ignore[attr-defined]
    del iteration
    gc.collect()
    with pytest.raises(RuntimeError, match="given back while a copy to it is on its way"):
        cupy.empty(3)
    streams._abandoned.clear()
    streams.synchronize()
