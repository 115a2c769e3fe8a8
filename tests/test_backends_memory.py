"""Memory that is used again: whose it is at any time, and how much waits."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from xpcls_backends import Backend, _memory, device_of
from xpcls_backends._memory import LINE, SMALL, lend, lend_images


@pytest.fixture(autouse=True)
def nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(_memory, "_waiting", [])


def address(x: Any) -> int:
    return int(x.__array_interface__["data"][0])


def lent(shape: tuple[int, ...], dtype: str = "float32") -> Any:
    return lend(np, shape, np.dtype(dtype), None)


def test_an_array_of_any_backend_has_what_was_asked_for(backend: Backend) -> None:
    x = backend.asarray(np.ones((2, 3, 4, 5), "float32"))
    for by_pixels in (False, True):
        found = lend_images(backend.xp, x, (64, 32, 32, 5), by_pixels)
        assert found.shape == (64, 32, 32, 5) and found.dtype == x.dtype
        assert device_of(found) == device_of(x)


def test_memory_comes_back_with_the_last_view() -> None:
    a = lent((SMALL,))
    place = address(a)
    assert place % LINE == 0 and a.flags.writeable
    view = a[10:].reshape(2, -1).T
    del a
    other = lent((SMALL,))
    assert address(other) != place  # a view still looks at it
    del view
    b = lent((SMALL // 2,), "float64")
    assert address(b) == place


def test_two_arrays_never_share_memory() -> None:
    held = [lent((SMALL + i,)) for i in range(20)]
    for i, x in enumerate(held):
        x[...] = i
    del held[::2]
    for i in range(20, 40):
        held.append(lent((SMALL + i,)))
        held[-1][...] = i
    values = {float(x[0]) for x in held}
    assert len(values) == len(held) and all((x == x[0]).all() for x in held)


def test_what_waits_is_bounded_and_fits() -> None:
    sizes = (_memory.KEPT // 4, _memory.KEPT // 3, _memory.KEPT // 2)
    held = [lent((size,), "uint8") for size in sizes]
    held.clear()
    assert sum(memory.nbytes for _, memory in _memory._waiting) <= _memory.KEPT
    kept = [memory.nbytes for _, memory in _memory._waiting]
    assert kept  # the last that came
    small = lent((SMALL,))
    assert [memory.nbytes for _, memory in _memory._waiting] == kept  # far too large for it
    del small
    one = lent((_memory.KEPT + 1,), "uint8")
    del one
    assert all(memory.nbytes <= _memory.KEPT for memory in _memory._waiting)


def test_small_arrays_are_left_to_the_allocator() -> None:
    x = lent((SMALL // 8,))
    assert x.flags.owndata
    del x
    assert _memory._waiting == []


FORK = """
import os, signal, threading
import numpy as np
from xpcls_backends import _memory
held, done = threading.Event(), threading.Event()

def hold():
    with _memory._lock:
        held.set()
        done.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)  # where it waits for the lock for ever
    x = _memory.lend(np, (_memory.SMALL,), np.dtype("f4"), None)
    del x
    os._exit(0)
print(os.waitpid(child, 0)[1])
done.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_lacks() -> None:
    path = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n"
