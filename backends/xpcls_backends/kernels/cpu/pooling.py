"""The largest entries of windows that do not overlap, and their gradients, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcls_backends._pooling import is_by_images, like_images, to_fill, windows_of

from ._compile import compiled

HostArray = np.ndarray[Any, Any]
Pair = tuple[int, int]


def largest_of_windows(x: HostArray, size: Pair, stride: Pair) -> HostArray:
    """See `largest_of_windows` of _pooling.py; likewise below."""
    first, *_ = windows_of(x, size, stride)
    z: HostArray = like_images(np, x, x[first].shape)
    _largest(_runs(x, x), _runs(z, x), size, stride)
    return z


def largest_of_windows_backward(
    x: HostArray, z: HostArray, g: HostArray, size: Pair, stride: Pair
) -> HostArray:
    dx: HostArray = to_fill(np, x, size, stride)[0]
    into = _runs(dx, x)
    _gradients(
        _runs(x, x), _runs(z, x), _runs(g, x), into, np.empty(into.shape[3], x.dtype), size, stride
    )
    return dx


def _runs(images: HostArray, x: HostArray) -> HostArray:
    """Images (N, H, W, C), in memory like x, as (parts, H, W, numbers side by side)."""
    if is_by_images(np, x):
        return np.ascontiguousarray(images)
    n, height, width, channels = images.shape
    by_pixels = np.ascontiguousarray(images.transpose(1, 2, 0, 3))
    return by_pixels.reshape(1, height, width, n * channels)


@compiled()
def _largest(x: HostArray, z: HostArray, size: Pair, stride: Pair) -> None:
    parts, height, width, length = z.shape
    for part in range(parts):
        for i in range(height):
            for j in range(width):
                largest = z[part, i, j]
                largest[:] = x[part, i * stride[0], j * stride[1]]
                for place in range(1, size[0] * size[1]):
                    u, v = divmod(place, size[1])
                    other = x[part, i * stride[0] + u, j * stride[1] + v]
                    for k in range(length):
                        a, b = largest[k], other[k]
                        largest[k] = a if (a >= b) | (a != a) else b  # as NumPy treats NaN


@compiled()
def _gradients(
    x: HostArray,
    z: HostArray,
    g: HostArray,
    dx: HostArray,
    left: HostArray,
    size: Pair,
    stride: Pair,
) -> None:
    """left : (length of a run,), what has not found its entry yet."""
    parts, height, width, length = z.shape
    nothing = left.dtype.type(0)
    for part in range(parts):
        for i in range(height):
            for j in range(width):
                largest = z[part, i, j]
                left[:] = g[part, i, j]
                for place in range(size[0] * size[1] - 1):
                    u, v = divmod(place, size[1])
                    entries = x[part, i * stride[0] + u, j * stride[1] + v]
                    found = dx[part, i * stride[0] + u, j * stride[1] + v]
                    for k in range(length):
                        here = entries[k] == largest[k]
                        found[k] = left[k] if here else nothing
                        left[k] = nothing if here else left[k]
                dx[part, i * stride[0] + size[0] - 1, j * stride[1] + size[1] - 1] = left
