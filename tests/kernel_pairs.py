"""Kernels and their plain versions: what tests/test_kernels.py walks.

A pair is a function of xpcls_backends, or of an algorithm above it, that takes either the kernel or
the plain version, and a strategy for its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests import reference
from xpcls.distances import nearest
from xpcls.features import HOG, ColorHistogram
from xpcls.linear_model import LINEAR_LOSSES, LinearModel
from xpcls_backends import (
    convolve,
    convolve_backward,
    largest_of_windows,
    largest_of_windows_backward,
    tile_histograms,
)


@dataclass(frozen=True)
class Pair:
    """One function with two ways to its answer.

    call : with arguments as drawn; returns an array or a tuple of arrays.
    kernel : module and name, within xpcls_backends.kernels.cpu, of what `call` must have called.
    arguments : tuples of arguments.
    tolerance : relative to the largest entry; 0.0: equal in every bit.
    """

    name: str
    call: Callable[..., Any]
    kernel: tuple[str, str]
    arguments: st.SearchStrategy[tuple[Any, ...]]
    tolerance: float = 0.0


def _nearest(kind: str, dtype: str, sizes: tuple[int, int, int], metric: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    n_queries, n_points, features = sizes
    points = reference.hard_rows(kind, (n_points, features), dtype, rng)
    queries = reference.hard_rows(kind, (n_queries, features), dtype, rng)
    distances, indices = nearest(queries, points, min(n_points, 1 + seed % 20), metric)
    distances = np.where(distances < np.inf, distances, 0.0)
    # Sums of floats are rounded in another order: of two at one distance either may be first.
    return (distances, indices) if dtype == "uint8" else distances


def _linear(
    loss: str, dtypes: tuple[str, str], sizes: tuple[int, int, int], weighted: bool, seed: int
) -> Any:
    """Loss and gradients of a mini-batch, whose rows stand anywhere and several times."""
    rng = np.random.default_rng(seed)
    n, features, n_classes = sizes
    X = 3.0 * rng.normal(size=(n + 3, features))
    X = (np.abs(X) if dtypes[0] == "uint8" else X).astype(dtypes[0])
    weights = rng.normal(size=(features, n_classes)).astype(dtypes[1])
    bias = rng.normal(size=n_classes).astype(dtypes[1])
    y, rows = rng.integers(0, n_classes, n), rng.integers(0, n + 3, n)
    weight = rng.uniform(0.1, 2.0, n).astype(dtypes[1]) if weighted else None
    model = LinearModel(loss, delta=1.3, l2=0.01, l1=0.0, constant=2.0)
    value, (of_weights, of_bias) = model.objective((weights, bias), X, y, weight, True, rows)
    # One array, since a gradient of the bias can be 0 but for rounding.
    return np.concatenate([np.ravel(value), np.ravel(of_weights), of_bias])


def _tiles(weighted: str, sizes: tuple[int, ...], n_bins: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    n, down, across, tall, wide = sizes
    shape = n, down * tall, across * wide
    bins = rng.integers(0, n_bins, shape).astype(("uint8", "int64")[seed % 2])
    weights = rng.uniform(0.0, 9.0, shape).astype(weighted) if weighted else None
    return tile_histograms(bins, weights, n_bins, (tall, wide))


def _hog(sizes: tuple[int, ...], channels: int, orientations: int, seed: int) -> Any:
    n, height, width, tall, wide = sizes
    images = _images((n, height, width, channels), seed)
    cell = min(tall, height), min(wide, width)
    return HOG(orientations, cell, block_norm=None).transform(images)


def _colors(sizes: tuple[int, int, int], bins: Any, weighted: bool, seed: int) -> Any:
    return ColorHistogram(bins, weighted=weighted).transform(_images((*sizes, 3), seed))


def _images(shape: tuple[int, ...], seed: int) -> Any:
    """Bytes of few values or of all, so that channels are equal, and grey, now and then."""
    high = 3 if seed % 3 == 0 else 256
    return np.random.default_rng(seed).integers(256 - high, 256, shape, dtype="uint8")


def _in_memory(x: Any, order: str) -> Any:
    """The same images, by images, by pixels, or with channels far apart."""
    if order == "by pixels":
        return np.ascontiguousarray(x.transpose(1, 2, 0, 3)).transpose(2, 0, 1, 3)
    return np.asfortranarray(x) if order == "by channels" else x


def _winograd(dtype: str, shape: tuple[int, ...], padding: Any, order: str, seed: int) -> Any:
    """Images (N, H, W, C) with F filters, and both gradients."""
    rng = np.random.default_rng(seed)
    *images, n_filters = shape
    x = _in_memory(rng.normal(size=images).astype(dtype), order)
    w = rng.normal(size=(3, 3, images[3], n_filters)).astype(dtype)
    y, kept = convolve(x, w, padding=padding, method="winograd")
    g = _in_memory(rng.normal(size=y.shape).astype(dtype), order)
    return y, *convolve_backward(kept, g)


def _largest(
    dtype: str, shape: tuple[int, ...], size: Any, beyond: Any, order: str, seed: int
) -> Any:
    """Windows of whole numbers, many of which are equal, some NaN; and the gradient."""
    rng = np.random.default_rng(seed)
    x = _in_memory(rng.integers(0, 3, shape).astype(dtype), order)
    x[rng.random(shape) < 0.05] = np.nan
    stride = size[0] + beyond[0], size[1] + beyond[1]
    z = largest_of_windows(x, size, stride)
    g = _in_memory(rng.normal(size=z.shape).astype(dtype), order)
    return z, largest_of_windows_backward(x, z, g, size, stride)


_FLOATS = st.sampled_from(("float32", "float64"))
_ORDERS = st.sampled_from(("by images", "by pixels", "by channels"))
_PADDINGS = st.tuples(st.integers(0, 2), st.integers(0, 2))

PAIRS: list[Pair] = [
    Pair(
        "nearest",
        _nearest,
        ("neighbors", "RowSearch"),
        st.tuples(
            st.sampled_from([kind for kind in reference.HARD_ROWS if kind != "near ties"]),
            st.sampled_from(("uint8", "float32")),
            st.tuples(st.integers(1, 30), st.integers(1, 300), st.integers(1, 90)),
            st.sampled_from(("l1", "l2", "sqeuclidean")),
            st.integers(0, 2**16),
        ),
        tolerance=1e-6,
    ),
    Pair(
        "linear",
        _linear,
        ("linear", "loss_and_gradient"),
        st.tuples(
            st.sampled_from(LINEAR_LOSSES),
            st.sampled_from([("float32",) * 2, ("float64",) * 2, ("uint8", "float32")]),
            st.tuples(st.integers(1, 300), st.integers(1, 70), st.integers(2, 12)),
            st.booleans(),
            st.integers(0, 2**16),
        ),
        tolerance=1e-5,
    ),
    Pair(
        "tile histograms",
        _tiles,
        ("histograms", "tile_sums"),
        st.tuples(
            st.sampled_from(("", "float32", "float64")),
            st.tuples(*[st.integers(1, 5)] * 5),
            st.integers(1, 12),
            st.integers(0, 2**16),
        ),
    ),
    Pair(
        "HOG",
        _hog,
        ("histograms", "gradient_histograms"),
        st.tuples(
            st.tuples(*[st.integers(1, n) for n in (3, 12, 12, 4, 4)]),
            st.integers(1, 4),
            st.integers(1, 12),
            st.integers(0, 2**16),
        ),
    ),
    Pair(
        "colour histograms",
        _colors,
        ("histograms", "color_histograms"),
        st.tuples(
            st.tuples(*[st.integers(1, n) for n in (3, 9, 40)]),
            st.one_of(st.integers(1, 1000), st.tuples(*[st.integers(1, 12)] * 3)),
            st.booleans(),
            st.integers(0, 2**16),
        ),
    ),
    Pair(
        "winograd",
        _winograd,
        ("winograd", "into_tiles"),
        st.tuples(
            _FLOATS,
            st.tuples(
                *(
                    st.integers(low, high)
                    for low, high in ((1, 4), (3, 13), (3, 13), (1, 37), (1, 37))
                )
            ),
            _PADDINGS,
            _ORDERS,
            st.integers(0, 2**16),
        ),
        tolerance=3e-5,
    ),
    Pair(
        "largest of windows",
        _largest,
        ("pooling", "largest_of_windows"),
        st.tuples(
            _FLOATS,
            st.tuples(*(st.integers(low, 9) for low in (0, 3, 3, 1))),
            st.tuples(st.integers(1, 3), st.integers(1, 3)),
            st.tuples(st.integers(0, 2), st.integers(0, 2)),
            _ORDERS,
            st.integers(0, 2**16),
        ),
    ),
]
