"""Convolution and pooling by CUDA kernels; see test_rows.py for what this runs on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpcls_backends import (
    Backend,
    convolve,
    convolve_backward,
    largest_of_windows,
    largest_of_windows_backward,
    rectified,
    rectified_backward,
    to_host,
)
from xpcls_backends.kernels import asking_for_kernels
from xpcls_backends.kernels.cuda import images

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**20)
channels = st.sampled_from([1, 2, 3, 4, 5, 8, 12])


@pytest.mark.parametrize("dtype", list(images.NUMBERS))
@few
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9), channels),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=seeds,
)
def test_pooling_is_that_of_the_plain_version(
    card: Backend, dtype: str, shape: Any, size: Any, stride: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=shape), 1).astype(dtype)  # with ties
    x[rng.random(shape) < 0.02] = np.nan
    x = card.asarray(x)
    z = largest_of_windows(x, size, stride)
    g = card.asarray(rng.normal(size=z.shape).astype(dtype))
    dx = largest_of_windows_backward(x, z, g, size, stride)
    with asking_for_kernels(False):
        assert_same(z, largest_of_windows(x, size, stride))
        assert_same(dx, largest_of_windows_backward(x, z, g, size, stride), rtol=1e-6)


@pytest.mark.parametrize("dtype", list(images.NUMBERS))
def test_rectified_sums_are_those_of_the_plain_version(card: Backend, dtype: str) -> None:
    rng = np.random.default_rng(4)
    for shape in ((7, 5), (2, 3, 4, 5), (3, 8), (2, 3, 3, 12), (0, 5)):
        x, b = (np.round(rng.normal(size=s), 1).astype(dtype) for s in (shape, shape[-1:]))
        x[rng.random(shape) < 0.1] = np.nan
        x, b = card.asarray(x), card.asarray(b)
        g = card.asarray(rng.normal(size=shape).astype(dtype))
        z = rectified(x, b)
        found = rectified_backward(z, g)
        with asking_for_kernels(False):
            assert_same(z, rectified(x, b))
            for a, expected in zip(found, rectified_backward(z, g), strict=True):
                assert_same(a, expected, rtol=1e-6)


def test_images_that_begin_within_a_vector(card: Backend) -> None:
    numbers = card.asarray(
        np.random.default_rng(1).normal(size=1 + 2 * 4 * 4 * 8).astype("float32")
    )
    x = card.xp.reshape(numbers[1:], (2, 4, 4, 8))
    z = largest_of_windows(x, (2, 2), (2, 2))
    with asking_for_kernels(False):
        assert_same(z, largest_of_windows(x, (2, 2), (2, 2)))


def test_dividers_are_exact() -> None:
    for d in (*range(1, 70), 2**16 - 1, 2**16, 10**6 + 3, 2**30, 2**30 + 1, 2**31 - 1):
        multiplier, shift = divmod(int(images.divider(d)), 2**32)
        assert multiplier < 2**32 and shift < 32
        for multiple in (0, 1, 2, 5, (2**31 - 1) // d):
            for n in (multiple * d - 1, multiple * d, multiple * d + 1, 2**31 - 1):
                if 0 <= n < 2**31:
                    assert (2 * n * multiplier >> 32) >> shift == n // d  # as images.cu does it


def assert_same(a: Any, b: Any, rtol: float = 0.0) -> None:
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_allclose(to_host(a), to_host(b), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", list(images.NUMBERS))
@few
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(3, 8), st.integers(3, 8), channels),
    filters=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 14)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    seed=seeds,
)
def test_convolution_is_that_of_the_plain_version(
    card: Backend, dtype: str, shape: Any, filters: Any, stride: Any, padding: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = card.asarray(rng.normal(size=shape).astype(dtype))
    w = card.asarray(rng.normal(size=(*filters[:2], shape[3], filters[2])).astype(dtype))
    y, kept = convolve(x, w, stride, padding)
    g = card.asarray(rng.normal(size=y.shape).astype(dtype))
    found = convolve_backward(kept, g)
    with asking_for_kernels(False):
        plain, kept = convolve(x, w, stride, padding)
        expected = convolve_backward(kept, g)
    rtol = 1e-4 if dtype == "float32" else 1e-12
    for a, b in zip((y, *found), (plain, *expected), strict=True):
        assert_same(a, b, rtol)


def test_what_is_laid_out_is_added_up_where_it_was(card: Backend, launched: list[str]) -> None:
    x = np.random.default_rng(6).normal(size=(2, 7, 6, 3)).astype("float32")
    laid = images.lay_out(card.asarray(x), (3, 2), (2, 1), (1, 0), (4, 5))
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    found, times = to_host(laid), np.zeros(x.shape, "float32")
    for i, j, u, v in np.ndindex(4, 5, 3, 2):
        np.testing.assert_array_equal(found[:, i, j, u, v], padded[:, 2 * i + u, j + v])
        if 0 <= 2 * i + u - 1 < 7:
            times[:, 2 * i + u - 1, j + v] += 1
    back = card.asarray(np.full(x.shape, np.nan, "float32"))
    images.add_up(laid, back, (2, 1), (1, 0))
    np.testing.assert_allclose(to_host(back), times * x, rtol=1e-6)
    assert launched == ["lay_out", "add_up"]
