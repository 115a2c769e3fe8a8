"""The guards that other tests rely on do fail where they should."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest

from xpcls_backends import Backend, to_host, to_scalar
from xpcls_backends.testing import READS, assert_close, forbid_host_reads

DEVICE = array_api_strict.Device("device1")

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


def one(kind: str) -> object:
    dtype = array_api_strict.float32 if kind in ("float", "complex") else array_api_strict.int64
    if kind in ("bool", "not"):
        dtype = array_api_strict.bool
    return array_api_strict.ones((), dtype=dtype, device=DEVICE)


@pytest.mark.parametrize("kind", HIDDEN_READS)
def test_a_hidden_read_fails_under_the_guard(kind: str) -> None:
    HIDDEN_READS[kind](one(kind))  # passes without it: the strict device alone says nothing
    with forbid_host_reads(), pytest.raises(AssertionError, match=r"hidden host read: __\w+__ "):
        HIDDEN_READS[kind](one(kind))
    HIDDEN_READS[kind](one(kind))  # and the guard is gone afterwards


def test_every_way_to_read_is_guarded() -> None:
    x = array_api_strict.ones((), dtype=array_api_strict.int64, device=DEVICE)
    with forbid_host_reads():
        for name in READS:
            with pytest.raises(AssertionError, match=f"{name} of an array on .*device1"):
                getattr(x, name)()


def test_named_reads_pass_and_so_does_the_host() -> None:
    x = array_api_strict.ones((), dtype=array_api_strict.float32, device=DEVICE)
    with forbid_host_reads():
        assert to_scalar(x) == 1.0
        assert to_host(x) == 1.0
        assert float(array_api_strict.ones(())) == 1.0


def test_the_guard_ends_with_an_error_in_the_test() -> None:
    with pytest.raises(KeyError), forbid_host_reads():
        raise KeyError
    assert int(one("int")) == 1


def changed(backend: Backend) -> dict[str, object]:
    """Arrays that differ from [1, 2] of float32 in one thing each."""
    numpy_like = backend.name in ("numpy", "cupy")
    other = array_api_strict.asarray([1.0, 2.0], dtype=array_api_strict.float32)
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
