"""For tests: arrays compared with their namespace and device, and a guard against host reads."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import array_api_compat
import numpy as np

from ._place import Array, namespace_of, to_host, to_itemsize

# What `forbid_host_reads` enters beside its own: a test suite adds those of other arrays here.
GUARDS: list[Callable[[], contextlib.AbstractContextManager[None]]] = []
READS = ("__bool__", "__float__", "__int__", "__index__", "__complex__")


@contextlib.contextmanager
def forbid_host_reads() -> Iterator[None]:
    """Fail where an array of array-api-strict on a fake device becomes a Python number.

    `bool(x)`, `float(x)`, `if x > 0:` and `range(n)` with an array each wait for a GPU without
    saying so. `to_scalar` and `to_host` say so, and pass. Where array-api-strict is not installed
    there are no such arrays.
    """
    with contextlib.ExitStack() as patches:
        if importlib.util.find_spec("array_api_strict") is not None:
            patches.enter_context(_forbid_strict_reads())
        for guard in GUARDS:
            patches.enter_context(guard())
        yield


@contextlib.contextmanager
def _forbid_strict_reads() -> Iterator[None]:
    strict = importlib.import_module("array_api_strict")
    array_type = type(strict.asarray(0))

    def guarded(name: str) -> Callable[..., Any]:
        read = getattr(array_type, name)

        def refuse(self: Array) -> Any:
            if self.device != strict.Device("CPU_DEVICE"):
                raise AssertionError(f"hidden host read: {name} of an array on {self.device}")
            return read(self)

        return refuse

    with contextlib.ExitStack() as patches:
        for name in READS:
            patches.enter_context(mock.patch.object(array_type, name, guarded(name)))
        yield


def assert_close(
    actual: Array, expected: Array, *, rtol: float | None = None, atol: float = 0.0
) -> None:
    """Same namespace, device, dtype and shape, and values within `rtol` (4 sqrt(eps) if None)."""
    xp = namespace_of(actual)
    assert xp is namespace_of(expected), f"{xp} is not {namespace_of(expected)}"
    devices = array_api_compat.device(actual), array_api_compat.device(expected)
    assert devices[0] == devices[1], f"devices differ: {devices}"
    assert actual.dtype == expected.dtype, f"dtypes differ: {actual.dtype}, {expected.dtype}"
    assert actual.shape == expected.shape, f"shapes differ: {actual.shape}, {expected.shape}"
    if rtol is None:
        floating = xp.isdtype(actual.dtype, "real floating")
        rtol = 4.0 * 2.0 ** (-26 if to_itemsize(actual) == 8 else -11.5) if floating else 0.0
    np.testing.assert_allclose(to_host(actual), to_host(expected), rtol=rtol, atol=atol)
