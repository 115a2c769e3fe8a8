"""CUDA kernels of rows and bits, behind their launchers, against NumPy or their plain versions.

On a card, or with `--backend fakecupy` on the simulator, where threads take turns in several
orders.
"""

from __future__ import annotations

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
from xpcls_backends.kernels.cuda import _module, direct, products, smallest

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


def _entries(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> Any:
    if kind == "integers":
        return rng.integers(-(2**31), 2**31, shape).astype("int32")
    x = rng.normal(size=shape)
    if kind == "ties":
        x = np.round(x)
    elif kind == "descending":
        x = np.sort(x, axis=1)[:, ::-1]
    elif kind == "zeros":
        x = rng.choice([0.0, -0.0, 1e-45, -1e-45], shape)
    elif kind == "infinite":
        x[rng.random(shape) < 0.3] = np.inf
        x[rng.random(shape) < 0.3] = -np.inf
    return x.astype("float32")


@pytest.mark.parametrize("kind", ["normal", "ties", "descending", "zeros", "infinite", "integers"])
def test_the_smallest_entries_of_rows(card: Backend, turns: None, kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    for n, m, k in (
        (1, 1, 1),
        (3, 31, 31),
        (2, 129, 10),
        (3, 1000, 32),
        (2, 700, 33),
        (1, 600, 512),
    ):
        x = _entries(kind, (n, m), rng)
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


def test_more_than_a_kernel_keeps_is_sorted_plainly(card: Backend, launched: list[str]) -> None:
    x = card.asarray(np.random.default_rng(0).normal(size=(2, 900)).astype("float32"))
    smallest_k(x, smallest.MOST)
    assert launched == ["smallest_f32"]
    _, columns = smallest_k(x, smallest.MOST + 1)
    assert launched == ["smallest_f32"]
    expected = np.argsort(to_host(x), axis=1, kind="stable")[:, : smallest.MOST + 1]
    np.testing.assert_array_equal(to_host(columns), expected)


@pytest.mark.parametrize("shapes", [(1, 1, 1), (9, 33, 17), (4, 40, 64)])
def test_codes_of_bytes_and_their_products(card: Backend, shapes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(sum(shapes))
    n_a, n_b, length = shapes
    a, b = (rng.choice([0, 1, 127, 128, 255], (n, length)).astype("uint8") for n in (n_a, n_b))
    codes_a, squares = products.byte_codes(card.asarray(a))
    codes_b, _ = products.byte_codes(card.asarray(b))
    signed_a, signed_b = a.astype("int64") - 128, b.astype("int64") - 128
    codes = to_host(codes_a)
    np.testing.assert_array_equal(codes[:n_a, :length], signed_a)
    assert not codes[n_a:].any() and not codes[:, length:].any()
    assert not any(n % 4 for n in codes.shape)  # which cuBLAS asks for
    np.testing.assert_array_equal(to_host(squares), np.sum(signed_a**2, axis=1))
    found = products.overlaps(codes_a, codes_b)
    np.testing.assert_array_equal(to_host(found)[:n_a, :n_b], signed_a @ signed_b.T)


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
    modules = {path.stem for path in _module.HOME.glob("[a-z]*.py")} - {"neighbors"}
    assert {module.__name__.rpartition(".")[2] for module in LAUNCHERS} == modules
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for module in modules:
        assert {"bits": "counter_bits("}.get(module, f"{module}.") in tests, module
