"""CUDA sources run on the CPU: the part of `cupy.RawModule` that xpcls uses, for tests.

A source is compiled by the C++ compiler of the system behind cuda_cpu.h, which says what that finds
in a kernel. Here arguments are checked against the kernel's signature (CuPy sends a Python float as
a double and an int as 64 bits, which a kernel that expects others reads as something else, and of
None some of its versions make an address that is not null), and each array is handed over between
two stretches of memory that must stay as they were.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

HEADER = Path(__file__).with_name("cuda_cpu.h")
COMPILER = os.environ.get("CXX", "g++")
FLAGS = (
    "-std=c++17",
    "-O1",
    "-g",
    "-fPIC",
    "-shared",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-U_FORTIFY_SOURCE",  # whose longjmp refuses to change stacks
    "-Wno-unknown-pragmas",
    "-Wno-attributes",
)
KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\('
)
# What makes a thread wait for others, or share memory with them, but in what is for a card alone.
FOR_A_CARD = re.compile(r"^#ifdef __CUDACC__$.*?^#(else|endif)", re.MULTILINE | re.DOTALL)
WAITS = re.compile(r"__(sync|shfl|ballot|any_sync|shared)|GRID_|DYNAMIC_SHARED")
MOST_BLOCKS = (2**31 - 1, 2**16 - 1, 2**16 - 1)  # of a launch, by axis, on every card
AROUND = 512  # bytes before and after each array
FILL = 0xFF  # of them: NaN to a kernel that reads them

# How threads take turns: in order, backwards, and twice as they are drawn.
SCHEDULES = ((0, 0), (1, 0), (2, 1), (2, 2))

_schedule = SCHEDULES[0]

why_none = None
if sys.platform != "linux":  # whose fibers and sections of memory cuda_cpu.h is written for
    why_none = "no simulator but for Linux"
elif shutil.which(COMPILER) is None:
    why_none = f"no C++ compiler: {COMPILER}"


@contextmanager
def scheduled(order: int, seed: int) -> Iterator[None]:
    """Within the block threads take turns so: one of SCHEDULES."""
    global _schedule
    before, _schedule = _schedule, (order, seed)
    try:
        yield
    finally:
        _schedule = before


class KernelError(RuntimeError):
    """A kernel did what it must not do, or does not compile; the message says what and where."""


class Module:
    """A compiled source, as `cupy.RawModule(code=..., options=...)` is one.

    sanitize : "thread" for the engine that ThreadSanitizer watches.
    """

    def __init__(self, code: str, options: Sequence[str] = (), sanitize: str | None = None) -> None:
        self.names = KERNEL.findall(code)
        self._waits = WAITS.search(FOR_A_CARD.sub("", code)) is not None
        self._library = ctypes.CDLL(str(_built(code, self.names, tuple(options), sanitize)))
        self._library.simulator_error.restype = ctypes.c_char_p

    def get_function(self, name: str) -> Kernel:
        if name not in self.names:
            raise KernelError(f"no kernel {name}; there are {', '.join(self.names)}")
        return Kernel(self._library, name, self._waits)


class Kernel:
    """One kernel, called as a `cupy.RawKernel` is: with grid, block and arguments.

    order, seed : one of SCHEDULES; without, that of `scheduled`.
    """

    def __init__(self, library: ctypes.CDLL, name: str, waits: bool = True) -> None:
        self.name, self._library, self._waits = name, library, waits
        self._launch = getattr(library, f"launch_{name}")
        codes = getattr(library, f"codes_{name}")
        codes.restype = ctypes.c_char_p
        self.codes = codes().decode().split(",")

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        cooperative: bool = False,
        order: int | None = None,
        seed: int = 0,
    ) -> None:
        if len(args) != len(self.codes):
            raise TypeError(f"{self.name} takes {len(self.codes)} arguments, got {len(args)}")
        if any(not 0 < n <= most for n, most in zip(grid, MOST_BLOCKS, strict=False)):
            raise KernelError(f"{self.name}: a grid of {grid} blocks, at most {MOST_BLOCKS}")
        given = [self._argument(i, x) for i, x in enumerate(args)]
        pointers = (ctypes.c_void_p * len(given))(*(x.address for x in given))
        turns = _schedule if order is None else (order, seed)
        how = _Launch(_dim3(grid), _dim3(block), shared_mem, cooperative, *turns, self._waits)
        if self._launch(ctypes.byref(how), pointers):
            raise KernelError(f"{self.name}: {self._library.simulator_error().decode()}")
        for i, x in enumerate(given):
            x.take_back(f"{self.name}, argument {i}")

    def _argument(self, i: int, x: Any) -> _Number | _Array:
        code = self.codes[i]
        dtype = np.dtype(code.split("*")[-1])
        if "*" not in code:
            if not isinstance(x, np.generic) or x.dtype != dtype:
                raise TypeError(f"{self.name}, argument {i}: expected numpy.{dtype}, got {x!r}")
            return _Number(x)
        if isinstance(x, np.uint64) and x == 0:
            return _Number(x)
        fits = isinstance(x, np.ndarray) and x.dtype == dtype and x.flags.c_contiguous
        if not fits:
            what = f"{x.dtype} of strides {x.strides}" if hasattr(x, "strides") else repr(x)
            raise TypeError(
                f"{self.name}, argument {i}: expected {dtype} in C order or a null pointer, "
                f"numpy.uint64(0), got {what}"
            )
        return _Array(x, const=code.startswith("c"))


class _Number:
    """A number on its way into a kernel."""

    def __init__(self, x: np.generic) -> None:
        self._held = np.asarray(x).copy()
        self.address = self._held.ctypes.data

    def take_back(self, where: str) -> None:
        pass


class _Array:
    """A copy of an array between two stretches of FILL, at an address that any vector may have."""

    def __init__(self, x: np.ndarray[Any, Any], const: bool) -> None:
        self._x, self._const = x, const
        self._memory = np.full(x.nbytes + 3 * AROUND, FILL, np.uint8)
        start = AROUND + -(self._memory.ctypes.data + AROUND) % 256
        self._inside = slice(start, start + x.nbytes)
        self._memory[self._inside] = x.reshape(-1).view(np.uint8)
        self._pointer = ctypes.c_void_p(self._memory.ctypes.data + start)
        self.address = ctypes.addressof(self._pointer)

    def take_back(self, where: str) -> None:
        around = np.delete(self._memory, self._inside)
        if np.any(around != FILL):
            raise KernelError(f"{where}: written out of bounds")
        found, before = self._memory[self._inside], self._x.reshape(-1).view(np.uint8)
        if self._const and not np.array_equal(found, before):
            raise KernelError(f"{where}: written, though const")
        if not self._const:
            before[...] = found


class _Dim3(ctypes.Structure):
    _fields_ = tuple((axis, ctypes.c_uint) for axis in "xyz")


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", _Dim3),
        ("block", _Dim3),
        ("dynamic_bytes", ctypes.c_size_t),
        ("cooperative", ctypes.c_int),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("waits", ctypes.c_int),
    )


def _dim3(size: Sequence[int]) -> _Dim3:
    return _Dim3(*(*size, 1, 1)[:3])


def _built(code: str, names: list[str], options: tuple[str, ...], sanitize: str | None) -> Path:
    """The library made of a source; one that was made before is taken again."""
    exports = "\n".join(f"EXPORT({name})" for name in names)
    text = f'#include "{HEADER}"\n#line 1 "kernels.cu"\n{code}\n{exports}\n'
    flags = [*FLAGS, *options]
    if sanitize is not None:
        flags += [f"-fsanitize={sanitize}", "-DTHREADS"]
    made_of = repr((COMPILER, flags, text, HEADER.read_text()))
    name = "xpcls-simulator-" + hashlib.sha256(made_of.encode()).hexdigest()[:16]
    library = Path(tempfile.gettempdir(), f"{name}.so")
    if library.exists():
        return library
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        source.write_text(text)
        command = [COMPILER, *flags, "-o", str(made), str(source), "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise KernelError(done.stderr[:4000])
        arrived = library.with_suffix(f".{os.getpid()}")
        shutil.copy(made, arrived)
        os.replace(arrived, library)
    return library
