"""Threads for host work that NumPy does with one: elementwise passes release the interpreter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import array_api_compat

from ._place import Namespace

Part = TypeVar("Part")


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


def in_threads(work: Callable[[Part], None], parts: Iterable[Part], threads: int) -> None:
    """Call `work` with each part, `threads` at a time; the parts must not touch each other's data.

    The threads end with the call, so that a process may be forked between two.
    """
    parts = list(parts)
    if threads == 1 or len(parts) == 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, parts):
            pass
