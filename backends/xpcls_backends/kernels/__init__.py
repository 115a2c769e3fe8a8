"""Kernels: loops written for one kind of processor, where array operations stay far from its speed.

Each stands behind a function of xpcls_backends, beside the plain version of the same. The plain
version is what runs where there is no kernel, and what the kernel is tested against
(tests/test_kernels.py walks all pairs). Algorithms never know which of the two ran.

cpu/    for NumPy arrays, compiled by numba, which the extra `fast` brings
cuda/   for CuPy arrays, compiled by the NVRTC that CuPy brings
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import array_api_compat

from xpcls_backends._place import Namespace

SWITCH = "XPCLS_KERNELS"  # an environment variable; "off" keeps everything on plain operations


class _Asked(threading.local):
    always: bool | None = None  # False: never; None: where it is worth it


_asked = _Asked()
_hearing: list[Callable[[bool], None]] = []


def has_kernels(xp: Namespace, worth: bool = True) -> bool:
    """Whether to take the kernel for arrays of this namespace.

    worth : whether there is so much work that a kernel gains what calling it takes. It must follow
        from shapes and dtypes alone: kernels round differently, and one seed means one run.
    """
    worth = worth if _asked.always is None else _asked.always
    return worth and array_api_compat.is_numpy_namespace(xp) and why_none() is None


def has_cuda_kernels(xp: Namespace) -> bool:
    """Whether to take the kernel for a CUDA card. Every launch costs about the same, so one kernel
    for what plain operations take several for is worth it however little there is to do."""
    wanted = _asked.always is not False and not _switched_off()
    return wanted and array_api_compat.is_cupy_namespace(xp)


def why_none() -> str | None:
    """Why no kernels are compiled for NumPy arrays, and what to type; None where they are."""
    if _switched_off():
        return f"{SWITCH} is off: unset it"
    if not _numba_is_installed():
        return "numba is not installed: pip install numba"
    return None


def instructions() -> str:
    """The vector instructions for which kernels for NumPy arrays are compiled; loads numba."""
    from .cpu.neighbors import INSTRUCTIONS

    return INSTRUCTIONS


@contextmanager
def asking_for_kernels(always: bool | None) -> Iterator[None]:
    """Within the block this thread takes kernels always or, with False, never: to compare the two.

    Threads that it starts go by what is worth it, so a function decides before it starts them.
    """
    before, _asked.always = _asked.always, always
    try:
        yield
    finally:
        _asked.always = before


@contextmanager
def hear_compiling(hear: Callable[[bool], None]) -> Iterator[None]:
    """Within the block `hear(True)` is called before kernels are compiled, which takes seconds, and
    `hear(False)` afterwards, in whichever thread it is done."""
    _hearing.append(hear)
    try:
        yield
    finally:
        _hearing.remove(hear)


def tell_compiling(begins: bool) -> None:
    """For kernels: call all who want to hear of it."""
    for hear in list(_hearing):
        hear(begins)


def _switched_off() -> bool:
    return os.environ.get(SWITCH, "").lower() in ("off", "0")


@cache
def _numba_is_installed() -> bool:
    return importlib.util.find_spec("numba") is not None
