"""Threads for host work that NumPy does with one: elementwise passes release the interpreter."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import array_api_compat

from ._place import Namespace

Part = TypeVar("Part")


class _Here(threading.local):
    is_worker = False


_here = _Here()


def thread_count(xp: Namespace) -> int:
    """How many threads to use: this process's processors, at most OMP_NUM_THREADS; 1 on a GPU.

    OMP_NUM_THREADS is what users set to hold back every numerical library at once.
    """
    if not array_api_compat.is_numpy_namespace(xp):
        return 1
    processors = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(processors, int(limit))) if limit.isdigit() else processors


def in_threads(
    work: Callable[[Part], None],
    parts: Iterable[Part],
    threads: int,
    tell: Callable[[int], None] | None = None,
) -> None:
    """Call `work` with each part, `threads` at a time; the parts must not touch each other's data.

    tell : is called, by the thread that called this, with the number of parts that are done.

    Meanwhile products of matrices have one thread each: two pools that share the processors are
    slower than either. Work that itself asks for threads gets none, for the same reason.

    The threads end with the call, so that a process may be forked between two.
    """
    parts = list(parts)
    if threads == 1 or len(parts) < 2 or _here.is_worker:
        for done, part in enumerate(parts, start=1):
            work(part)
            if tell is not None:
                tell(done)
        return
    with _one_blas_thread(), ThreadPoolExecutor(threads, initializer=_become_worker) as pool:
        for done, _ in enumerate(pool.map(work, parts), start=1):
            if tell is not None:
                tell(done)


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
