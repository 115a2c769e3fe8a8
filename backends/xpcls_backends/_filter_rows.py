"""Convolution on NumPy as one product for each row of the filters.

What is under one row of the filters is laid out, for each row of the images: (H, n, Wo, kw C). Row
u of the filters has under it what lies there from u on, for all images at once, and

    y[i, n, j] = sum_u laid[i + u, n, j] @ w[u].

So the matrix is kh times as small as that of all pixels under the filters. With a stride s, rows u,
u + s, ... of the images are laid out for themselves, for each u < s.

All is done in few and long calls: threads wait for each other wherever Python's lock changes hands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ._memory import lend

HostArray = np.ndarray[Any, Any]
Pair = tuple[int, int]


def forward(padded: HostArray, w: HostArray, stride: Pair, y: HostArray) -> None:
    """Fill y (n, Ho, Wo, F) with the convolution of images (n, H, W, C), zeros around them
    included, and filters (kh, kw, C, F) of at least two rows."""
    kh, _, _, n_filters = w.shape
    in_rows = y.transpose(1, 0, 2, 3)
    flat = w.reshape(kh, -1, n_filters)
    products = lend(np, (kh, *in_rows.shape), y.dtype, None)
    for rows, under in _under_rows(padded, w, stride, in_rows.shape):
        out = products[rows].reshape(under.shape[0], -1, n_filters)
        np.matmul(under, flat[rows], out=out)
    total = products[0]
    for product in products[1:-1]:
        total += product
    np.add(total, products[-1], out=in_rows)


def filter_gradient(padded: HostArray, g: HostArray, stride: Pair, dw: HostArray) -> None:
    """Fill dw (kh, kw, C, F), in standard order, for gradients g (n, Ho, Wo, F) of y."""
    in_rows = lend(np, (g.shape[1], g.shape[0], *g.shape[2:]), g.dtype, None)
    in_rows[...] = g.transpose(1, 0, 2, 3)
    of_pixels = in_rows.reshape(-1, g.shape[3])
    flat = dw.reshape(dw.shape[0], -1, dw.shape[3])
    for rows, under in _under_rows(padded, dw, stride, in_rows.shape):
        np.matmul(under.mT, of_pixels, out=flat[rows])


def _under_rows(
    padded: HostArray, w: HostArray, stride: Pair, size: tuple[int, ...]
) -> Iterator[tuple[slice, HostArray]]:
    """Rows of the filters, and the pixels under each: (rows, Ho n Wo, kw C), which overlap."""
    kh, kw, channels, _ = w.shape
    height, n, width, _ = size
    image, down, right, one = padded.strides
    strides = (stride[0] * down, image, stride[1] * right, one)
    for first in range(min(stride[0], kh)):
        count = len(range(first, kh, stride[0]))
        laid = lend(np, (height + count - 1, n, width, kw * channels), padded.dtype, None)
        laid[...] = as_strided(padded[:, first:], laid.shape, strides, writeable=False)
        shape = (count, height * n * width, kw * channels)
        under = as_strided(laid, shape, (laid.strides[0], *laid.strides[2:]), writeable=False)
        yield slice(first, None, stride[0]), under
