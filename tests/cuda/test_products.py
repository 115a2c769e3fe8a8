"""Products of float32 on CuPy: rows by rows in one launch, and matrices where TF32 is on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import reference
from xpcls.distances import nearest, pairwise
from xpcls_backends import Backend, multiplies_in_tf32, row_dots, to_host
from xpcls_backends.kernels import asking_for_kernels
from xpcls_backends.kernels.cuda import dots


@pytest.fixture
def in_tf32(card: Backend) -> Any:
    """`@` of float32 as CUPY_TF32=1 makes it."""
    import cupy._core._routines_linalg as routines

    before = routines.get_compute_type(np.float32)
    routines.set_compute_type(np.float32, routines.COMPUTE_TYPE_TF32)
    yield
    routines.set_compute_type(np.float32, before)


@pytest.mark.parametrize("dtype", list(dots.NUMBERS))
def test_dots_of_rows(card: Backend, turns: None, launched: list[str], dtype: str) -> None:
    rng = np.random.default_rng(0)
    shapes = ((1, 1), (9, 31), (3, 128), (5, 131), (2, 3, 300), (0, 4), (7,))
    for shape in shapes:
        a, b = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        found = row_dots(card.asarray(a), card.asarray(b))
        assert found.shape == shape[:-1] and found.dtype == getattr(card.xp, dtype)
        with asking_for_kernels(False):
            plain = row_dots(card.asarray(a), card.asarray(b))
        expected = np.vecdot(a.astype("float64"), b.astype("float64"))
        bound = shape[-1] * np.finfo(dtype).eps * np.vecdot(np.abs(a), np.abs(b))
        for x in (to_host(found), to_host(plain)):
            assert (np.abs(x - expected) <= bound).all()
    assert launched == ["row_dots"] * (len(shapes) - 1)


def test_tf32_is_told(card: Backend, in_tf32: None) -> None:
    x = card.asarray(np.full((1, 1), 1.0 + 2.0**-20, "float32"))
    assert multiplies_in_tf32(card.xp) == (to_host(x @ x)[0, 0] == 1.0)
    assert not multiplies_in_tf32(np)


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("kernels", [False, None])
def test_neighbours_are_right_in_tf32(
    card: Backend, in_tf32: None, metric: str, kernels: bool | None
) -> None:
    rng = np.random.default_rng(1)
    points, queries = (reference.hard_rows("offset", (n, 24), "float32", rng) for n in (300, 20))
    d = queries[:, None].astype("float64") - points[None]
    true = np.sum(np.abs(d), axis=-1) if metric == "l1" else np.sqrt(np.sum(d * d, axis=-1))
    with asking_for_kernels(kernels):
        distances, indices = nearest(card.asarray(queries), card.asarray(points), 9, metric)
        matrix = pairwise(card.asarray(queries), card.asarray(points), metric)
    np.testing.assert_array_equal(to_host(indices), np.argsort(true, axis=1, kind="stable")[:, :9])
    np.testing.assert_allclose(to_host(distances), np.sort(true, axis=1)[:, :9], rtol=1e-6)
    np.testing.assert_allclose(to_host(matrix), true, rtol=1e-5)


def test_neighbours_of_integers_are_right_in_tf32(card: Backend, in_tf32: None) -> None:
    rng = np.random.default_rng(2)
    points, queries = (rng.integers(0, 4000, (n, 2)).astype("int16") for n in (400, 20))
    with asking_for_kernels(False):
        found = nearest(card.asarray(queries), card.asarray(points), 5)
    expected = nearest(queries, points, 5)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(to_host(a), b)
