"""Convolution with 3 x 3 filters in a quarter of the multiplications, for NumPy.

Winograd's F(4 x 4, 3 x 3): a tile of 4 x 4 outputs comes from one of 6 x 6 inputs d and a filter g,

    Y = A^T [(G g G^T) * (B^T d B)] A,

36 products where the sum takes 144. Over many tiles and channels each of the 36 is a product of
matrices (tiles, C) (C, F). Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

The transforms are sums of slabs. In memory images lie as (H, W, n, C), so that a slab is long and
without gaps; what comes from outside is copied into that order, which padding would do anyway.
Roundoff is about ten times that of a plain sum: relative 1e-6 in float32.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

HostArray = np.ndarray[Any, Any]

TILE = 4  # outputs along each axis; inputs are TILE + 2
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
    flat = _GG.astype(w.dtype) @ w.reshape(9, channels * filters)
    return flat.reshape(36, channels, filters)


def forward(x: HostArray, filters: HostArray, padding: tuple[int, int], y: HostArray) -> HostArray:
    """Convolve a block of images, and return the transformed inputs, which `backward` takes.

    x : (H, W, n, C) in any order in memory. filters : those of `transformed_filters`.
    y : (Ho, Wo, n, F), filled.
    """
    height, width, n, channels = x.shape
    n_filters = filters.shape[2]
    th, tw = -(-y.shape[0] // TILE), -(-y.shape[1] // TILE)
    scratch = _scratch(th, tw, n, channels, n_filters, x.dtype)
    padded = scratch.padded
    top, left = padding
    padded[:top] = 0
    padded[top + height :] = 0
    padded[top : top + height, :left] = 0
    padded[top : top + height, left + width :] = 0
    padded[top : top + height, left : left + width] = x
    kept = np.empty((6, 6, th, tw, n, channels), x.dtype)
    rows = scratch.rows
    _into_tiles([padded[i : i + 4 * th - 3 : 4] for i in range(6)], rows, *scratch.pair(rows[0]))
    _into_tiles(
        [rows[:, :, j : j + 4 * tw - 3 : 4] for j in range(6)],
        [kept[:, j] for j in range(6)],
        *scratch.pair(kept[:, 0]),
    )
    tiles = th * tw * n
    np.matmul(
        kept.reshape(36, tiles, channels), filters, out=scratch.products.reshape(36, tiles, n_filters)
    )
    half = scratch.half
    _out_of_tiles(scratch.products, half, *scratch.triple(half[0]))
    exact = y.shape[:2] == (4 * th, 4 * tw)
    target = y if exact else scratch.outputs
    parts = target.reshape(th, 4, tw, 4, n, n_filters).transpose(1, 0, 2, 3, 4, 5)
    columns = [half[:, j] for j in range(6)]
    _out_of_tiles(columns, [parts[:, :, :, j] for j in range(4)], *scratch.triple(columns[0]))
    if not exact:
        y[...] = target[: y.shape[0], : y.shape[1]]
    return kept


def backward(
    kept: HostArray,
    filters: HostArray,
    dy: HostArray,
    padding: tuple[int, int],
    dx: HostArray | None,
    wants_w: bool,
) -> HostArray | None:
    """The gradients of a block of images, from dy (Ho, Wo, n, F) in any order in memory.

    dx : (H, W, n, C), filled; None where it is not wanted.
    Returns dw (3, 3, C, F), or None.
    """
    _, _, th, tw, n, channels = kept.shape
    n_filters = filters.shape[2]
    scratch = _scratch(th, tw, n, channels, n_filters, kept.dtype)
    outputs = scratch.outputs
    height, width = dy.shape[:2]
    outputs[height:] = 0
    outputs[:height, width:] = 0
    outputs[:height, :width] = dy
    spread, products = scratch.spread, scratch.products
    by_rows = outputs.reshape(th, 4, 4 * tw, n, n_filters)
    _out_of_tiles_back([by_rows[:, i] for i in range(4)], spread, *scratch.pair(spread[0]))
    by_columns = spread.reshape(6, th, tw, 4, n, n_filters)
    _out_of_tiles_back(
        [by_columns[:, :, :, j] for j in range(4)],
        [products[:, j] for j in range(6)],
        *scratch.pair(products[:, 0]),
    )
    tiles = th * tw * n
    of_products = products.reshape(36, tiles, n_filters)
    dw = None
    if wants_w:
        of_filters = kept.reshape(36, tiles, channels).transpose(0, 2, 1) @ of_products
        flat = _GG.T.astype(kept.dtype) @ of_filters.reshape(36, channels * n_filters)
        dw = flat.reshape(3, 3, channels, n_filters)
    if dx is not None:
        of_tiles = scratch.of_tiles
        np.matmul(
            of_products, filters.transpose(0, 2, 1), out=of_tiles.reshape(36, tiles, channels)
        )
        rows, padded = scratch.rows, scratch.padded
        rows[:, :, 4 * tw :] = 0
        _into_tiles_back(
            [of_tiles[:, j] for j in range(6)],
            [rows[:, :, j : j + 4 * tw - 3 : 4] for j in range(4)],
            rows[:, :, 4::4],
            rows[:, :, 5::4],
            *scratch.triple(of_tiles[:, 0]),
        )
        padded[4 * th :] = 0
        _into_tiles_back(
            rows,
            [padded[i : i + 4 * th - 3 : 4] for i in range(4)],
            padded[4::4],
            padded[5::4],
            *scratch.triple(rows[0]),
        )
        top, left = padding
        dx[...] = padded[top : top + dx.shape[0], left : left + dx.shape[1]]
    return dw


class _Scratch:
    """Arrays for one shape of block, used again by every call of a thread."""

    def __init__(
        self, th: int, tw: int, n: int, channels: int, filters: int, dtype: np.dtype[Any]
    ) -> None:
        def empty(*shape: int) -> HostArray:
            return np.empty(shape, dtype)

        self.padded = empty(4 * th + 2, 4 * tw + 2, n, channels)
        self.rows = empty(6, th, 4 * tw + 2, n, channels)
        self.products = empty(6, 6, th, tw, n, filters)
        self.half = empty(4, 6, th, tw, n, filters)
        self.outputs = empty(4 * th, 4 * tw, n, filters)
        self.spread = empty(6, th, 4 * tw, n, filters)
        self.of_tiles = empty(6, 6, th, tw, n, channels)
        longest = 6 * th * (4 * tw + 2) * n * max(channels, filters)
        self._spare = [empty(longest) for _ in range(3)]

    def pair(self, like: HostArray) -> list[HostArray]:
        """Two arrays of the shape of `like`."""
        return [spare[: like.size].reshape(like.shape) for spare in self._spare[:2]]

    def triple(self, like: HostArray) -> list[HostArray]:
        """Three arrays of the shape of `like`."""
        return [spare[: like.size].reshape(like.shape) for spare in self._spare]


class _Own(threading.local):
    def __init__(self) -> None:
        self.scratch: dict[Any, _Scratch] = {}


_own = _Own()
SHAPES = 6  # for which a thread keeps scratch: the layers of a network, and their last blocks


def _scratch(*shape: Any) -> _Scratch:
    found = _own.scratch.pop(shape, None) or _Scratch(*shape)
    _own.scratch[shape] = found  # the one used last stands last
    while len(_own.scratch) > SHAPES:
        del _own.scratch[next(iter(_own.scratch))]
    return found


# The four transforms, each along one axis. All arguments are lists of slabs, or arrays of them;
# t, u, s are slabs to compute in.


def _into_tiles(d: Any, v: Any, t: HostArray, u: HostArray) -> None:
    """v = B^T d: 6 slabs to 6."""
    add, sub, mul = np.add, np.subtract, np.multiply
    mul(d[2], 4, t)
    sub(d[4], t, t)
    mul(d[1], 4, u)
    sub(d[3], u, u)
    add(t, u, v[1])
    sub(t, u, v[2])
    sub(d[4], d[2], t)
    sub(d[3], d[1], u)
    mul(u, 2, u)
    add(t, u, v[3])
    sub(t, u, v[4])
    sub(d[0], d[2], v[0])
    mul(v[0], 4, v[0])
    add(v[0], t, v[0])
    mul(u, 2, u)
    sub(d[5], d[3], v[5])
    sub(v[5], u, v[5])


def _into_tiles_back(
    v: Any, d: Any, d4: HostArray, d5: HostArray, p: HostArray, q: HostArray, r: HostArray
) -> None:
    """d = B v, the transpose: slabs 0 to 3 are written, 4 and 5, which overlap the next, added."""
    add, sub, mul = np.add, np.subtract, np.multiply
    mul(v[0], 4, d[0])
    sub(v[1], v[2], p)
    sub(v[3], v[4], q)
    mul(q, 2, q)
    sub(v[5], p, r)
    mul(r, 4, r)
    sub(r, q, d[1])
    add(p, q, p)
    mul(v[5], 5, r)
    sub(p, r, d[3])
    add(v[1], v[2], p)
    add(v[3], v[4], q)
    mul(v[0], 5, r)
    add(r, q, r)
    add(q, p, q)
    add(q, v[0], q)
    mul(p, 4, p)
    add(p, r, p)
    np.negative(p, d[2])
    add(d4, q, d4)
    add(d5, v[5], d5)


def _out_of_tiles(m: Any, y: Any, s: HostArray, t: HostArray, u: HostArray) -> None:
    """y = A^T m: 6 slabs to 4."""
    add, sub, mul = np.add, np.subtract, np.multiply
    add(m[1], m[2], s)
    add(m[3], m[4], t)
    add(m[0], s, u)
    add(u, t, y[0])
    mul(t, 4, t)
    add(s, t, y[2])
    sub(m[1], m[2], s)
    sub(m[3], m[4], t)
    mul(t, 2, t)
    add(s, t, y[1])
    mul(t, 4, t)
    add(s, t, u)
    add(u, m[5], y[3])


def _out_of_tiles_back(y: Any, m: Any, s: HostArray, t: HostArray) -> None:
    """m = A y, the transpose: 4 slabs to 6."""
    add, sub, mul = np.add, np.subtract, np.multiply
    add(y[0], y[2], s)
    add(y[1], y[3], t)
    add(s, t, m[1])
    sub(s, t, m[2])
    mul(y[2], 4, s)
    add(s, y[0], s)
    mul(y[3], 4, t)
    add(t, y[1], t)
    mul(t, 2, t)
    add(s, t, m[3])
    sub(s, t, m[4])
    np.copyto(m[0], y[0])
    np.copyto(m[5], y[3])
