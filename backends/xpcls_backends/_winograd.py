"""Convolution with 3 x 3 filters in a quarter of the multiplications, for NumPy.

Winograd's F(4 x 4, 3 x 3): a tile of 4 x 4 outputs comes from one of 6 x 6 inputs d and a filter g,

    Y = A^T [(G g G^T) * (B^T d B)] A,

36 products where the sum takes 144. Over many tiles and channels each of the 36 is a product of
matrices (tiles, C) (C, F). Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

The transforms are products too: of a 6 x 6 matrix with long rows, once for the rows of the tiles
and once for their columns. In memory images lie as (H, W, n, C), so that what is gathered into
tiles are long stretches; what comes from outside is copied into that order, which padding would
do anyway. Roundoff is about ten times that of a plain sum: relative 1e-5 in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

HostArray = np.ndarray[Any, Any]
Pair = tuple[int, int]

TILE = 4  # outputs along each axis
SPAN = TILE + 2  # inputs along each axis
_BT = np.asarray(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_AT = np.asarray(
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
LARGEST_KEPT = 32 << 20  # bytes of scratch that stay between calls


def transformed_filters(w: HostArray) -> HostArray:
    """G g G^T for each pair of channels: (3, 3, C, F) to (36, C, F)."""
    channels, filters = w.shape[2:]
    flat = _GG.astype(w.dtype) @ np.reshape(w, (9, channels * filters))
    return flat.reshape(SPAN * SPAN, channels, filters)


def turned(w: HostArray) -> HostArray:
    """The filters by which the gradient of the input comes from that of the output."""
    return np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))


def input_tiles(x: HostArray, padding: Pair, size: Pair) -> HostArray:
    """B^T d B of every tile: (36, tiles, C), for outputs of that size.

    x : (H, W, n, C) in any order in memory.
    """
    th, tw = _tile_counts(size)
    _, _, n, channels = x.shape
    tiles = np.empty((SPAN * SPAN, th * tw * n, channels), x.dtype)
    with _scratch() as scratch:
        _into_tiles(x, padding, size, tiles, scratch)
    return tiles


def convolve_block(
    x: HostArray,
    filters: HostArray,
    padding: Pair,
    y: HostArray,
    tiles: HostArray | None = None,
) -> None:
    """Fill y (Ho, Wo, n, F) with the convolution of a block of images.

    x : (H, W, n, C) in any order in memory, not read where its `tiles` are given.
    filters : (36, C, F), those of `transformed_filters`.
    """
    size: Pair = y.shape[:2]
    th, tw = _tile_counts(size)
    n, n_filters = y.shape[2:]
    count = th * tw * n
    with _scratch() as scratch:
        if tiles is None:
            tiles = scratch.array("tiles", (SPAN * SPAN, count, filters.shape[1]), x.dtype)
            _into_tiles(x, padding, size, tiles, scratch)
        products = scratch.array("products", (SPAN, SPAN, count * n_filters), x.dtype)
        np.matmul(tiles, filters, out=products.reshape(SPAN * SPAN, count, n_filters))
        half = scratch.array("half", (SPAN, TILE, count * n_filters), x.dtype)
        done = scratch.array("outputs", (TILE, TILE, count * n_filters), x.dtype)
        _both_ways(_AT, products, half, done)
        exact = size == (TILE * th, TILE * tw)
        whole = (
            y if exact else scratch.array("padded", (TILE * th, TILE * tw, n, n_filters), x.dtype)
        )
        by_tiles = whole.reshape(th, TILE, tw, TILE, n, n_filters).transpose(1, 3, 0, 2, 4, 5)
        by_tiles[...] = done.reshape(by_tiles.shape)
        if not exact:
            y[...] = whole[: size[0], : size[1]]


def filter_gradient(tiles: HostArray, dy: HostArray) -> HostArray:
    """What a block of images adds to the gradient of the filters: (3, 3, C, F).

    tiles : the block's `input_tiles`. dy : (Ho, Wo, n, F) in any order in memory.
    """
    th, tw = _tile_counts(dy.shape[:2])
    n, n_filters = dy.shape[2:]
    count, channels = tiles.shape[1:]
    with _scratch() as scratch:
        whole = dy
        if dy.shape[:2] != (TILE * th, TILE * tw):
            whole = scratch.array("padded", (TILE * th, TILE * tw, n, n_filters), dy.dtype)
            _surround(whole, dy, (0, 0))
        outputs = scratch.array("outputs", (TILE, TILE, th, tw, n, n_filters), dy.dtype)
        np.copyto(outputs, _windows(whole, TILE, th, tw))
        half = scratch.array("half", (TILE, SPAN, count * n_filters), dy.dtype)
        spread = scratch.array("products", (SPAN, SPAN, count * n_filters), dy.dtype)
        _both_ways(_AT.T, outputs.reshape(TILE, TILE, count * n_filters), half, spread)
        of_filters = tiles.transpose(0, 2, 1) @ spread.reshape(SPAN * SPAN, count, n_filters)
    flat = of_filters.reshape(SPAN * SPAN, channels * n_filters)
    found: HostArray = _GG.T.astype(dy.dtype) @ flat
    return found.reshape(3, 3, channels, n_filters)


def _into_tiles(
    x: HostArray, padding: Pair, size: Pair, tiles: HostArray, scratch: _Scratch
) -> None:
    """Fill `tiles` (36, tiles, C) with B^T d B."""
    th, tw = _tile_counts(size)
    _, _, n, channels = x.shape
    padded = scratch.array("padded", (TILE * th + 2, TILE * tw + 2, n, channels), x.dtype)
    _surround(padded, x, padding)
    np.copyto(tiles.reshape(SPAN, SPAN, th, tw, n, channels), _windows(padded, SPAN, th, tw))
    tiles = tiles.reshape(SPAN, SPAN, th * tw * n * channels)
    half = scratch.array("half", tiles.shape, x.dtype)
    _both_ways(_BT, tiles, half, tiles)


def _windows(images: HostArray, span: int, th: int, tw: int) -> HostArray:
    """images (H, W, n, C) as (span, span, th, tw, n, C): every tile; those of 6 x 6 overlap."""
    down, right, *inner = images.strides
    shape = (span, span, th, tw, *images.shape[2:])
    strides = (down, right, TILE * down, TILE * right, *inner)
    return as_strided(images, shape, strides, writeable=False)


def _both_ways(matrix: HostArray, given: HostArray, half: HostArray, out: HostArray) -> None:
    """out = matrix given matrix^T over the first two axes of `given` (a, a, length)."""
    matrix = matrix.astype(given.dtype)
    np.matmul(matrix, given.transpose(1, 0, 2), out=half)
    np.matmul(matrix, half.transpose(1, 0, 2), out=out)


def _surround(whole: HostArray, x: HostArray, padding: Pair) -> None:
    """Copy x into `whole` behind so many rows and columns; what is left over is 0.

    Rows and columns of x that no tile reaches are left out.
    """
    top, left = padding
    inside = whole[top : top + x.shape[0], left : left + x.shape[1]]
    if inside.shape != whole.shape:
        whole.fill(0)
    np.copyto(inside, x[: inside.shape[0], : inside.shape[1]])


def _tile_counts(size: Pair) -> Pair:
    return -(-size[0] // TILE), -(-size[1] // TILE)


class _Scratch:
    """Memory by name that is used again, whatever the shape."""

    def __init__(self) -> None:
        self._bytes: dict[str, HostArray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
        """An array whose entries are not set; the one of that name before it is overwritten."""
        size = math.prod(shape) * dtype.itemsize
        held = self._bytes.get(name)
        if held is None or held.size < size:
            held = self._bytes[name] = np.empty(size, np.uint8)
        return held[:size].view(dtype).reshape(shape)

    def size(self) -> int:
        return sum(held.size for held in self._bytes.values())


_idle: list[_Scratch] = []  # what no thread is using; new threads take what old ones left


@contextmanager
def _scratch() -> Iterator[_Scratch]:
    try:
        scratch = _idle.pop()
    except IndexError:
        scratch = _Scratch()
    try:
        yield scratch
    finally:
        if scratch.size() <= LARGEST_KEPT:
            _idle.append(scratch)
