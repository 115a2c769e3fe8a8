"""Convolution and its gradients: against naive loops, both ways, in any blocks and threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reference_networks as reference
from xpcls_backends import (
    Backend,
    _convolution,
    _im2col,
    convolve,
    convolve_backward,
    get_backend,
    to_host,
)
from xpcls_backends.testing import forbid_host_reads

rng = np.random.default_rng(0)


def operands(x: tuple[int, ...], w: tuple[int, ...], dtype: str = "float64") -> tuple[Any, Any]:
    made = np.random.default_rng(sum(x) + sum(w))
    return made.normal(size=x).astype(dtype), made.normal(size=w).astype(dtype)


def both_gradients(x: Any, w: Any, g: Any, stride: Any, padding: Any) -> tuple[Any, Any]:
    """By the definition: each output's gradient to each pixel and weight that it was made of."""
    dw = np.zeros_like(w)
    padded = np.pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)))
    of_padded = np.zeros_like(padded)
    for i in range(g.shape[1]):
        for j in range(g.shape[2]):
            rows = slice(i * stride[0], i * stride[0] + w.shape[0])
            columns = slice(j * stride[1], j * stride[1] + w.shape[1])
            dw += np.einsum("nuvc,nf->uvcf", padded[:, rows, columns], g[:, i, j])
            of_padded[:, rows, columns] += np.einsum("uvcf,nf->nuvc", w, g[:, i, j])
    height, width = x.shape[1:3]
    inside = of_padded[:, padding[0] : padding[0] + height, padding[1] : padding[1] + width]
    return inside, dw


def assert_all_three(
    backend: Backend, x: Any, w: Any, stride: Any, padding: Any, method: str | None, rtol: float
) -> None:
    expected = reference.convolution(x.astype(float), w.astype(float), stride, padding)
    g = np.random.default_rng(9).normal(size=expected.shape).astype(x.dtype)
    with forbid_host_reads():
        y, kept = convolve(backend.asarray(x), backend.asarray(w), stride, padding, method)
        dx, dw = convolve_backward(kept, backend.asarray(g))
        only_dx, none = convolve_backward(kept, backend.asarray(g), wants_w=False)
        nothing, only_dw = convolve_backward(kept, backend.asarray(g), wants_x=False)
    of_x, of_w = both_gradients(x.astype(float), w.astype(float), g.astype(float), stride, padding)
    assert none is None and nothing is None
    for found, wanted in ((y, expected), (dx, of_x), (dw, of_w), (only_dx, of_x), (only_dw, of_w)):
        host = to_host(found)
        assert host.dtype == x.dtype and host.shape == wanted.shape
        size = max(1.0, np.abs(wanted).max(initial=0.0))
        np.testing.assert_allclose(host, wanted, rtol=rtol, atol=rtol * size)


@given(st.data())
def test_any_shape(backend: Backend, data: st.DataObject) -> None:
    kh, kw = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    stride = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
    padding = (data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2)))
    height = data.draw(st.integers(max(1, kh - 2 * padding[0]), 7))
    width = data.draw(st.integers(max(1, kw - 2 * padding[1]), 7))
    n, channels, filters = (data.draw(st.integers(low, 7)) for low in (0, 1, 1))
    x, w = operands((n, height, width, channels), (kh, kw, channels, filters), "float32")
    assert_all_three(backend, x, w, stride, padding, None, 1e-5)


@pytest.mark.parametrize("method", ["im2col", "winograd"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(st.data())
def test_both_ways_give_the_same(method: str, dtype: str, data: st.DataObject) -> None:
    padding = (data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2)))
    height = data.draw(st.integers(max(1, 3 - 2 * padding[0]), 11))
    width = data.draw(st.integers(max(1, 3 - 2 * padding[1]), 11))
    n, channels, filters = (data.draw(st.integers(low, 9)) for low in (0, 1, 1))
    x, w = operands((n, height, width, channels), (3, 3, channels, filters), dtype)
    rtol = 3e-5 if dtype == "float32" else 1e-12
    assert_all_three(get_backend("numpy"), x, w, (1, 1), padding, method, rtol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("method", "x", "w", "stride", "padding"),
    [
        ("winograd", (3, 17, 18, 19), (3, 3, 19, 30), (1, 1), (1, 1)),
        ("winograd", (2, 16, 16, 32), (3, 3, 32, 48), (1, 1), (2, 0)),
        ("im2col", (3, 17, 18, 16), (3, 3, 16, 32), (1, 1), (1, 1)),
        ("im2col", (5, 14, 13, 3), (5, 2, 3, 32), (1, 1), (2, 1)),
        ("im2col", (9, 16, 15, 32), (3, 3, 32, 64), (2, 1), (1, 0)),
        ("im2col", (4, 16, 16, 16), (1, 1, 16, 17), (1, 1), (0, 0)),  # no whole vectors
    ],
)
def test_sizes_at_which_kernels_are_taken(
    method: str, x: Any, w: Any, stride: Any, padding: Any, dtype: str
) -> None:
    images, filters = operands(x, w, dtype)
    size = convolve(images, filters, stride, padding, method)[0].size
    assert size >= _im2col.WORTH_KERNELS
    rtol = {"float64": 1e-12, "float32": 3e-5 if method == "winograd" else 1e-5}[dtype]
    assert_all_three(get_backend("numpy"), images, filters, stride, padding, method, rtol)


def test_numbers_of_several_dtypes_are_left_to_the_plain_way() -> None:
    x, w = operands((4, 16, 16, 32), (3, 3, 32, 32))
    for method in ("im2col", "winograd"):
        expected, _ = convolve(x, w, padding=(1, 1), method=method)
        y, kept = convolve(x.astype("float32"), w, padding=(1, 1), method=method)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        dx, dw = convolve_backward(kept, np.ones_like(expected))
        for found, wanted in zip(
            (dx, dw), both_gradients(x, w, np.ones_like(expected), (1, 1), (1, 1)), strict=True
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("method", ["im2col", "winograd"])
def test_blocks_and_threads_change_nothing_that_counts(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w = operands((13, 9, 10, 8), (3, 3, 8, 8), "float32")
    g = rng.normal(size=(13, 9, 10, 8)).astype("float32")

    def all_three() -> list[Any]:
        y, kept = convolve(x, w, padding=(1, 1), method=method)
        return [np.ascontiguousarray(part) for part in (y, *convolve_backward(kept, g))]

    whole = all_three()
    monkeypatch.setattr(_im2col, "_blocks", lambda *_: blocks)
    monkeypatch.setattr(_convolution, "_winograd_blocks", lambda *_: blocks)
    for size in (1, 4, 13):
        blocks = [slice(i, min(i + size, 13)) for i in range(0, 13, size)]
        found = []
        for threads in ("1", "2"):
            monkeypatch.setenv("OMP_NUM_THREADS", threads)
            found.append(all_three())
        for one, two, once in zip(*found, whole, strict=True):
            assert one.tobytes() == two.tobytes()  # as the number of threads changes no bit
            np.testing.assert_allclose(one, once, rtol=1e-4, atol=1e-5 * np.abs(once).max())


def test_any_order_in_memory_is_taken() -> None:
    x, w = operands((3, 6, 7, 8), (3, 3, 8, 9))
    turned = np.ascontiguousarray(x.transpose(1, 2, 0, 3)).transpose(2, 0, 1, 3)
    backwards = np.ascontiguousarray(x[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1]
    w_turned = np.asfortranarray(w)
    for method in ("im2col", "winograd"):
        y, kept = convolve(x, w, padding=(1, 1), method=method)
        g = rng.normal(size=y.shape)
        for other in (turned, backwards):
            z, kept_of_other = convolve(other, w_turned, padding=(1, 1), method=method)
            np.testing.assert_allclose(z, y, rtol=1e-12, atol=1e-12)
            found = convolve_backward(kept_of_other, np.asfortranarray(g))
            for one, two in zip(found, convolve_backward(kept, g), strict=True):
                np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)


def test_neither_inputs_nor_results_are_ever_written_to_again() -> None:
    x, w = operands((2, 8, 8, 8), (3, 3, 8, 8), "float32")
    copies = x.copy(), w.copy()
    y, kept = convolve(x, w, padding=(1, 1))
    dx, dw = convolve_backward(kept, np.ones_like(y))
    first = y.copy(), dx.copy(), dw.copy()
    z, other = convolve(x + 1, w * 2, padding=(1, 1))  # in the same scratch
    convolve_backward(other, np.ones_like(z) * 3)
    assert np.array_equal(x, copies[0]) and np.array_equal(w, copies[1])
    for now, then in zip((y, dx, dw), first, strict=True):
        assert np.array_equal(now, then)
    again = convolve_backward(kept, np.ones_like(y))
    assert all(np.array_equal(a, b) for a, b in zip(again, (dx, dw), strict=True))


@pytest.mark.parametrize(
    ("x", "w", "options", "message"),
    [
        ((1, 4, 4, 2), (3, 3, 2, 2), {"method": "fft"}, "method is 'fft', expected None or one of"),
        (
            (1, 4, 4, 2),
            (3, 3, 2, 2),
            {"method": "winograd", "stride": (2, 2)},
            "takes 3 x 3 filters with stride 1",
        ),
        (
            (1, 2, 4, 2),
            (3, 3, 2, 2),
            {},
            r"filters of 3 x 3 do not fit into images of 2 x 4 with padding \(0, 0\)",
        ),
    ],
)
def test_what_cannot_be_is_named(x: Any, w: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convolve(np.ones(x), np.ones(w), **options)
