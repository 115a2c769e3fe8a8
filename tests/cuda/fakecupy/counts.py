"""What a GPU would be asked to do: kernels launched, waits for the device, transfers, memory."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Trace:
    """Counts of one block of code; `names` has every event, in order."""

    launches: int = 0
    syncs: int = 0  # the host waits until the device has done all it was given
    to_device: int = 0  # copies from the host's memory
    to_host: int = 0
    held: int = 0  # bytes of arrays made in the block that are still there
    most_held: int = 0  # at one time
    names: list[str] = field(default_factory=list)


_open: list[Trace] = []
_memory: dict[int, weakref.ref[np.ndarray]] = {}  # what arrays lie in, by its id
_forbidden = 0  # how many blocks of forbid_hidden_reads are entered


@contextlib.contextmanager
def trace() -> Iterator[Trace]:
    """Count what happens in the block; blocks may be nested."""
    found = Trace()
    _open.append(found)
    try:
        yield found
    finally:
        _open[:] = [other for other in _open if other is not found]


@contextlib.contextmanager
def forbid_hidden_reads() -> Iterator[None]:
    """Fail where the host reads without saying so: a number of an array, the length of a mask.

    `get()` says so, and `nonzero` cannot but read.
    """
    global _forbidden
    _forbidden += 1
    try:
        yield
    finally:
        _forbidden -= 1


def launch(name: str, times: int = 1) -> None:
    """So many kernels (or fills of memory) were launched."""
    for found in _open:
        found.launches += times
        found.names.append(name if times == 1 else f"{name} x{times}")


def upload(name: str) -> None:
    """A copy from the host. CuPy stages it, so nobody waits (core.pyx: _array_default)."""
    for found in _open:
        found.to_device += 1
        found.names.append(f"to device: {name}")


def read(name: str) -> None:
    """A copy to the host, which has to wait for it."""
    for found in _open:
        found.to_host += 1
    wait(name)


def hidden_read(name: str) -> None:
    """A read that is not seen in the code."""
    if _forbidden:
        raise AssertionError(f"hidden host read: {name} of an array of CuPy")
    read(name)


def wait(name: str) -> None:
    """A wait for the device."""
    for found in _open:
        found.syncs += 1
        found.names.append(f"wait: {name}")


def hold(host: np.ndarray) -> None:
    """An array lies in this memory, which it may share with others."""
    while isinstance(host.base, np.ndarray):
        host = host.base
    key, size, tracing = id(host), host.nbytes, list(_open)
    if key in _memory:
        return

    def given_back(_: object) -> None:
        del _memory[key]
        for found in tracing:
            found.held -= size

    _memory[key] = weakref.ref(host, given_back)
    for found in tracing:
        found.held += size
        found.most_held = max(found.most_held, found.held)
