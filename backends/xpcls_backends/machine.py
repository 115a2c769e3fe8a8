"""The machine, for a person: its devices, with their memory and software, and how fast they are.

    for place in devices(get_backend("cuda")):
        about(place), copy_speed(place), product_speed(place)

Two figures say most of what to expect of a device: how fast it moves memory, which bounds whatever
is done entry by entry, and how fast it multiplies matrices, which bounds the rest. Each is measured
in less than a second, after a warm-up, and is the best of several rounds.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ._ops import product
from ._place import Array
from ._select import (
    FREE_MEMORY,
    SEE_THE_CARD,
    Backend,
    BackendUnavailable,
    dotted,
    first_line,
    run_a_kernel,
)
from ._threads import hot_loop, in_threads, thread_count

# Read and written are two arrays of this size: more together than caches hold, of cards too.
COPIED = 2**28  # bytes
SMALLEST, LARGEST = 1024, 4096  # rows and columns of the matrices that are multiplied
LONG = 0.01  # seconds of work beside which starting it and waiting for it do not count
ROUNDS, PATIENCE = 3, 0.25  # at least so many rounds, and more until so many seconds are over


@dataclass(frozen=True)
class About:
    """What there is to know of a device without measuring.

    name : its model, for a person.  software : what it runs with, with versions.
    memory_free, memory_total : in bytes; None where the system does not tell.
    """

    name: str
    software: str
    memory_free: int | None
    memory_total: int | None


def devices(backend: Backend) -> list[Backend]:
    """`backend` on each device that it has: on CuPy all cards that CUDA shows, by their numbers."""
    if backend.name == "numpy":
        return [backend]
    cuda = sys.modules["cupy"].cuda
    return [
        replace(backend, device=cuda.Device(number))
        for number in range(cuda.runtime.getDeviceCount())
    ]


def label(backend: Backend) -> str:
    """A device in a word: cpu, or a card with its number."""
    return "cpu" if backend.name == "numpy" else f"cuda:{backend.device.id}"


def about(backend: Backend) -> About:
    """What the device of `backend` is.

    Raises BackendUnavailable where it is a card on which no kernel runs.
    """
    if backend.name == "numpy":
        free, total = _host_memory()
        name = f"{_processor()} ({platform.machine()}, {os.cpu_count()} cores)"
        threads = thread_count(backend.xp)
        software = f"NumPy {np.__version__}, {threads} thread{'s' if threads > 1 else ''}"
        return About(name, software, free, total)
    cupy = sys.modules["cupy"]
    with _on(backend):
        run_a_kernel(cupy)
        free, total = _card_memory()
        runtime = cupy.cuda.runtime
        software = (
            f"CuPy {cupy.__version__}, CUDA {dotted(runtime.runtimeGetVersion())}, "
            f"driver {_driver_number()}for CUDA {dotted(runtime.driverGetVersion())}"
        )
        name = runtime.getDeviceProperties(backend.device.id)["name"].decode()
    return About(name, software, free, total)


def copy_speed(backend: Backend) -> float:
    """Bytes read and written in a second where one array is copied to another.

    The two are as large as caches are not. On NumPy all threads copy.

    Raises BackendUnavailable where there is no memory for them, or the device fails.
    """
    xp, device = backend.xp, backend.device
    threads = thread_count(xp)
    with _on(backend), hot_loop():
        _check_memory(backend, 2 * COPIED)
        source = xp.ones(COPIED // 4, dtype=xp.float32, device=device)
        target = xp.empty(COPIED // 4, dtype=xp.float32, device=device)
        share = -(-source.shape[0] // threads)
        parts = [slice(i * share, (i + 1) * share) for i in range(threads)]

        def copy(part: slice) -> None:
            target[part] = source[part]

        seconds = _best_seconds(lambda: in_threads(copy, parts, threads), backend)
    return 2 * COPIED / seconds


def product_speed(backend: Backend) -> float:
    """Operations in a second where two square float32 matrices are multiplied.

    A product of n x n matrices has 2 n^3 of them, n^3 multiplications and as many additions. n is
    doubled until a product takes long enough for its launch not to count.

    Raises BackendUnavailable where there is no memory for them, or the device fails.
    """
    with _on(backend):
        n = SMALLEST
        while True:
            _check_memory(backend, 6 * 4 * n * n)  # with what makes the matrices
            x = _matrix(backend, n)

            def multiply(x: Array = x) -> None:
                product(x, x)

            multiply()
            if n == LARGEST or _seconds(multiply, 1, backend) >= LONG:
                return 2 * n**3 / _best_seconds(multiply, backend)
            n *= 2


def _matrix(backend: Backend, n: int) -> Array:
    """(n, n) float32 in [-0.5, 0.5). Their bits differ: to multiply by zeros or ones takes a card
    less power, so that it runs faster than it will with data."""
    xp, device = backend.xp, backend.device
    numbers = xp.remainder(xp.arange(n * n, dtype=xp.int32, device=device), 1009)
    return xp.reshape(xp.astype(numbers, xp.float32) / 1009 - 0.5, (n, n))


def _best_seconds(work: Callable[[], Any], backend: Backend) -> float:
    """What `work` takes: the best of several rounds, each of so many calls that they take long."""
    _seconds(work, 1, backend)  # touches memory for the first time, loads libraries
    best, calls, rounds = math.inf, 1, 0
    end = time.perf_counter() + PATIENCE
    while rounds < ROUNDS or time.perf_counter() < end:
        seconds = _seconds(work, calls, backend)
        best = min(best, seconds / calls)
        rounds += 1
        if seconds < LONG:
            calls *= 2
    return best


def _seconds(work: Callable[[], Any], calls: int, backend: Backend) -> float:
    """How long so many calls take, until the device has done them."""
    _wait(backend)
    started = time.perf_counter()
    for _ in range(calls):
        work()
    _wait(backend)
    return time.perf_counter() - started


def _wait(backend: Backend) -> None:
    if backend.name != "numpy":
        backend.device.synchronize()


@contextlib.contextmanager
def _on(backend: Backend) -> Iterator[None]:
    """Within the block CuPy makes arrays on that card. What fails there gets a line of cause."""
    on_host = backend.name == "numpy"
    try:
        with contextlib.nullcontext() if on_host else backend.device:
            yield
    except BackendUnavailable:
        raise
    except MemoryError as error:
        remedy = "Close what holds the memory" if on_host else FREE_MEMORY
        raise BackendUnavailable(first_line(error), remedy) from error
    except Exception as error:  # CUDA's libraries raise many types
        raise BackendUnavailable(first_line(error), SEE_THE_CARD) from error


def _check_memory(backend: Backend, needed: int) -> None:
    """Raise where so many bytes are not free. A system may promise memory that it has not, and end
    the process that uses it."""
    free, _ = _host_memory() if backend.name == "numpy" else _card_memory()
    if free is not None and free < needed:
        raise MemoryError(
            f"measuring takes {needed / 1e6:,.0f} MB of memory, and {free / 1e6:,.0f} are free"
        )


def _card_memory() -> tuple[int, int]:
    """Bytes free and in all, of the current card."""
    free, total = sys.modules["cupy"].cuda.runtime.memGetInfo()
    return int(free), int(total)


def _host_memory() -> tuple[int | None, int | None]:
    """Bytes that a process can still have, and in all; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:  # not Linux
        pages, size = (_sysconf(name) for name in ("SC_PHYS_PAGES", "SC_PAGE_SIZE"))
        return None, pages * size if pages and size else None
    told = dict(line.split()[:2] for line in lines if len(line.split()) == 3)  # in kB
    free, total = (
        int(told[name]) * 1024 if name in told else None for name in ("MemAvailable:", "MemTotal:")
    )
    return free, total


def _sysconf(name: str) -> int | None:
    try:
        return os.sysconf(name)
    except (AttributeError, ValueError, OSError):  # Windows has none
        return None


def _processor() -> str:
    """The processor's model, as far as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ("sysctl", "-n", "machdep.cpu.brand_string")
            return subprocess.check_output(command, text=True).strip()
    return platform.processor() or "of an unknown model"


def _driver_number() -> str:
    """The driver's version as its download page has it, and a space; or nothing."""
    name = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
    text = ctypes.create_string_buffer(80)  # NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE
    try:
        nvml = ctypes.CDLL(name)
        failed = nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, len(text))
    except (OSError, AttributeError):
        return ""
    return "" if failed else f"{text.value.decode()} "
