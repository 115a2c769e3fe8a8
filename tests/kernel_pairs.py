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
from xpcls.optimizers import SGD, Constant, Momentum
from xpcls.training import Settings, start_run, train
from xpcls_backends import (
    convolve,
    convolve_backward,
    largest_of_windows,
    largest_of_windows_backward,
    rectified,
    rectified_backward,
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
    # One array, since a gradient of the bias can be 0 but for rounding; and a 1 in it, since the
    # logarithm of a number next to 1 is as exact as that number.
    one = np.ones(1, dtypes[1])
    return np.concatenate([np.ravel(value), np.ravel(of_weights), of_bias, one])


def _descent(
    loss: str,
    dtypes: tuple[str, str],
    sizes: tuple[int, int, int],
    batch: int,
    decay: float,
    weighted: bool,
    seed: int,
) -> Any:
    """Weights, and losses, of a run of two epochs."""
    rng = np.random.default_rng(seed)
    n, features, n_classes = sizes
    X = 3.0 * rng.normal(size=(n, features))
    X = (np.abs(X) if dtypes[0] == "uint8" else X).astype(dtypes[0])
    weights = rng.normal(size=(features, n_classes)).astype(dtypes[1])
    bias, y = rng.normal(size=n_classes).astype(dtypes[1]), rng.integers(0, n_classes, n)
    weight = rng.uniform(0.1, 2.0, n).astype(dtypes[1]) if weighted else None
    optimizer = Momentum(decay) if decay else SGD()
    rate = 0.1 / (n_classes * (1.0 + np.mean(np.sum(np.square(X, dtype=dtypes[1]), axis=1))))
    settings = Settings(optimizer, Constant(), float(rate), epochs=2, batch_size=batch)
    model = LinearModel(loss, delta=1.3, l2=0.01, l1=0.0, constant=2.0)
    generator = np.random.default_rng(seed)
    run = train(
        model, start_run((weights, bias), settings), X, y, settings, generator, sample_weight=weight
    )
    velocities = [np.ravel(v) for kept in run.state[1] for v in kept]
    losses = np.asarray(run.history["loss"])
    return np.concatenate([np.ravel(run.parameters[0]), run.parameters[1], losses, *velocities])


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


def _direct(
    dtype: str, shape: tuple[int, ...], size: Any, stride: Any, padding: Any, order: str, seed: int
) -> Any:
    """Images (N, H, W, C) with F filters, and both gradients."""
    rng = np.random.default_rng(seed)
    n, height, width, *groups = shape
    # Few channels are laid out another way; vectors have 4, 8 or 16 numbers.
    channels, n_filters = (groups[0] if groups[0] < 5 else 16 * (groups[0] - 4)), 16 * groups[1]
    x = _in_memory(rng.normal(size=(n, height, width, channels)).astype(dtype), order)
    w = rng.normal(size=(*size, channels, n_filters)).astype(dtype)
    y, kept = convolve(x, w, stride, padding, method="im2col")
    g = _in_memory(rng.normal(size=y.shape).astype(dtype), order)
    return y, *convolve_backward(kept, g)


def _rectified(dtype: str, shape: tuple[int, ...], order: str, seed: int) -> Any:
    """Whole numbers, so that sums are exact, many of them 0 or below, few NaN."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, shape).astype(dtype)
    x[rng.random(shape) < 0.01] = np.nan
    g = rng.integers(-3, 4, shape).astype(dtype)
    if len(shape) == 4:
        x, g = _in_memory(x, order), _in_memory(g, "by images")
    z = rectified(x, rng.integers(-1, 2, shape[-1]).astype(dtype))
    return z, *rectified_backward(z, g)


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
        "linear descent",
        _descent,
        ("linear_descent", "Descent"),
        st.tuples(
            st.sampled_from(LINEAR_LOSSES),
            st.sampled_from([("float32",) * 2, ("float64",) * 2, ("uint8", "float32")]),
            st.tuples(
                st.integers(1, 150),
                st.one_of(st.integers(1, 40), st.integers(255, 800)),
                st.integers(2, 12),
            ),
            st.integers(1, 60),
            st.sampled_from((0.0, 0.9)),
            st.booleans(),
            st.integers(0, 2**16),
        ),
        tolerance=1e-4,
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
        ("winograd", "forward"),
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
        "direct convolution",
        _direct,
        ("convolution", "forward"),
        st.tuples(
            _FLOATS,
            st.tuples(*(st.integers(*ends) for ends in ((1, 9), (4, 9), (4, 9), (1, 6), (1, 3)))),
            st.tuples(st.integers(1, 4), st.integers(1, 4)),
            st.tuples(st.integers(1, 3), st.integers(1, 3)),
            _PADDINGS,
            _ORDERS,
            st.integers(0, 2**16),
        ),
        tolerance=1e-5,
    ),
    Pair(
        "rectified sums",
        _rectified,
        ("rectified", "rectified"),
        st.tuples(
            _FLOATS,
            st.one_of(
                st.tuples(*[st.integers(0, 7)] * 3, st.integers(1, 40)),
                st.tuples(st.integers(0, 30), st.integers(1, 40)),
                st.tuples(st.integers(1, 40)),
            ),
            _ORDERS,
            st.integers(0, 2**16),
        ),
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
