"""CUDA kernels of rows and bits, behind their launchers, against NumPy or their plain versions.

On a card, or with `--backend fakecupy` on the simulator, where threads take turns in several
orders.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import reference
from tests.cuda.conftest import LAUNCHERS
from xpcls_backends import Backend, counter_bits, smallest_k, to_host
from xpcls_backends.kernels import asking_for_kernels, has_cuda_kernels
from xpcls_backends.kernels.cuda import _module, direct, products, scans, smallest

few = settings(max_examples=25, deadline=None)


def test_the_switch_keeps_kernels_away(card: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_cuda_kernels(card.xp)
    with asking_for_kernels(False):
        assert not has_cuda_kernels(card.xp)
    monkeypatch.setenv("XPCLS_KERNELS", "off")
    assert not has_cuda_kernels(card.xp)


@few
@given(key=st.integers(0, 2**64 - 1), start=st.integers(0, 2**40), n=st.integers(0, 300))
def test_bits_are_those_of_the_plain_version(card: Backend, key: int, start: int, n: int) -> None:
    found = counter_bits(card.xp, card.device, key, start, n)
    with asking_for_kernels(False):
        expected = counter_bits(card.xp, card.device, key, start, n)
    assert found.dtype == card.xp.uint32 and found.shape == (n,)
    np.testing.assert_array_equal(to_host(found), to_host(expected))


def _entries(kind: str, shape: tuple[int, int], rng: np.random.Generator, dtype: str) -> Any:
    if kind == "integers":
        return rng.integers(-(2**31), 2**31, shape).astype("int32")
    x = rng.normal(size=shape)
    if kind == "ties":
        x = np.round(x)
    elif kind == "descending":
        x = np.sort(x, axis=1)[:, ::-1]
    elif kind == "zeros":
        tiny = np.finfo(dtype).smallest_subnormal
        x = rng.choice([0.0, -0.0, tiny, -tiny], shape)
    elif kind == "infinite":
        x[rng.random(shape) < 0.3] = np.inf
        x[rng.random(shape) < 0.3] = -np.inf
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["normal", "ties", "descending", "zeros", "infinite", "integers"])
def test_the_smallest_entries_of_rows(card: Backend, turns: None, kind: str, dtype: str) -> None:
    rng = np.random.default_rng(len(kind))
    for n, m, k in (
        (1, 1, 1),
        (3, 31, 31),
        (2, 129, 10),
        (3, 1000, 32),
        (2, 700, 33),
        (1, 600, 512),
    ):
        x = _entries(kind, (n, m), rng, dtype)
        values, columns = smallest_k(card.asarray(x), k)
        expected = np.argsort(x, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(to_host(columns), expected)
        np.testing.assert_array_equal(to_host(values), np.take_along_axis(x, expected, axis=1))
        assert columns.dtype == card.xp.int64 and values.dtype == getattr(card.xp, x.dtype.name)


def test_the_smallest_of_scaled_and_added_entries(card: Backend, turns: None) -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(-1000, 1000, (3, 400)).astype("int32")
    added = rng.integers(0, 50, 400).astype("int32")
    values, columns = smallest.smallest(card.asarray(x), 20, card.asarray(added), scale=-2)
    keys = -2 * x + added
    expected = np.argsort(keys, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(to_host(columns), expected)
    np.testing.assert_array_equal(to_host(values), np.take_along_axis(keys, expected, axis=1))


@pytest.mark.parametrize("dtype", smallest.KINDS)
def test_the_smallest_entries_by_their_names(card: Backend, turns: None, dtype: str) -> None:
    rng = np.random.default_rng(6)
    x = rng.integers(-9, 9, (3, 200)).astype(dtype)
    names = np.stack([rng.permutation(2**32 - 1 - np.arange(200)) for _ in range(3)])
    values, found = smallest.smallest(card.asarray(x), 40, names=card.asarray(names))
    order = np.lexsort((names, x))[:, :40]
    np.testing.assert_array_equal(to_host(found), np.take_along_axis(names, order, axis=1))
    np.testing.assert_array_equal(to_host(values), np.take_along_axis(x, order, axis=1))


def test_more_than_a_kernel_keeps_is_sorted_plainly(card: Backend, launched: list[str]) -> None:
    x = card.asarray(np.random.default_rng(0).normal(size=(2, 900)).astype("float32"))
    smallest_k(x, smallest.MOST)
    assert launched == ["smallest_f32"]
    _, columns = smallest_k(x, smallest.MOST + 1)
    assert launched == ["smallest_f32"]
    expected = np.argsort(to_host(x), axis=1, kind="stable")[:, : smallest.MOST + 1]
    np.testing.assert_array_equal(to_host(columns), expected)


def test_columns_are_counted_in_32_bits() -> None:
    """Those of the longest row, and those behind its end that a block looks for."""
    found = re.search(r"^#define AT_ONCE (\d+)", _module.source("smallest"), re.MULTILINE)
    assert found is not None
    assert smallest.LONGEST - 1 + int(found[1]) * smallest.THREADS < 2**31


@pytest.mark.parametrize("status", [1, 3, 7])
def test_memory_that_cublas_does_not_find_is_a_memory_error(
    card: Backend, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Of 1, not initialized, and of 3, allocation failed; 7 is an invalid value."""
    from cupy_backends.cuda.libs import cublas

    def fails(*args: Any) -> None:
        raise cublas.CUBLASError(status)

    monkeypatch.setattr(cublas, "gemmEx", fails)
    codes, _ = products.byte_codes(card.asarray(np.zeros((4, 4), "uint8")))
    with pytest.raises(MemoryError if status < 7 else cublas.CUBLASError):
        products.overlaps(codes, codes)


@pytest.mark.parametrize("shapes", [(1, 1, 1), (9, 33, 17), (4, 40, 64)])
def test_codes_of_bytes_and_their_products(card: Backend, shapes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(sum(shapes))
    n_a, n_b, length = shapes
    a, b = (rng.choice([0, 1, 127, 128, 255], (n, length)).astype("uint8") for n in (n_a, n_b))
    codes_a, squares = products.byte_codes(card.asarray(a))
    behind = card.asarray(np.append(np.uint8(9), b))[1:]  # from no multiple of 4 bytes on
    codes_b, _ = products.byte_codes(card.xp.reshape(behind, b.shape))
    signed_a, signed_b = a.astype("int64") - 128, b.astype("int64") - 128
    codes = to_host(codes_a)
    np.testing.assert_array_equal(codes[:n_a, :length], signed_a)
    assert not codes[n_a:].any() and not codes[:, length:].any()
    assert not any(n % 4 for n in codes.shape)  # which cuBLAS asks for
    np.testing.assert_array_equal(to_host(squares), np.sum(signed_a**2, axis=1))
    found = products.overlaps(codes_a, codes_b)
    np.testing.assert_array_equal(to_host(found)[:n_a, :n_b], signed_a @ signed_b.T)


@pytest.mark.parametrize("hard", ["plain", "offset", "denormal", "extremes"])
def test_floats_are_coded_in_tf32(card: Backend, turns: None, hard: str) -> None:
    rng = np.random.default_rng(2)
    x = reference.hard_rows(hard, (9, 37), "float32", rng)
    centre = x[0] if hard == "offset" else np.zeros(37, "float32")
    coded = products.float_codes(card.asarray(x), card.asarray(centre))
    codes, squares = (to_host(a) for a in coded)
    true = x.astype("float64") - centre
    assert codes.dtype == "float32" and not (codes.view("uint32") & 0x1FFF).any()
    assert not codes[9:].any() and not codes[:, 37:].any()
    finite = np.isfinite(codes[:9, :37])
    assert finite.all() or hard == "extremes"  # the largest numbers are rounded up
    off = np.abs(codes[:9, :37].astype("float64") - true)[finite]
    allowed = scans.TF32_ERROR * np.abs(true[finite])
    assert (off <= np.maximum(allowed, scans.SMALLEST)).all()
    np.testing.assert_allclose(squares, np.sum(true * true, axis=1), rtol=1e-13)


@pytest.mark.parametrize("shapes", [(1, 1, 1), (5, 257, 200), (3, 129, 31)])
def test_products_in_tf32(card: Backend, shapes: tuple[int, int, int]) -> None:
    n_a, n_b, length = shapes
    rng = np.random.default_rng(n_b)
    a, b = (rng.normal(size=(n, length)).astype("float32") for n in (n_a, n_b))
    zero = card.asarray(np.zeros(length, "float32"))
    codes = [products.float_codes(card.asarray(x), zero)[0] for x in (a, b)]
    found = to_host(products.overlaps(*codes))
    wide = [to_host(x).astype("float64") for x in codes]
    off = np.abs(found - wide[0] @ wide[1].T)
    width = codes[0].shape[1]
    assert (off <= width * scans.ADDITION * (np.abs(wide[0]) @ np.abs(wide[1]).T)).all()
    assert found.dtype == "float32" and not any(n % 4 for n in found.shape)


@pytest.mark.parametrize(("kind", "off"), [("l1", 0.6), ("l2", 0.1)])
def test_what_a_scan_found_is_settled(card: Backend, turns: None, kind: str, off: float) -> None:
    """Keys of a scan are below the true ones by `off`, or above: the offset says so."""
    rng = np.random.default_rng(7)
    points, queries = (rng.random((n, 11)).astype("float32") for n in (60, 8))
    points[50:] = points[40:50]  # equal distances, in any order
    d = queries[:, None].astype("float64") - points
    true = np.sum(np.abs(d) if kind == "l1" else d * d, axis=-1)
    keys = (true + off * rng.choice([-1, 1], true.shape)).astype("float32")
    columns = np.argsort(keys, axis=1, kind="stable")[:, :9]
    values = np.take_along_axis(keys, columns, axis=1)
    scanned = card.asarray(values), card.asarray(columns)
    offsets = card.asarray(np.full(8, -off - 1e-6))
    given = card.asarray(queries), card.asarray(points), scanned
    found = [to_host(x) for x in direct.settled(*given, 3, kind, 1.0, offsets)]
    of_these = np.take_along_axis(true, columns, axis=1)
    order = np.lexsort((columns, of_these))[:, :3]
    np.testing.assert_array_equal(found[1], np.take_along_axis(columns, order, axis=1))
    np.testing.assert_allclose(found[0], np.take_along_axis(of_these, order, axis=1), rtol=1e-13)
    np.testing.assert_array_equal(found[2], values[:, -1] - off - 1e-6 > found[0][:, -1])
    assert 0 < np.sum(found[2]) < 8


@pytest.mark.parametrize("dtype", list(direct.PIXELS))
@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_direct_keys_of_candidates(card: Backend, turns: None, dtype: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    for hard in ("duplicates", "offset", "denormal", "pixels"):
        points = reference.hard_rows(hard, (40, 37), dtype, rng)
        queries = reference.hard_rows(hard, (5, 37), dtype, rng)
        candidates = rng.integers(0, 40, (5, 9))
        factor = 2.0**100 if hard == "denormal" else 1.0
        args = (card.asarray(x) for x in (queries, points, candidates))
        found = to_host(direct.direct_keys(*args, kind, factor))
        d = queries[:, None].astype("float64") * factor - points[candidates] * np.float64(factor)
        expected = np.sum(np.abs(d) if kind == "l1" else d * d, axis=-1)
        assert found.dtype == "float64"
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        assert ((found == 0.0) == (expected == 0.0)).all()


def test_every_launcher_is_tested() -> None:
    others = {"neighbors", "scans", "cudnn"}
    modules = {path.stem for path in _module.HOME.glob("[a-z]*.py")} - others
    assert {module.__name__.rpartition(".")[2] for module in LAUNCHERS} == modules
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for module in modules:
        assert {"bits": "counter_bits("}.get(module, f"{module}.") in tests, module
