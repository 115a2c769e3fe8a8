"""The guards that other tests rely on do fail where they should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.fake_devices import fake_backend
from xpcls_backends import Backend, to_host, to_scalar
from xpcls_backends.testing import READS, assert_close, forbid_host_reads

HIDDEN_READS = {
    "bool": bool,
    "if": lambda x: 1 if x > 0 else 2,
    "and": lambda x: (x > 0) and True,
    "not": lambda x: not x,
    "float": float,
    "int": int,
    "complex": complex,
    "range": range,
    "index of a list": lambda x: [1, 2, 3][x],
}


def one(fake: Backend, kind: str = "int") -> Any:
    dtypes = {"float": "float32", "complex": "float32", "bool": "bool", "not": "bool"}
    return fake.asarray(1, dtypes.get(kind, "int64"))


@pytest.mark.parametrize("kind", HIDDEN_READS)
def test_a_hidden_read_fails_under_the_guard(fake: Backend, kind: str) -> None:
    HIDDEN_READS[kind](one(fake, kind))  # passes without it: the strict device alone says nothing
    with forbid_host_reads(), pytest.raises(AssertionError, match=r"hidden host read: __\w+__ "):
        HIDDEN_READS[kind](one(fake, kind))
    HIDDEN_READS[kind](one(fake, kind))  # and the guard is gone afterwards


def test_every_way_to_read_is_guarded(fake: Backend) -> None:
    x = one(fake)
    with forbid_host_reads():
        for name in READS:
            with pytest.raises(AssertionError, match=f"{name} of an array on .*device1"):
                getattr(x, name)()


def test_named_reads_pass_and_so_does_the_host(fake: Backend) -> None:
    x = one(fake, "float")
    with forbid_host_reads():
        assert to_scalar(x) == 1.0
        assert to_host(x) == 1.0
        assert float(fake.xp.ones(())) == 1.0


def test_the_guard_ends_with_an_error_in_the_test(fake: Backend) -> None:
    with pytest.raises(KeyError), forbid_host_reads():
        raise KeyError
    assert int(one(fake)) == 1


def changed(backend: Backend) -> dict[str, object]:
    """Arrays that differ from [1, 2] of float32 in one thing each."""
    numpy_like = backend.name in ("numpy", "cupy")
    other = np.asarray([1.0, 2.0], np.float32)
    if backend.name != "cupy":
        other = fake_backend("CPU_DEVICE").asarray(other)
    arrays = {
        "dtype": backend.asarray([1, 2], "int32"),
        "shape": backend.asarray([[1, 2]], "float32"),
        "values": backend.asarray([1, 2.01], "float32"),
        "nan": backend.asarray([1, np.nan], "float32"),
        "is not" if numpy_like else "devices": other,
    }
    return arrays


def test_assert_close_fails_on_each_difference(backend: Backend) -> None:
    x = backend.asarray([1.0, 2.0], "float32")
    assert_close(x, backend.asarray([1.0, 2.0], "float32"))
    for what, y in changed(backend).items():
        message = what if what in ("dtype", "shape", "is not", "devices") else "Not equal"
        with pytest.raises(AssertionError, match=message):
            assert_close(x, y)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_assert_close_is_exact_where_numbers_are(backend: Backend, dtype: str) -> None:
    x, y = backend.asarray([1, 1], dtype), backend.asarray([1, 0], dtype)
    assert_close(x, x)
    with pytest.raises(AssertionError):
        assert_close(x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_assert_close_has_a_tolerance_by_dtype(native: Backend, dtype: str) -> None:
    rtol = 4 * float(np.sqrt(np.finfo(dtype).eps))
    x = native.asarray([1.0], dtype)
    assert_close(x * (1 + 0.9 * rtol), x)
    assert_close(x * (1 + 9 * rtol), x, rtol=10 * rtol)
    assert_close(x * (1 + 9 * rtol), x, atol=10 * rtol)
    with pytest.raises(AssertionError):
        assert_close(x * (1 + 1.2 * rtol), x)
    with pytest.raises(AssertionError):
        assert_close(x * (1 + 0.9 * rtol), x, rtol=0.0)
