"""Convolution with 3 x 3 filters in a quarter of the multiplications, for NumPy.

Winograd's F(4 x 4, 3 x 3): a tile of 4 x 4 outputs comes from one of 6 x 6 inputs d and a filter g,

    Y = A^T [(G g G^T) * (B^T d B)] A,

36 products where the sum takes 144. Over many tiles and channels each of the 36 is a product of
matrices (tiles, C) (C, F). Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

The gradients are the transposes of these steps: with D = A dY A^T, that of the filters is
G^T [D * (B^T d B)] G, and that of a tile of inputs B [(G g G^T) * D] B^T, added up where tiles
overlap. Roundoff is about ten times that of a plain sum: relative 1e-5 in float32.

Here the transforms are products too: of a small matrix with long rows, once for the rows of the
tiles and once for their columns. In memory images lie as (H, W, n, C): what is gathered into
tiles are long stretches. kernels/cpu/winograd.py does all of it in one pass.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ._memory import LINE, lend

HostArray = np.ndarray[Any, Any]
Pair = tuple[int, int]

TILE = 4  # outputs along each axis
SPAN = TILE + 2  # inputs along each axis
BT = np.asarray(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
AT = np.asarray(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
)
_G = np.asarray(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_GG = np.kron(_G, _G)  # (36, 9): G g G^T of a flattened filter


def transformed_filters(w: HostArray) -> HostArray:
    """G g G^T for each pair of channels: (3, 3, C, F) to (36, C, F)."""
    channels, filters = w.shape[2:]
    flat = lend(np, (SPAN * SPAN, channels * filters), w.dtype, None)
    np.matmul(_GG.astype(w.dtype), np.reshape(w, (9, channels * filters)), out=flat)
    found: HostArray = flat.reshape(SPAN * SPAN, channels, filters)
    return found


def filter_gradient(of_filters: HostArray) -> HostArray:
    """The gradient of filters from that of `transformed_filters`: (36, C, F) to (3, 3, C, F)."""
    _, channels, filters = of_filters.shape
    flat = of_filters.reshape(SPAN * SPAN, channels * filters)
    found: HostArray = _GG.T.astype(of_filters.dtype) @ flat
    return found.reshape(3, 3, channels, filters)


def forward(x: HostArray, filters: HostArray, padding: Pair, y: HostArray) -> HostArray:
    """Fill y (Ho, Wo, n, F) with the convolution of x (H, W, n, C) and transformed filters.

    Images are in any order in memory. Returns the transformed images, for `backward`.
    """
    size, n = y.shape[:2], y.shape[2]
    tiles = empty_tiles(size, n, x.shape[3], y.dtype)
    into_tiles(x, padding, tiles)
    products = empty_tiles(size, n, y.shape[3], y.dtype)
    outputs(np.matmul(tiles, filters, out=products), y)
    return tiles


def backward(
    kept: HostArray | None,
    x: HostArray,
    turned: HostArray,
    padding: Pair,
    dy: HostArray,
    dx: HostArray | None,
    wants_w: bool,
) -> HostArray | None:
    """Fill dx, if there is one, and return the gradient of the transformed filters (36, C, F).

    kept : what `forward` returned; None where it is to be made again. turned : the transformed
    filters with their channels and filters exchanged, (36, F, C).
    """
    size, (n, n_filters) = dy.shape[:2], dy.shape[2:]
    of_products = empty_tiles(size, n, n_filters, dy.dtype)
    spread(dy, of_products)
    of_filters: HostArray | None = None
    if wants_w:
        tiles = kept
        if tiles is None:
            tiles = empty_tiles(size, n, x.shape[3], dy.dtype)
            into_tiles(x, padding, tiles)
        shape = (SPAN * SPAN, x.shape[3], n_filters)
        of_filters = lend(np, shape, dy.dtype, None)
        np.matmul(tiles.transpose(0, 2, 1), of_products, out=of_filters)
    if dx is not None:
        of_tiles = empty_tiles(size, n, x.shape[3], dy.dtype)
        add_up(np.matmul(of_products, turned, out=of_tiles), padding, dx)
    return of_filters


def empty_tiles(size: Pair, n: int, channels: int, dtype: np.dtype[Any]) -> HostArray:
    """(36, tiles, C) for outputs of that size of n images, not set."""
    count = math.prod(tile_counts(size)) * n
    whole: HostArray = lend(np, (SPAN * SPAN, apart(count * channels, dtype)), dtype, None)
    return whole[:, : count * channels].reshape(SPAN * SPAN, count, channels)


def apart(length: int, dtype: np.dtype[Any]) -> int:
    """How far one of the 36 is to be from the next: an odd number of the cache's lines.

    At a power of two, as images would have it, all would have the same place in the cache.
    """
    return (-(-length * dtype.itemsize // LINE) | 1) * LINE // dtype.itemsize


def into_tiles(x: HostArray, padding: Pair, tiles: HostArray) -> None:
    """Fill `tiles` (36, tiles, C) with B^T d B of every tile d of the images.

    x : (H, W, n, C) in any order in memory. padding : rows above, columns to the left.
    """
    th, tw = tile_counts(_size(x, padding))
    n, channels = x.shape[2:]
    padded = _surrounded(x, (TILE * th + 2, TILE * tw + 2), padding)
    np.copyto(_grid(tiles, th, tw, n, channels), _windows(padded, SPAN, th, tw))
    _both_ways(BT, tiles, tiles)


def outputs(tiles: HostArray, y: HostArray) -> None:
    """Fill y (Ho, Wo, n, F) with A^T m A of every m of `tiles` (36, tiles, F)."""
    th, tw = tile_counts(y.shape[:2])
    size, shape = (TILE * th, TILE * tw), y.shape[2:]
    done = lend(np, (TILE * TILE, *tiles.shape[1:]), y.dtype, None)
    _both_ways(AT, tiles, done)
    whole = y if size == y.shape[:2] else lend(np, (*size, *shape), y.dtype, None)
    by_tiles = whole.reshape(th, TILE, tw, TILE, *shape).transpose(1, 3, 0, 2, 4, 5)
    by_tiles[...] = done.reshape(by_tiles.shape)
    if whole is not y:
        y[...] = whole[: y.shape[0], : y.shape[1]]


def spread(dy: HostArray, tiles: HostArray) -> None:
    """Fill `tiles` (36, tiles, F) with A d A^T of every tile d of dy: the transpose of `outputs`.

    dy : (Ho, Wo, n, F) in any order in memory.
    """
    th, tw = tile_counts(dy.shape[:2])
    whole = _surrounded(dy, (TILE * th, TILE * tw), (0, 0))
    given = lend(np, (TILE * TILE, *tiles.shape[1:]), dy.dtype, None)
    np.copyto(given.reshape(TILE, TILE, th, tw, *dy.shape[2:]), _windows(whole, TILE, th, tw))
    _both_ways(AT.T, given, tiles)


def add_up(tiles: HostArray, padding: Pair, dx: HostArray) -> None:
    """Fill dx (H, W, n, C) with the sums of B v B^T of all v of `tiles` (36, tiles, C) where tiles
    overlap: the transpose of `into_tiles`. The contents of `tiles` are lost.
    """
    height, width, n, channels = dx.shape
    th, tw = tile_counts(_size(dx, padding))
    _both_ways(BT.T, tiles, tiles)
    given = _grid(tiles, th, tw, n, channels)
    whole = lend(np, (TILE * (th + 1), TILE * (tw + 1), n, channels), dx.dtype, None)
    by_tiles = whole.reshape(th + 1, TILE, tw + 1, TILE, n, channels).transpose(1, 3, 0, 2, 4, 5)
    own, beyond = slice(0, TILE), slice(TILE, SPAN)
    by_tiles[:, :, :th, :tw] = given[own, own]
    by_tiles[:, :2, :th, tw] = 0
    by_tiles[:2, :, th, :] = 0
    by_tiles[:, :2, :th, 1:] += given[own, beyond]
    by_tiles[:2, :, 1:, :tw] += given[beyond, own]
    by_tiles[:2, :2, 1:, 1:] += given[beyond, beyond]
    top, left = padding
    dx[...] = whole[top : top + height, left : left + width]


def tile_counts(size: Pair) -> Pair:
    """How many rows and columns of tiles there are for outputs of a size."""
    return -(-size[0] // TILE), -(-size[1] // TILE)


def _size(x: HostArray, padding: Pair) -> Pair:
    return x.shape[0] + 2 * padding[0] - 2, x.shape[1] + 2 * padding[1] - 2


def _surrounded(x: HostArray, size: Pair, padding: Pair) -> HostArray:
    """x behind so many rows and columns of 0, in an array of that size; what is left over is 0.

    Rows and columns of x that no tile reaches are left out.
    """
    if x.shape[:2] == size and padding == (0, 0):
        return x
    whole: HostArray = lend(np, (*size, *x.shape[2:]), x.dtype, None)
    top, left = padding
    bottom, right = min(top + x.shape[0], size[0]), min(left + x.shape[1], size[1])
    whole[:top] = whole[bottom:] = 0
    whole[top:bottom, :left] = whole[top:bottom, right:] = 0
    whole[top:bottom, left:right] = x[: bottom - top, : right - left]
    return whole


def _grid(numbers: HostArray, *shape: int) -> HostArray:
    """(a^2, ...) as (a, a, *shape), a view; the a^2 may lie apart in memory."""
    side = math.isqrt(numbers.shape[0])
    apart, size = numbers.strides[0], numbers.itemsize
    inner = [math.prod(shape[axis + 1 :]) * size for axis in range(len(shape))]
    return as_strided(numbers, (side, side, *shape), (side * apart, apart, *inner))


def _windows(images: HostArray, span: int, th: int, tw: int) -> HostArray:
    """images (H, W, n, C) as (span, span, th, tw, n, C): every tile; those of 6 x 6 overlap."""
    down, right, *inner = images.strides
    shape = (span, span, th, tw, *images.shape[2:])
    strides = (down, right, TILE * down, TILE * right, *inner)
    return as_strided(images, shape, strides, writeable=False)


def _both_ways(matrix: HostArray, given: HostArray, out: HostArray) -> None:
    """out = matrix given matrix^T for each channel of each tile; (a^2, ...) to (b^2, ...)."""
    matrix = matrix.astype(given.dtype)
    b, a = matrix.shape
    length = math.prod(given.shape[1:])
    half = lend(np, (a, b, length), given.dtype, None)
    np.matmul(matrix, _grid(given, length).transpose(1, 0, 2), out=half)
    np.matmul(matrix, half.transpose(1, 0, 2), out=_grid(out, length))
