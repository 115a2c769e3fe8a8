"""Convolution without a matrix of pixels: the images themselves are one side of the product.

In a padded image what a row of a filter meets, (kw, C), is one run of memory. `multiply` of
_products.py goes along it, and from one row of the filter to the next in rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._compile import compiled
from ._products import ROWS, VECTOR, lanes_of, multiply

HostArray = np.ndarray[Any, Any]
Pair = tuple[int, int]

NEAR = 2**14  # bytes of gradients that many rows of filters are summed over, to stay in the cache


def fits(filters: int, dtype: np.dtype[Any]) -> bool:
    """Whether so many filters are a number of whole vectors."""
    return filters % lanes_of(dtype) == 0


def forward(padded: HostArray, w: HostArray, stride: Pair, y: HostArray) -> None:
    """Fill y (n, Ho, Wo, F) with the convolution of images, with zeros around them, and filters.

    padded : (n, H + 2 p, W + 2 p, C), in standard order, as w is (kh, kw, C, F). y : in any order
    of (n, Ho, Wo), the filters side by side.
    """
    _forward(padded, np.ascontiguousarray(w), stride, y)


def filter_gradient(padded: HostArray, dy: HostArray, stride: Pair, dw: HostArray) -> None:
    """Fill dw (kh, kw, C, F), in standard order; arguments as in `forward`."""
    dy = dy if dy.strides[3] == dy.itemsize else np.ascontiguousarray(dy)
    dw[...] = 0.0
    _filter_gradient(padded, dy, stride, dw)


@compiled()
def _forward(padded: HostArray, w: HostArray, stride: Pair, y: HostArray) -> None:
    kh, kw, channels, filters = w.shape
    n, height, width, _ = y.shape
    itemsize = y.itemsize
    image, down, right, _ = padded.strides
    across = filters * itemsize
    run = kw * channels
    images_at, filters_at, into = padded.ctypes.data, w.ctypes.data, y.ctypes.data
    vectors = across // VECTOR
    if y.strides[0] < y.strides[2] and n >= ROWS[0]:  # the rows of the product are images
        of_a = image, itemsize, down
        for i in range(height):
            for j in range(width):
                multiply(
                    w,
                    images_at + i * stride[0] * down + j * stride[1] * right,
                    of_a,
                    filters_at,
                    (across, run * across),
                    into + i * y.strides[1] + j * y.strides[2],
                    y.strides[0],
                    (n, vectors, run, kh),
                    False,
                )
        return
    of_a = stride[1] * right, itemsize, down
    for k in range(n):
        for i in range(height):
            multiply(
                w,
                images_at + k * image + i * stride[0] * down,
                of_a,
                filters_at,
                (across, run * across),
                into + k * y.strides[0] + i * y.strides[1],
                y.strides[2],
                (width, vectors, run, kh),
                False,
            )


@compiled()
def _filter_gradient(padded: HostArray, dy: HostArray, stride: Pair, dw: HostArray) -> None:
    kh, kw, channels, filters = dw.shape
    itemsize = dw.itemsize
    image, down, right, _ = padded.strides
    across = filters * itemsize
    vectors = across // VECTOR
    images_at, g_at, into = padded.ctypes.data, dy.ctypes.data, dw.ctypes.data
    # Output pixels: the axis that is run over last, and its steps in x and dy; then the others.
    n, height, width, _ = dy.shape
    images = n, image, dy.strides[0]
    rows = height, stride[0] * down, dy.strides[1]
    columns = width, stride[1] * right, dy.strides[2]
    if dy.strides[0] < dy.strides[2]:
        inner, middle, outer = images, columns, rows
    else:
        inner, middle, outer = columns, rows, images
    at_once = max(1, NEAR // (inner[0] * across))
    for i in range(outer[0]):
        for j in range(0, middle[0], at_once):
            x = images_at + i * outer[1] + j * middle[1]
            g = g_at + i * outer[2] + j * middle[2]
            for u in range(kh):
                multiply(
                    dw,
                    x + u * down,
                    (itemsize, inner[1], middle[1]),
                    g,
                    (inner[2], middle[2]),
                    into + u * dw.strides[0],
                    across,
                    (kw * channels, vectors, inner[0], min(at_once, middle[0] - j)),
                    True,
                )
