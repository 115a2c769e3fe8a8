"""Threads for host work that NumPy does with one: elementwise passes release the interpreter."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from queue import SimpleQueue
from typing import Any, TypeVar

import array_api_compat

from ._place import Namespace

Part = TypeVar("Part")

SHARE_ROWS = 128  # at most, until there are so many shares
MOST_SHARES = 16


class _Here(threading.local):
    is_worker = False
    loop: _HotLoop | None = None  # that this thread is in


_here = _Here()


def thread_count(xp: Namespace) -> int:
    """How many threads to use: this process's processors, at most OMP_NUM_THREADS; 1 on a GPU.

    OMP_NUM_THREADS is what users set to hold back every numerical library at once. Work within
    `in_threads` has the thread that it runs in.
    """
    if _here.is_worker or not array_api_compat.is_numpy_namespace(xp):
        return 1
    processors = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(processors, int(limit))) if limit.isdigit() else processors


A_WHILE = 1e-3  # seconds


def in_threads(
    work: Callable[[Part], None],
    parts: Iterable[Part],
    threads: int,
    tell: Callable[[int], None] | None = None,
    abandon: Callable[[], None] | None = None,
) -> None:
    """Call `work` with each part, `threads` at a time; the parts must not touch each other's data.

    tell : is called, by the thread that called this, with the number of parts that are done.
    abandon : is called where this thread fails or is interrupted, before it waits for the others:
        for parts that wait for each other. As many of these as threads are worked on at once.

    Meanwhile products of matrices have one thread each: two pools that share the processors are
    slower than either. Work that itself asks for threads gets none, for the same reason.

    An interruption ends the call once the parts that have begun are done; others are left out.

    The threads end with the call, so that a process may be forked between two, or with the
    `hot_loop` that the call stands in.
    """
    parts = list(parts)
    if threads == 1 or len(parts) < 2 or _here.is_worker:
        for done, part in enumerate(parts, start=1):
            work(part)
            if tell is not None:
                tell(done)
        return
    if _here.loop is not None and tell is None:
        _here.loop.in_threads(work, parts, threads, abandon)
        return
    begun: list[None] = []
    ended: list[None] = []

    def noted(part: Part) -> None:
        begun.append(None)
        try:
            work(part)
        finally:
            ended.append(None)

    with _one_blas_thread(), ThreadPoolExecutor(threads, initializer=_become_worker) as pool:
        try:
            for done, _ in enumerate(pool.map(noted, parts), start=1):
                if tell is not None:
                    tell(done)
        except BaseException:
            if abandon is not None:
                abandon()
            pool.shutdown(cancel_futures=True)
            # The pool does not know of a thread in whose start it was interrupted.
            while len(ended) < len(begun):
                time.sleep(A_WHILE)
            raise


def share_rows(n: int) -> int:
    """How many of n rows make a share for `in_threads`, all shares being about equal.

    It does not go by the number of threads, which must change no bit.
    """
    shares = max(1, min(MOST_SHARES, -(-n // SHARE_ROWS)))
    return -(-n // shares)


@contextmanager
def hot_loop() -> Iterator[None]:
    """Within the block `in_threads` keeps its threads: to start them takes as long as a step.

    From its first call on products of matrices have one thread, until the block ends. A block
    within a block changes nothing.
    """
    if _here.loop is not None or _here.is_worker:  # an outer block keeps it already
        yield
        return
    loop = _here.loop = _HotLoop()
    try:
        yield
    finally:
        _here.loop = None
        loop.close()


class _HotLoop:
    """The threads of a `hot_loop`, and the queue that hands them work."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._limit = ExitStack()

    def in_threads(
        self,
        work: Callable[[Part], None],
        parts: list[Part],
        threads: int,
        abandon: Callable[[], None] | None,
    ) -> None:
        """See `in_threads`; this thread does a share of the work itself.

        What has begun and ended each call notes for itself, so one that is interrupted leaves
        nothing behind that the next one could take for its own.
        """
        waiting = deque(parts)
        asked = [work]  # not held on to by a thread that comes too late to do any of it
        begun: list[None] = []  # by a thread that helps, before it takes its first part
        ended: list[BaseException | None] = []
        wake: SimpleQueue[None] = SimpleQueue()

        def drain() -> None:
            while True:
                try:
                    part = waiting.popleft()
                except IndexError:
                    return
                asked[0](part)

        def help_out() -> None:
            failed = None
            begun.append(None)
            try:
                drain()
            except BaseException as error:
                failed = error
            ended.append(failed)
            wake.put(None)

        def give_up() -> None:
            waiting.clear()
            if abandon is not None:
                abandon()

        self._start(threads - 1)
        failed: BaseException | None = None
        try:
            for _ in range(min(threads, len(parts)) - 1):
                self._work.put(help_out)
            _here.is_worker = True
            drain()
        except BaseException as error:
            failed = error
            give_up()
        finally:
            _here.is_worker = False
        # Whoever begins from here on finds no part left, and need not be waited for.
        while len(ended) < len(begun):
            try:
                wake.get()
            except BaseException as error:  # an interruption
                failed = error
                give_up()
        asked.clear()
        for reason in (failed, *ended):
            if reason is not None:
                raise reason

    def close(self) -> None:
        """End the threads, and give products of matrices their threads again."""
        try:
            for _ in self._threads:
                self._work.put(None)
            for thread in self._threads:
                thread.join()
        finally:
            self._limit.close()

    def _start(self, threads: int) -> None:
        if not self._threads:
            self._limit.enter_context(_one_blas_thread())
        while len(self._threads) < threads:
            self._threads.append(threading.Thread(target=self._serve, daemon=True))
            self._threads[-1].start()

    def _serve(self) -> None:
        _become_worker()
        while (work := self._work.get()) is not None:
            work()


def one_thread_products(xp: Namespace) -> AbstractContextManager[Any]:
    """Within the block, on NumPy, products of matrices have one thread.

    For small products just before or after `in_threads`: the threads of a BLAS library go on
    waiting for work at full speed for a while, and take the processors from ours.
    """
    if _here.is_worker or not array_api_compat.is_numpy_namespace(xp):
        return nullcontext()
    return _one_blas_thread()


def _one_blas_thread() -> AbstractContextManager[Any]:
    limit: AbstractContextManager[Any] = _blas().limit(limits=1, user_api="blas")
    return limit


def _become_worker() -> None:
    _here.is_worker = True


@functools.cache
def _blas() -> Any:
    """What sets the number of threads of the BLAS libraries that are loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
